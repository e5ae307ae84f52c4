//! The handle of an open log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bytes::Bytes;

use crate::api::{
    Batch, BatchMeta, Bounds, Extent, Plog, PlogId, ReadChunk, ReadSpec, RetentionClass, StoreError, TailRead,
};
use crate::core::Core;
use crate::engine::{Engine, corrupt};
use crate::journal::commit::Op;
use crate::journal::writer::padded_len;
use crate::plog::{Log, LogState};
use crate::read::{self, Stored};
use crate::runs::{self, ReadBudget};
use crate::upkeep;

/// A bucket may be dropped under a reader, whose next attempt finds the batches elsewhere. More than a few times in
/// a row means that they are nowhere.
const MOVED_RETRIES: usize = 8;

pub(crate) struct Handle {
    pub core: Arc<Core>,
    pub log: Arc<Log>,
}

impl Handle {
    fn queue(&self, op: Op) -> Result<(), StoreError> {
        self.core.queue.push(op)
    }

    /// Locks the state of a log that may be written.
    fn writable(&self) -> Result<parking_lot::MutexGuard<'_, LogState>, StoreError> {
        self.core.status.check()?;
        let state = self.log.state.lock();
        if state.deleted { Err(StoreError::Closed) } else { Ok(state) }
    }

    /// Reads stored batches and then the tail.
    fn read_all(&self, spec: &ReadSpec) -> Result<Option<ReadChunk>, StoreError> {
        let engine = self.core.engine()?;
        let mut budget = ReadBudget::new(spec);
        let mut chunk = ReadChunk::default();
        let mut from = spec.from;
        loop {
            let stored_end = {
                let state = self.log.state.lock();
                if state.deleted {
                    return Err(StoreError::Closed);
                }
                from = from.max(state.log_start);
                if from >= state.stored_end {
                    state.read(from, &mut budget, &mut chunk);
                    return Ok(Some(chunk));
                }
                state.stored_end
            };
            let range = (from, stored_end.min(spec.until));
            match read::read(&engine, self.log.id, range, &mut budget, &mut chunk)? {
                Stored::Exhausted if range.1 == stored_end => from = stored_end,
                Stored::Full | Stored::Exhausted => return Ok(Some(chunk)),
                Stored::Moved => return Ok(None),
            }
        }
    }

    /// Visits descriptions of stored batches at or after `from`, then of those in the tail.
    fn visit_index(&self, from: i64, visit: &mut dyn FnMut(BatchMeta) -> bool) -> Result<(), StoreError> {
        let engine = self.core.engine()?;
        let mut from = from;
        loop {
            let stored_end = {
                let state = self.log.state.lock();
                if state.deleted {
                    return Err(StoreError::Closed);
                }
                from = from.max(state.log_start);
                if from >= state.stored_end {
                    for entry in state.tail.range(state.position(from)..) {
                        if !visit(entry.batch.meta()) {
                            break;
                        }
                    }
                    return Ok(());
                }
                state.stored_end
            };
            let mut more = true;
            upkeep::extents(&engine, self.log.id, from, &mut |_, row| {
                let wanted = row.batches.iter().filter(|b| b.last_offset >= from && b.last_offset < stored_end);
                more = wanted.copied().all(&mut *visit);
                Ok(more)
            })?;
            if !more {
                return Ok(());
            }
            from = stored_end;
        }
    }
}

/// Bytes of the stored batches of a log whose last offset is in `[from, to)`.
pub(crate) fn stored_bytes(engine: &Engine, log: PlogId, from: i64, to: i64) -> Result<u64, StoreError> {
    let mut bytes = 0;
    if from < to {
        upkeep::extents(engine, log, from, &mut |_, row| {
            let within = row.batches.iter().filter(|b| b.last_offset >= from && b.last_offset < to);
            bytes += within.map(|b| u64::from(b.size)).sum::<u64>();
            Ok(row.batches.last().is_some_and(|b| b.last_offset < to))
        })?;
    }
    Ok(bytes)
}

impl Plog for Handle {
    fn id(&self) -> PlogId {
        self.log.id
    }

    fn bounds(&self) -> Bounds {
        self.log.state.lock().bounds()
    }

