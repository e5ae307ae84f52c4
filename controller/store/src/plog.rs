//! What the store keeps in memory of one log: its bounds and the batches that are not in RocksDB yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::api::{Batch, Bounds, Observer, PlogId, ReadChunk, RetentionClass};
use crate::runs::ReadBudget;

/// A log of the directory, open or not. Less than 200 bytes when idle, of which a directory has thousands.
pub(crate) struct Log {
    pub id: PlogId,
    class: AtomicU8,
    pub state: Mutex<LogState>,
}

pub(crate) struct Entry {
    /// Rises from append to append and is never used twice, so that a journal segment can name its last one.
    pub no: u64,
    pub batch: Batch,
}

#[derive(Default)]
pub(crate) struct LogState {
    pub log_start: i64,
    /// The log start that the journal has on the disk. Rows in RocksDB follow this one, or a crash could lose what
    /// the log still has by its journal.
    pub durable_start: i64,
    pub end: i64,
    pub durable_end: i64,
    /// Offsets below are in RocksDB; at or above, in the tail.
    pub stored_end: i64,
    /// Bytes in RocksDB that are at or after `counted_from`, which follows the log start.
    pub stored_bytes: u64,
    pub counted_from: i64,
    /// Extents that end below this offset have been given back.
    pub trimmed_to: i64,
    /// The end as of the checkpoint.
    pub head_end: i64,
    pub tail: VecDeque<Entry>,
    /// Bytes in the tail that are at or after the log start.
    pub tail_bytes: u64,
    pub next_no: u64,
    pub observer: Option<Arc<dyn Observer>>,
    /// A truncation that the rows in RocksDB do not reflect yet; boxed, as it is rare.
    pub pending_cut: Option<Box<i64>>,
    /// Queued for [`crate::upkeep`].
    pub dirty: bool,
    pub deleted: bool,
}

impl Log {
    pub(crate) fn new(id: PlogId, class: RetentionClass) -> Self {
        Log { id, class: AtomicU8::new(class as u8), state: Mutex::new(LogState::default()) }
    }

    pub(crate) fn class(&self) -> RetentionClass {
        RetentionClass::from_number(self.class.load(Ordering::Relaxed)).unwrap_or(RetentionClass::Forever)
    }

    pub(crate) fn set_class(&self, class: RetentionClass) {
        self.class.store(class as u8, Ordering::Relaxed);
    }
}

impl LogState {
    pub(crate) fn push(&mut self, batch: Batch) -> u64 {
        let no = self.next_no;
        self.next_no += 1;
        self.end = batch.last_offset + 1;
        self.tail_bytes += self.live_size(&batch);
        self.tail.push_back(Entry { no, batch });
        no
    }

    fn live_size(&self, batch: &Batch) -> u64 {
        if batch.last_offset >= self.log_start { batch.bytes.len() as u64 } else { 0 }
    }

    /// Index in the tail of the first batch whose last offset is at or after `offset`.
    pub(crate) fn position(&self, offset: i64) -> usize {
        self.tail.partition_point(|e| e.batch.last_offset < offset)
    }

    /// Cuts the tail for a truncation.
    pub(crate) fn cut(&mut self, to: i64, end: i64) {
        let kept = self.position(to);
        self.tail.truncate(kept);
        self.count_tail();
        self.end = end;
        self.durable_end = self.durable_end.min(end);
        if to < self.stored_end {
            self.stored_end = end;
        }
    }

    /// The truncation is durable in the journal, so the rows in RocksDB may follow.
    pub(crate) fn note_cut(&mut self, to: i64) {
        let cut = self.pending_cut.as_deref().map_or(to, |cut| to.min(*cut));
        self.pending_cut = Some(Box::new(cut));
    }

    /// Raises the log start in memory. The bytes in RocksDB that fall below it are the caller's to count.
    pub(crate) fn raise_start(&mut self, offset: i64) {
        self.log_start = self.log_start.max(offset);
        if self.log_start > self.end {
            self.end = self.log_start;
            self.durable_end = self.durable_end.max(self.end);
        }
        self.count_tail();
    }

    fn count_tail(&mut self) {
        let live = self.tail.range(self.position(self.log_start)..);
        self.tail_bytes = live.map(|e| e.batch.bytes.len() as u64).sum();
    }

    /// Forgets the entries up to `last_no`, which are in RocksDB now.
    pub(crate) fn pop_stored(&mut self, last_no: u64) {
        while let Some(entry) = self.tail.pop_front_if(|e| e.no <= last_no) {
            self.tail_bytes -= self.live_size(&entry.batch);
        }
        if self.tail.is_empty() {
            self.tail = VecDeque::new();
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            log_start: self.log_start,
            end: self.end,
            durable_end: self.durable_end,
            bytes: self.stored_bytes + self.tail_bytes,
        }
    }

    /// Adds batches from the tail to an answer.
    pub(crate) fn read(&self, from: i64, budget: &mut ReadBudget, chunk: &mut ReadChunk) {
        for entry in self.tail.range(self.position(from)..) {
            let batch = &entry.batch;
            if !budget.take(batch.last_offset, batch.bytes.len()) {
                return;
            }
            chunk.bytes += batch.bytes.len();
            chunk.batches.push(batch.bytes.clone());
        }
    }

    pub(crate) fn tail_batches(&self) -> Vec<Bytes> {
        self.tail.iter().map(|e| e.batch.bytes.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_log_is_small() {
        // With the two counters of its `Arc` it fits the allocator's class of 192 bytes.
        assert!(size_of::<Log>() + 2 * size_of::<usize>() <= 192, "{}", size_of::<Log>());
    }
}
