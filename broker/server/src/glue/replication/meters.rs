//! Counters of replication.

use std::sync::atomic::{AtomicU64, Ordering};

/// What replication did since the broker started, under the names of Kafka's meters.
#[derive(Debug, Default)]
pub struct Meters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Meters {
    /// Bytes of records that were fetched from leaders.
    pub fn replicated_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of records that followers fetched here.
    pub fn replicated_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// `ReplicationBytesInPerSec` as a count.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// `ReplicationBytesOutPerSec` as a count.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }
}