    fn append(&self, batch: Batch) -> Result<(), StoreError> {
        let len = batch.bytes.len() as u64;
        if self.core.status.is_full() {
            return Err(self.core.full(len));
        }
        self.core.status.check()?;
        let need = padded_len(1, len);
        if !self.core.pool.fits(need) {
            self.core.pool.reserve(need)?;
        }
        let mut state = self.writable()?;
        if batch.base_offset < state.end || batch.last_offset < batch.base_offset {
            return Err(runs::misplaced(self.log.id, &batch, state.end));
        }
        // Queued while the state is locked, so that the journal has a log's changes in the order of its memory.
        let no = state.next_no;
        self.queue(Op::Append { log: self.log.clone(), no, batch: batch.clone() })?;
        state.push(batch);
        self.core.stats.tail.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn truncate(&self, to: i64) -> Result<(), StoreError> {
        let (stored_end, end) = {
            let state = self.writable()?;
            (state.stored_end, state.end)
        };
        if to >= end {
            return Ok(());
        }
        let engine = self.core.engine()?;
        let mut first_removed = None;
        if to < stored_end {
            upkeep::extents(&engine, self.log.id, to, &mut |_, row| {
                first_removed = row.batches.iter().find(|b| b.last_offset >= to).map(|b| b.base_offset);
                Ok(false)
            })?;
        }
        let (done, durable) = mpsc::channel();
        {
            let mut state = self.writable()?;
            let in_tail = state.tail.get(state.position(to)).map(|e| e.batch.base_offset);
            let first_removed = first_removed.or(in_tail);
            let end = runs::end_after_truncation(to, first_removed, state.end, state.log_start);
            self.queue(Op::Truncate { log: self.log.clone(), to, end })?;
            self.queue(Op::Barrier(done))?;
            let before = state.tail_bytes;
            state.cut(to, end);
            self.core.stats.tail.fetch_sub(before.saturating_sub(state.tail_bytes), Ordering::Relaxed);
        }
        durable.recv().map_err(|_| StoreError::Closed)??;
        upkeep::apply_pending(&self.core, &engine, &mut self.core.catalogue.lock())
    }

    fn set_log_start(&self, offset: i64) -> Result<(), StoreError> {
        let (from, to) = {
            let mut state = self.writable()?;
            if offset <= state.log_start {
                return Ok(());
            }
            let end = state.end.max(offset);
            self.queue(Op::LogStart { log: self.log.clone(), offset, end })?;
            state.raise_start(offset);
            // What ingestion adds from here on is counted from the new start.
            (state.counted_from, offset.min(state.stored_end))
        };
        let gone = stored_bytes(&*self.core.engine()?, self.log.id, from, to)?;
        let mut state = self.log.state.lock();
        state.stored_bytes = state.stored_bytes.saturating_sub(gone);
        state.counted_from = offset;
        Ok(())
    }

    fn delete(&self) -> Result<(), StoreError> {
        {
            let mut state = self.writable()?;
            self.queue(Op::Delete { log: self.log.clone() })?;
            state.deleted = true;
            state.observer = None;
            let held: usize = state.tail.iter().map(|e| e.batch.bytes.len()).sum();
            self.core.stats.tail.fetch_sub(held as u64, Ordering::Relaxed);
            state.tail = Default::default();
        }
        let mut logs = self.core.logs.write();
        if logs.get(&self.log.id).is_some_and(|log| Arc::ptr_eq(log, &self.log)) {
            logs.remove(&self.log.id);
        }
        Ok(())
    }

    fn set_class(&self, class: RetentionClass) {
        self.log.set_class(class);
    }

    fn read_tail(&self, spec: ReadSpec) -> TailRead {
        let state = self.log.state.lock();
        let from = spec.from.max(state.log_start);
        if from < state.stored_end {
            return TailRead::Below;
        }
        let mut chunk = ReadChunk::default();
        state.read(from, &mut ReadBudget::new(&spec), &mut chunk);
        TailRead::Hit(chunk)
    }

    fn read(&self, spec: ReadSpec) -> Result<ReadChunk, StoreError> {
        for _ in 0..MOVED_RETRIES {
            if let Some(chunk) = self.read_all(&spec)? {
                return Ok(chunk);
            }
        }
        Err(corrupt(&self.core.path, format!("batches of log {} from offset {} are missing", self.log.id, spec.from)))
    }

    fn index(&self, from: i64, limit: usize) -> Result<Vec<BatchMeta>, StoreError> {
        let mut out = Vec::new();
        if limit > 0 {
            self.visit_index(from, &mut |meta| {
                out.push(meta);
                out.len() < limit
            })?;
        }
        Ok(out)
    }

    fn extents(&self, from: i64, limit: usize) -> Result<Vec<Extent>, StoreError> {
        let engine = self.core.engine()?;
        let mut out: Vec<Extent> = Vec::new();
        let (mut from, stored_end, tail) = {
            let state = self.log.state.lock();
            let from = from.max(state.log_start);
            let live = state.tail.range(state.position(state.log_start)..).map(|e| e.batch.meta());
            (from, state.stored_end, runs::extents_of(live))
        };
        if from < stored_end && limit > 0 {
            upkeep::extents(&engine, self.log.id, from, &mut |_, mut row| {
                row.batches.retain(|b| b.last_offset < stored_end);
                if let (Some(first), Some(last)) = (row.batches.first(), row.batches.last()) {
                    out.push(Extent {
                        first_offset: first.base_offset,
                        last_offset: last.last_offset,
                        bytes: row.bytes(),
                        max_timestamp: row.batches.iter().map(|b| b.max_timestamp).max().unwrap_or(-1),
                    });
                }
                Ok(out.len() < limit)
            })?;
            from = from.max(out.last().map_or(stored_end, |e| e.last_offset + 1));
        }
        out.extend(tail.into_iter().filter(|e| e.last_offset >= from).take(limit - out.len()));
        Ok(out)
    }

    fn tail(&self) -> Vec<Bytes> {
        self.log.state.lock().tail_batches()
    }
}
