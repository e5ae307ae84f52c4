//! Settings of a log store and the named bounds of its queues and buffers.

use std::sync::Arc;

use crate::api::FlushPolicy;
use crate::journal::io::{DiskIo, JournalIo};

/// Largest number of payload bytes that the committer puts into one group; one larger batch is a group of its own.
pub(crate) const GROUP_BYTES: usize = 4 << 20;
/// Largest number of frames in one group.
pub(crate) const GROUP_FRAMES: usize = 16 << 10;
/// Memory that an entry of the tail costs beside its bytes, for the accounting only.
pub(crate) const TAIL_ENTRY_COST: u64 = 160;
/// Smallest segment that is accepted, bytes.
pub(crate) const MIN_SEGMENT: u64 = 64 << 10;
/// Batches described by one extent row, and bytes that it spans (a larger batch has a row of its own).
pub(crate) const EXTENT_BATCHES: usize = 1024;
pub(crate) const EXTENT_BYTES: u64 = 4 << 20;
/// Files that RocksDB keeps open, whatever the number of logs and the size of the data.
pub(crate) const MAX_OPEN_FILES: i32 = 384;
/// A sealed bucket with a smaller share of reachable bytes than this (percent) is copied together and dropped.
pub(crate) const EVACUATE_BELOW_PERCENT: u64 = 40;

/// Settings of a log store; the defaults suit a broker with 400 MB.
#[derive(Clone)]
pub struct StoreOptions {
    pub flush: FlushPolicy,
    /// Bytes of one journal segment. A full segment becomes one file in RocksDB, and its batches stay in memory
    /// until then.
    pub segment_bytes: u64,
    /// Segments at most: one is written, the others wait for ingestion. With `segment_bytes` the bound of the
    /// memory that the tail takes.
    pub segments: usize,
    /// Size of a fresh store's first segment, bytes: small, so that it is there at once.
    pub first_segment_bytes: u64,
    /// Bytes after which a bucket of the longer retention classes is closed; the short ones take a quarter or half.
    pub bucket_bytes: u64,
    /// Free space in bytes below which nothing more is taken, so that RocksDB itself never meets a full disk.
    pub reserve_bytes: u64,
    /// Rely on the batch's own checksum (Kafka format 2) in the journal instead of computing a second one.
    pub trust_batch_crc: bool,
    /// Where the journal does its I/O; tests put faults here.
    pub io: Arc<dyn JournalIo>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            flush: FlushPolicy::Sync,
            segment_bytes: 16 << 20,
            segments: 4,
            first_segment_bytes: 1 << 20,
            bucket_bytes: 1 << 30,
            reserve_bytes: 48 << 20,
            trust_batch_crc: true,
            io: Arc::new(DiskIo),
        }
    }
}

impl StoreOptions {
    /// Sizes for tests that want many segments and buckets out of little data.
    pub fn small() -> Self {
        StoreOptions {
            segment_bytes: 256 << 10,
            first_segment_bytes: 64 << 10,
            bucket_bytes: 1 << 20,
            reserve_bytes: 1 << 20,
            ..StoreOptions::default()
        }
    }
}
