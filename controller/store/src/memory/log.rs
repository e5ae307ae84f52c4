//! One log of the in-memory twin.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Committer, Shared, World};
use crate::api::{
    Batch, BatchMeta, Bounds, Extent, Plog, PlogId, ReadChunk, ReadSpec, RetentionClass, StoreError, TailRead,
};
use crate::runs::{self, ReadBudget};

/// A queued change.
#[derive(Clone)]
pub(super) enum Op {
    Append(Batch),
    /// Target and the end that results.
    Truncate(i64, i64),
    /// The new start, and whether the log goes on there.
    LogStart(i64, bool),
    Delete,
}

/// What the observer hears of an [`Op`].
pub(super) enum Effect {
    End(i64),
    Nothing,
}

impl Op {
    pub(super) fn effect(&self) -> Effect {
        match self {
            Op::Append(batch) => Effect::End(batch.last_offset + 1),
            Op::Truncate(_, end) => Effect::End(*end),
            Op::LogStart(offset, true) => Effect::End(*offset),
            Op::LogStart(_, false) | Op::Delete => Effect::Nothing,
        }
    }
}

/// The contents of a log: `batches[..stored]` are in the store, the rest is the tail.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) log_start: i64,
    pub(super) end: i64,
    pub(super) durable_end: i64,
    pub(super) class: Option<RetentionClass>,
    batches: Vec<Batch>,
    stored: usize,
}

/// Applies a journal entry when a disk is opened.
pub(super) fn replay(logs: &mut BTreeMap<PlogId, Image>, id: PlogId, op: &Op) {
    let image = logs.entry(id).or_default();
    match op {
        Op::Append(batch) => image.append(batch.clone()),
        Op::Truncate(to, end) => image.truncate(*to, *end),
        Op::LogStart(offset, _) => image.set_log_start(*offset),
        Op::Delete => {
            logs.remove(&id);
        }
    }
}

impl Image {
    fn append(&mut self, batch: Batch) {
        self.end = batch.last_offset + 1;
        self.batches.push(batch);
    }

    fn truncate(&mut self, to: i64, end: i64) {
        let kept = self.batches.partition_point(|b| b.last_offset < to);
        self.batches.truncate(kept);
        self.stored = self.stored.min(kept);
        self.end = end;
        self.durable_end = self.durable_end.min(end);
    }

    fn set_log_start(&mut self, offset: i64) {
        self.log_start = self.log_start.max(offset);
        if self.log_start > self.end {
            self.end = self.log_start;
            self.durable_end = self.durable_end.max(self.end);
        }
    }

    /// After a replay: everything that was read is durable.
    pub(super) fn settle(&mut self) {
        self.durable_end = self.end;
    }

    /// Whether a restart would find the log.
    pub(super) fn exists(&self) -> bool {
        self.end > 0 || !self.batches.is_empty()
    }

    pub(super) fn durable_tail(&self) -> Vec<Bytes> {
        let durable = self.batches[self.stored..].iter().filter(|b| b.last_offset < self.durable_end);
        durable.map(|b| b.bytes.clone()).collect()
    }

    pub(super) fn ingest(&mut self) {
        self.stored = self.batches.partition_point(|b| b.last_offset < self.durable_end);
        self.reclaim();
    }

    pub(super) fn durable_copy(&self) -> Image {
        let mut copy = self.clone();
        copy.batches.truncate(self.stored);
        copy.end = self.durable_end;
        copy
    }

    /// Drops stored batches that can no longer be reached.
    pub(super) fn reclaim(&mut self) {
        let dead = self.batches[..self.stored].partition_point(|b| b.last_offset < self.log_start);
        self.batches.drain(..dead);
        self.stored -= dead;
    }

    fn live(&self, from: i64) -> &[Batch] {
        let from = from.max(self.log_start);
        &self.batches[self.batches.partition_point(|b| b.last_offset < from)..]
    }

    pub(super) fn bytes(&self) -> u64 {
        self.live(self.log_start).iter().map(|b| b.bytes.len() as u64).sum()
    }

    fn read(&self, spec: &ReadSpec) -> ReadChunk {
        let mut budget = ReadBudget::new(spec);
        let mut chunk = ReadChunk::default();
        for batch in self.live(spec.from) {
            if !budget.take(batch.last_offset, batch.bytes.len()) {
                break;
            }
            chunk.bytes += batch.bytes.len();
            chunk.batches.push(batch.bytes.clone());
        }
        chunk
    }
}

