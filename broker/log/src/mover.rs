//! Moving a partition's log to another directory while it is in use (AlterReplicaLogDirs, KIP-113): the batches are
//! copied in the background, then writers are held for a moment while the rest is copied and the place is switched.
//!
//! Until the new place is written down as the current one, the old one is what a restart finds, and nothing is
//! acknowledged that the old one does not hold durably; from then on it is the other way round.

use std::sync::Arc;

use millrace_store::{Batch, KvBatch, Observer, Plog, ReadSpec, StoreError};

use crate::batch::BatchView;
use crate::dir::LogDir;
use crate::manager::{LogManager, PartitionKey, Slot};
use crate::partition_log::{PartitionLog, Place};
use crate::rows::{self, Assignment, Role};

/// Bytes that are copied in one step.
const STEP: usize = 1 << 20;
/// Bytes that may be queued before the copy waits until they are durable.
const MAX_UNSYNCED: usize = 16 << 20;

/// A copy on its way.
pub struct LogCopy {
    key: PartitionKey,
    source: Arc<PartitionLog>,
    from: Slot,
    dir: Arc<LogDir>,
    plog: Arc<dyn Plog>,
    generation: u64,
    unsynced: usize,
}

impl LogManager {
    /// Makes an empty log in `dir` to copy `source` into. `observer` is told of the copy's progress.
    pub fn begin_copy(
        &self,
        key: PartitionKey,
        source: &Arc<PartitionLog>,
        dir: &Arc<LogDir>,
        observer: Arc<dyn Observer>,
    ) -> Result<LogCopy, StoreError> {
        let from = self.slot(key).ok_or(StoreError::Closed)?;
        let generation = from.generation() + 1;
        let ids = self.allocate(dir, std::iter::once(key), Role::Future, generation)?;
        let id = *ids.first().ok_or(StoreError::Closed)?;
        let plog = dir.store()?.open(id, crate::config::retention_class(&source.config()), observer)?;
        dir.count(1);
        source.take_cut();
        Ok(LogCopy { key, source: source.clone(), from, dir: dir.clone(), plog, generation, unsynced: 0 })
    }
}

impl LogCopy {
    /// One past the last offset that was copied.
    pub fn end(&self) -> i64 {
        self.plog.bounds().end
    }

    /// Copies some more; true when the copy has caught up. Waits for the disk.
    pub fn step(&mut self) -> Result<bool, StoreError> {
        self.cut(self.source.take_cut())?;
        let end = self.source.end();
        let place = self.source.place();
        let done = self.copy_some(&*place.plog, end)?;
        if self.unsynced >= MAX_UNSYNCED {
            self.dir.store()?.sync()?;
            self.unsynced = 0;
        }
        Ok(done)
    }

    /// Follows a source that was cut to `to`.
    fn cut(&self, to: i64) -> Result<(), StoreError> {
        if to < self.plog.bounds().end { self.plog.truncate(to) } else { Ok(()) }
    }

    /// Copies one step of what lies below `end`; true when nothing is missing.
    fn copy_some(&mut self, source: &dyn Plog, end: i64) -> Result<bool, StoreError> {
        let log_start = source.bounds().log_start;
        let mut at = self.plog.bounds().end;
        if at < end {
            let spec = ReadSpec { from: at.max(log_start), until: end, max_bytes: STEP, at_least_one: true };
            for bytes in source.read(spec)?.batches {
                let Some(view) = BatchView::new(&bytes) else {
                    continue;
                };
                at = view.last_offset() + 1;
                self.unsynced += bytes.len();
                self.plog.append(Batch {
                    base_offset: view.base_offset(),
                    last_offset: view.last_offset(),
                    leader_epoch: view.leader_epoch(),
                    max_timestamp: view.max_timestamp(),
                    bytes: bytes.clone(),
                })?;
            }
        }
        // After the batch that contains the log start, which may begin before it.
        if self.plog.bounds().log_start < log_start {
            self.plog.set_log_start(log_start)?;
            at = at.max(log_start);
        }
        Ok(at >= end)
    }

    /// Puts the copy in the place of the original, which is deleted. `activate` is called when writes to the copy may
    /// be acknowledged. Waits for the disk. On an error before the switch the original stays.
    pub fn finish(mut self, manager: &LogManager, activate: impl FnOnce()) -> Result<(), StoreError> {
        let mut batch = KvBatch::default();
        let source = self.source.clone();
        let switched = source.relocate(|place, state, (end, cut_to)| {
            if manager.slot(self.key).is_none_or(|slot| slot.plog != self.from.plog) {
                // Removed, or begun anew.
                return Err(StoreError::Closed);
            }
            self.cut(cut_to)?;
            while !self.copy_some(&*place.plog, end)? {}
            state.put(self.plog.id(), end, &mut batch);
            Ok::<_, StoreError>(Place { dir: self.dir.clone(), plog: self.plog.clone() })
        });
        if let Err(error) = switched {
            self.abandon(manager);
            return Err(error);
        }
        self.dir.store()?.sync()?;
        let (topic, partition) = self.key;
        let current = Assignment { topic, partition, role: Role::Current, generation: self.generation };
        rows::put_assignment(&mut batch, self.plog.id(), &current);
        let to = self.slot();
        if !manager.replace_slot(self.key, &self.from, to, || self.dir.rows()?.write(batch, true))? {
            // The partition was removed meanwhile.
            self.abandon(manager);
            return Err(StoreError::Closed);
        }
        activate();
        self.from.dir.uncount();
        manager.discard(&self.from);
        Ok(())
    }

    fn slot(&self) -> Slot {
        Slot::new(self.dir.clone(), self.plog.id(), self.generation)
    }

    /// Deletes the copy.
    pub fn abandon(self, manager: &LogManager) {
        self.dir.uncount();
        manager.discard(&self.slot());
    }
}
