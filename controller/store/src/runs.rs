//! Rules about sorted runs of batches that the twin and the real store share, so that they cannot differ.

use crate::api::{Batch, BatchMeta, Extent, PlogId, ReadSpec, StoreError};

/// A run in memory is shown to retention in extents of at most this many bytes …
pub(crate) const TAIL_EXTENT_BYTES: u64 = 1 << 20;
/// … and batches.
pub(crate) const TAIL_EXTENT_BATCHES: usize = 1024;

impl Batch {
    /// The batch's description.
    pub fn meta(&self) -> BatchMeta {
        BatchMeta {
            base_offset: self.base_offset,
            last_offset: self.last_offset,
            leader_epoch: self.leader_epoch,
            max_timestamp: self.max_timestamp,
            size: self.bytes.len() as u32,
        }
    }
}

/// Decides batch by batch what one read returns.
pub(crate) struct ReadBudget {
    until: i64,
    left: usize,
    /// Whether the next batch is served whatever its size.
    owed: bool,
}

impl ReadBudget {
    pub(crate) fn new(spec: &ReadSpec) -> Self {
        ReadBudget { until: spec.until, left: spec.max_bytes, owed: spec.at_least_one }
    }

    /// Whether the next batch belongs to the answer; once false, the answer is complete.
    pub(crate) fn take(&mut self, last_offset: i64, size: usize) -> bool {
        if last_offset >= self.until || (size > self.left && !self.owed) {
            return false;
        }
        self.owed = false;
        self.left = self.left.saturating_sub(size);
        true
    }
}

/// The log's end after a truncation to `to` whose first removed batch starts at `first_removed`. A batch that
/// straddles `to` goes as a whole, so the end falls back to its base and the batch can be fetched again; in a gap
/// (compaction) the end is `to` itself.
pub(crate) fn end_after_truncation(to: i64, first_removed: Option<i64>, end: i64, log_start: i64) -> i64 {
    first_removed.map_or(to, |base| base.min(to)).min(end).max(log_start)
}

/// Groups consecutive batches into extents of bounded size.
pub(crate) fn extents_of(metas: impl Iterator<Item = BatchMeta>) -> Vec<Extent> {
    let mut out: Vec<Extent> = Vec::new();
    let mut batches = 0;
    for meta in metas {
        match out.last_mut() {
            Some(e) if e.bytes + u64::from(meta.size) <= TAIL_EXTENT_BYTES && batches < TAIL_EXTENT_BATCHES => {
                e.last_offset = meta.last_offset;
                e.bytes += u64::from(meta.size);
                e.max_timestamp = e.max_timestamp.max(meta.max_timestamp);
                batches += 1;
            }
            _ => {
                out.push(Extent {
                    first_offset: meta.base_offset,
                    last_offset: meta.last_offset,
                    bytes: u64::from(meta.size),
                    max_timestamp: meta.max_timestamp,
                });
                batches = 1;
            }
        }
    }
    out
}

/// The refusal of a batch that does not come after the log's end: a mistake of the caller.
pub(crate) fn misplaced(id: PlogId, batch: &Batch, end: i64) -> StoreError {
    let (base, last) = (batch.base_offset, batch.last_offset);
    StoreError::Corrupt { path: format!("log {id}"), what: format!("batch {base}..={last} does not fit the end {end}") }
}
