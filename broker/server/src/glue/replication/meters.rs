//! Counters of replication, under the names of Kafka's meters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_metadata::NodeId;
use parking_lot::Mutex;

/// What replication did since the broker started.
#[derive(Debug, Default)]
pub struct Meters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    shrinks: AtomicU64,
    expands: AtomicU64,
    failed_updates: AtomicU64,
    /// Of each fetcher: leader, number, and offsets that its farthest partition lacked in the last answer.
    lags: Mutex<BTreeMap<(NodeId, usize), i64>>,
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

    /// An in-sync set had `before` members and has `now`.
    pub fn in_sync(&self, before: usize, now: usize) {
        if now < before {
            self.shrinks.fetch_add(1, Ordering::Relaxed);
        } else if now > before {
            self.expands.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The controller refused changes, or did not answer.
    pub fn updates_failed(&self, changes: usize) {
        self.failed_updates.fetch_add(changes as u64, Ordering::Relaxed);
    }

    /// After an answer of `leader` to its fetcher `id`: offsets below the leader's high watermark that the farthest
    /// partition lacks.
    pub fn lag(&self, leader: NodeId, id: usize, offsets: i64) {
        self.lags.lock().insert((leader, id), offsets);
    }

    /// `ReplicationBytesInPerSec` as a count.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// `ReplicationBytesOutPerSec` as a count.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// `IsrShrinksPerSec` as a count.
    pub fn shrinks(&self) -> u64 {
        self.shrinks.load(Ordering::Relaxed)
    }

    /// `IsrExpandsPerSec` as a count.
    pub fn expands(&self) -> u64 {
        self.expands.load(Ordering::Relaxed)
    }

    /// `FailedIsrUpdatesPerSec` as a count.
    pub fn failed_updates(&self) -> u64 {
        self.failed_updates.load(Ordering::Relaxed)
    }

    /// `MaxLag` of the replica fetchers.
    pub fn max_lag(&self) -> i64 {
        self.lags.lock().values().copied().max().unwrap_or(0)
    }
}