/// Handle of a log in the twin.
pub(super) struct MemoryPlog {
    pub(super) id: PlogId,
    pub(super) shared: Arc<Shared>,
    /// Keeps the commit thread alive as long as a handle needs it.
    pub(super) _committer: Option<Arc<Committer>>,
}

impl MemoryPlog {
    fn read_image<T>(&self, f: impl FnOnce(&Image) -> T) -> Result<T, StoreError> {
        let world = self.shared.world.lock();
        // A poisoned store still serves reads; a closed one does not.
        if let Some(StoreError::Closed) = world.fate {
            return Err(StoreError::Closed);
        }
        world.logs.get(&self.id).map(f).ok_or(StoreError::Closed)
    }

    fn change<T>(&self, f: impl FnOnce(&mut Image) -> Result<(Op, T), StoreError>) -> Result<T, StoreError> {
        let world = &mut *self.shared.world.lock();
        if let Some(fate) = &world.fate {
            return Err(fate.clone());
        }
        let image = world.logs.get_mut(&self.id).ok_or(StoreError::Closed)?;
        let (op, out) = f(image)?;
        self.enqueue(world, op);
        Ok(out)
    }

    fn enqueue(&self, world: &mut World, op: Op) {
        world.queue.push((self.id, op));
        self.shared.wake.notify_all();
    }
}

impl Plog for MemoryPlog {
    fn id(&self) -> PlogId {
        self.id
    }

    fn bounds(&self) -> Bounds {
        self.read_image(|i| Bounds { log_start: i.log_start, end: i.end, durable_end: i.durable_end, bytes: i.bytes() })
            .unwrap_or_default()
    }

    fn append(&self, batch: Batch) -> Result<(), StoreError> {
        if self.shared.world.lock().full {
            return Err(StoreError::Full { path: "memory".into(), free: 0, needed: batch.bytes.len() as u64 });
        }
        self.change(|image| {
            if batch.base_offset < image.end || batch.last_offset < batch.base_offset {
                return Err(runs::misplaced(self.id, &batch, image.end));
            }
            image.append(batch.clone());
            Ok((Op::Append(batch), ()))
        })
    }

    fn truncate(&self, to: i64) -> Result<(), StoreError> {
        self.change(|image| {
            let kept = image.batches.partition_point(|b| b.last_offset < to);
            let removed = image.batches.get(kept).map(|b| b.base_offset);
            let end = runs::end_after_truncation(to, removed, image.end, image.log_start);
            image.truncate(to, end);
            Ok((Op::Truncate(to, end), ()))
        })?;
        self.shared.sync()
    }

    fn set_log_start(&self, offset: i64) -> Result<(), StoreError> {
        self.change(|image| {
            let moves = offset > image.end;
            image.set_log_start(offset);
            Ok((Op::LogStart(offset, moves), ()))
        })
    }

    fn delete(&self) -> Result<(), StoreError> {
        let world = &mut *self.shared.world.lock();
        if let Some(fate) = &world.fate {
            return Err(fate.clone());
        }
        world.logs.remove(&self.id).ok_or(StoreError::Closed)?;
        world.observers.remove(&self.id);
        self.enqueue(world, Op::Delete);
        Ok(())
    }

    fn set_class(&self, class: RetentionClass) {
        if let Some(image) = self.shared.world.lock().logs.get_mut(&self.id) {
            image.class = Some(class);
        }
    }

    fn read_tail(&self, spec: ReadSpec) -> TailRead {
        let answer = self.read_image(|image| {
            let stored_end = image.batches[..image.stored].last().map_or(0, |b| b.last_offset + 1);
            if spec.from.max(image.log_start) < stored_end {
                return TailRead::Below;
            }
            TailRead::Hit(image.read(&spec))
        });
        answer.unwrap_or(TailRead::Below)
    }

    fn read(&self, spec: ReadSpec) -> Result<ReadChunk, StoreError> {
        self.read_image(|image| image.read(&spec))
    }

    fn index(&self, from: i64, limit: usize) -> Result<Vec<BatchMeta>, StoreError> {
        self.read_image(|image| image.live(from).iter().take(limit).map(Batch::meta).collect())
    }

    fn extents(&self, from: i64, limit: usize) -> Result<Vec<Extent>, StoreError> {
        let mut all = self.read_image(|image| runs::extents_of(image.live(image.log_start).iter().map(Batch::meta)))?;
        all.retain(|e| e.last_offset >= from);
        all.truncate(limit);
        Ok(all)
    }

    fn tail(&self) -> Vec<Bytes> {
        self.read_image(|image| image.batches[image.stored..].iter().map(|b| b.bytes.clone()).collect())
            .unwrap_or_default()
    }
}
