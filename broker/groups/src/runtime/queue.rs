//! Records on their way into the log.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::batch::{BatchBuilder, RECORD_OVERHEAD};
use crate::effects::Records;

/// Commits are refused while a shard has more than this waiting: the log does not keep up.
pub const MAX_QUEUED_BYTES: usize = 64 << 20;

/// Room for the header of a batch.
const HEADER: usize = 64;

/// Batches in the order in which they are to be appended; the last one is still growing.
#[derive(Debug, Default)]
pub struct Queue {
    full: VecDeque<BytesMut>,
    open: BatchBuilder,
    bytes: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds records, beginning a new batch where one would grow beyond `max_batch` bytes.
    pub fn push(&mut self, records: &Records, now_ms: i64, max_batch: usize) {
        for (key, value) in records.iter() {
            let size = key.len() + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD;
            if !self.open.is_empty() && self.open.len() + size + HEADER > max_batch {
                self.close();
            }
            self.open.add(now_ms, key, value);
            self.bytes += size;
        }
    }

    fn close(&mut self) {
        self.full.extend(std::mem::take(&mut self.open).finish());
    }

    /// All batches, in order; the queue is empty then.
    pub fn take(&mut self) -> Vec<BytesMut> {
        self.close();
        self.bytes = 0;
        self.full.drain(..).collect()
    }
}
