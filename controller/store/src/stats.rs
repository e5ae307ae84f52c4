//! Counters of a log store, cheap enough for every group.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper borders of the latency buckets in microseconds; the last bucket has none.
pub const LATENCY_BUCKETS_US: [u64; 14] =
    [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600];

/// A histogram over [`LATENCY_BUCKETS_US`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    pub counts: [u64; LATENCY_BUCKETS_US.len() + 1],
    pub sum_us: u64,
}

impl Latency {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A reading of the counters; all but the gauges only rise.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// Time of the write calls and of the sync calls, per group.
    pub write: Latency,
    pub sync: Latency,
    pub groups: u64,
    pub frames: u64,
    pub payload_bytes: u64,
    /// With headers and padding.
    pub journal_bytes: u64,
    pub ingests: u64,
    pub ingested_bytes: u64,
    /// Time that ingestion took, per segment.
    pub ingest: Latency,
    pub evacuated_bytes: u64,
    pub dropped_buckets: u64,
    /// Gauges.
    pub queued_ops: u64,
    pub queued_bytes: u64,
    pub sealed_segments: u64,
    pub tail_bytes: u64,
    pub buckets: u64,
    pub bucket_bytes: u64,
    pub bucket_live_bytes: u64,
    /// Appends are refused because the disk is full.
    pub full: bool,
}

#[derive(Default)]
struct Histogram {
    counts: [AtomicU64; LATENCY_BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, time: Duration) {
        let us = time.as_micros() as u64;
        let bucket = LATENCY_BUCKETS_US.partition_point(|border| *border < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn read(&self) -> Latency {
        let counts = std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed));
        Latency { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

#[derive(Default)]
pub(crate) struct Stats {
    write: Histogram,
    sync: Histogram,
    ingest: Histogram,
    groups: AtomicU64,
    frames: AtomicU64,
    payload: AtomicU64,
    journal: AtomicU64,
    ingested: AtomicU64,
    evacuated: AtomicU64,
    dropped: AtomicU64,
    /// Memory that the batches in the tail hold.
    pub tail: AtomicU64,
}

impl Stats {
    pub(crate) fn group(&self, frames: usize, payload: u64, journal: u64, write: Duration, sync: Duration) {
        self.write.add(write);
        self.sync.add(sync);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.payload.fetch_add(payload, Ordering::Relaxed);
        self.journal.fetch_add(journal, Ordering::Relaxed);
    }

    pub(crate) fn ingest(&self, bytes: u64, time: Duration) {
        self.ingest.add(time);
        self.ingested.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn evacuate(&self, bytes: u64) {
        self.evacuated.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn drop_bucket(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> StoreStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ingest = self.ingest.read();
        StoreStats {
            write: self.write.read(),
            sync: self.sync.read(),
            groups: get(&self.groups),
            frames: get(&self.frames),
            payload_bytes: get(&self.payload),
            journal_bytes: get(&self.journal),
            ingests: ingest.count(),
            ingested_bytes: get(&self.ingested),
            ingest,
            evacuated_bytes: get(&self.evacuated),
            dropped_buckets: get(&self.dropped),
            tail_bytes: get(&self.tail),
            ..StoreStats::default()
        }
    }
}
