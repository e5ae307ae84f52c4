//! When the log is long enough for a snapshot. Counted in records and not in entries: one entry may create thousands
//! of partitions, and a restart reads them all.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Records in the log that start a snapshot: about 4 MiB.
pub const RECORDS_MAX: usize = 50_000;
/// Log entries that stay after a snapshot, for voters that are only a little behind.
pub const ENTRIES_KEPT: u64 = 64;

/// How much was applied since the last snapshot.
#[derive(Default)]
pub struct Growth {
    records: AtomicUsize,
    limit: usize,
    full: Notify,
}

impl Growth {
    pub fn new(limit: usize) -> Growth {
        Growth { limit, ..Growth::default() }
    }

    pub fn add(&self, records: usize) {
        // An entry has a cost of its own beside its records.
        if self.records.fetch_add(records + 1, Ordering::Relaxed) + records + 1 >= self.limit {
            self.full.notify_one();
        }
    }

    pub fn reset(&self) {
        self.records.store(0, Ordering::Relaxed);
    }

    /// Returns when a snapshot is due.
    pub async fn full(&self) {
        self.full.notified().await;
    }
}
