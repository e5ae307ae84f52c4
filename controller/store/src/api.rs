//! What the rest of Millrace sees of storage: an ordered log store per data directory and a small ordered
//! key-value store. Each trait has two implementations (RocksDB with a journal, and an in-memory twin that forgets
//! unsynced writes on a crash) and one conformance suite that both pass.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Number of one partition log *incarnation*: a topic that is deleted and created again gets a new one, so that old
/// rows can never be read under the new topic.
pub type PlogId = u64;

/// Storage failures, by what the caller can do about them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A write or sync failed. The directory is poisoned: nothing may be acknowledged from it until a restart.
    #[error("{path}: {what}; the data directory takes no more writes until the broker is restarted")]
    Poisoned { path: String, what: String },
    /// No space: nothing of the refused write was kept; the same write may be tried again when there is room.
    #[error("{path}: no space left ({free} bytes free, {needed} needed); free some space or lower retention")]
    Full { path: String, free: u64, needed: u64 },
    /// Stored bytes do not match their checksum or shape.
    #[error("{path}: {what}")]
    Corrupt { path: String, what: String },
    /// Locked by another process, unwritable, or of a newer format: refused at open, nothing changed.
    #[error("{path}: {what}")]
    Refused { path: String, what: String },
    /// The log was dropped or the store closed meanwhile.
    #[error("the log is closed")]
    Closed,
}

/// One record batch on its way into a log: the client's bytes with offsets and epoch already set.
#[derive(Debug, Clone)]
pub struct Batch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub leader_epoch: i32,
    /// Largest record timestamp, ms since 1970; −1 if there is none.
    pub max_timestamp: i64,
    /// The whole batch, from its base offset field on. Never decoded here.
    pub bytes: Bytes,
}

/// A stored batch without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeta {
    pub base_offset: i64,
    pub last_offset: i64,
    pub leader_epoch: i32,
    pub max_timestamp: i64,
    /// Length of the batch in bytes.
    pub size: u32,
}

/// What is stored of a log. Offsets are half open: `[log_start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub log_start: i64,
    /// One past the last appended offset, durable or not.
    pub end: i64,
    /// One past the last durable offset.
    pub durable_end: i64,
    /// Bytes of the batches at or after `log_start` (whole batches).
    pub bytes: u64,
}

/// A contiguous run of one log's batches that is reclaimed as a whole: what Kafka calls a log segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub first_offset: i64,
    pub last_offset: i64,
    pub bytes: u64,
    /// Largest timestamp in the run, ms since 1970; −1 if there is none.
    pub max_timestamp: i64,
}

/// How long the data of a log is expected to live. Logs of one class share files, and a file is given back as a
/// whole, so the class decides how soon space returns. Changing it affects only what is written later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RetentionClass {
    Hour = 0,
    SixHours = 1,
    Day = 2,
    Week = 3,
    Month = 4,
    Forever = 5,
    Compact = 6,
}

/// Batches handed to a reader, in offset order, whole, shared and not copied where the store can.
#[derive(Debug, Default, Clone)]
pub struct ReadChunk {
    pub batches: Vec<Bytes>,
    /// Sum of the lengths in `batches`.
    pub bytes: usize,
}

/// Answer of [`Plog::read_tail`].
#[derive(Debug)]
pub enum TailRead {
    /// All that can be read is in memory, and this is it (possibly nothing, at the end of the log).
    Hit(ReadChunk),
    /// `from` lies before the in-memory tail: use [`Plog::read`], which may block on the disk.
    Below,
}

/// Limits of a read.
#[derive(Debug, Clone, Copy)]
pub struct ReadSpec {
    /// First offset wanted: the read starts with the batch that contains it, or the next one after a gap.
    pub from: i64,
    /// Only batches whose last offset is below this one (high watermark, last stable offset or log end).
    pub until: i64,
    pub max_bytes: usize,
    /// Return the first batch even if it alone is larger than `max_bytes` (KIP-74).
    pub at_least_one: bool,
}

/// Told about a log's progress by the committer thread. Calls are short and never block.
pub trait Observer: Send + Sync {
    /// Every append below `end` is durable. Called at most once per commit group, never with a lower `end` than before
    /// unless the log was truncated.
    fn durable(&self, end: i64);
    /// The store is poisoned; appends above the last `durable` call have an unknown fate.
    fn failed(&self, error: &StoreError);
}

/// One open partition log.
///
/// Writes of one log (`append`, `truncate`, `set_log_start`, `delete`) are ordered by the caller: it holds its own
/// lock around the choice of offsets and the call. They enter the committer's queue and return at once; memory is
/// bounded by the request budget that the caller holds until [`Observer::durable`].
pub trait Plog: Send + Sync {
    fn id(&self) -> PlogId;
    fn bounds(&self) -> Bounds;
    /// Queues a batch. `base_offset` must be at or after the log's end (gaps are allowed: compaction, replication).
    fn append(&self, batch: Batch) -> Result<(), StoreError>;
    /// Removes every batch whose last offset is at or above `to`; returns when that is durable.
    fn truncate(&self, to: i64) -> Result<(), StoreError>;
    /// Moves the log start up; offsets below it are never served again, their space returns later. With `offset`
    /// beyond the end the log becomes empty and continues there. Durable before the next acknowledged append.
    fn set_log_start(&self, offset: i64) -> Result<(), StoreError>;
    /// Forgets the log and everything in it. Durable before the next acknowledged append of any log.
    fn delete(&self) -> Result<(), StoreError>;
    fn set_class(&self, class: RetentionClass);

    /// Reads from memory only; never blocks.
    fn read_tail(&self, spec: ReadSpec) -> TailRead;
    /// Reads from wherever the batches are; may block on the disk.
    fn read(&self, spec: ReadSpec) -> Result<ReadChunk, StoreError>;
    /// Batch descriptions from the first batch with `last_offset >= from`, at most `limit`; may block.
    fn index(&self, from: i64, limit: usize) -> Result<Vec<BatchMeta>, StoreError>;
    /// Offset-ordered extents from the one that contains `from`, at most `limit`; the last ones may still be in
    /// memory only. May block.
    fn extents(&self, from: i64, limit: usize) -> Result<Vec<Extent>, StoreError>;
    /// The batches that are in the journal and not yet moved into the store, in order. What [`Derive`] has not seen
    /// yet: fold them over the persisted rows to get the state of the log's end. Take the tail first and read the rows
    /// then: what moves in between is seen twice, never missed.
    fn tail(&self) -> Vec<Bytes>;
}

/// Folds the batches of a full journal segment into small rows that are stored together with the mark that the
/// segment is done, so that a restart needs the rows and the remaining tail only. Must be pure and repeatable: after
/// a crash it may see the same batches again.
pub trait Derive: Send + Sync {
    /// `batches` are all batches of `plog` in the segment, in offset order; `rows` reads what is stored so far.
    fn derive(&self, plog: PlogId, batches: &[Bytes], rows: &dyn Kv, out: &mut KvBatch) -> Result<(), StoreError>;
}

/// All partition logs of one data directory: one journal, one committer, one sync for many partitions.
pub trait LogStore: Send + Sync {
    /// Opens a log, new or existing, and registers who is told about its progress.
    fn open(&self, id: PlogId, class: RetentionClass, observer: Arc<dyn Observer>)
    -> Result<Arc<dyn Plog>, StoreError>;
    /// Logs that exist in the directory, open or not.
    fn plogs(&self) -> Result<Vec<PlogId>, StoreError>;
    /// Small rows that belong to the logs (producer state, epochs). Keys start with a tag byte of the owner.
    fn rows(&self) -> Arc<dyn Kv>;
    /// Returns when everything queued before is durable.
    fn sync(&self) -> Result<(), StoreError>;
    /// Space of the directory's file system and of the store in it, in bytes.
    fn usage(&self) -> Usage;
    /// Gives back the space of what is no longer reachable, as far as it is time to; called now and then, may block.
    fn reclaim(&self) -> Result<(), StoreError>;
    /// Makes everything durable, leaves the clean-shutdown mark and stops. Later calls answer `Closed`.
    fn close(&self) -> Result<(), StoreError>;
}

/// See [`LogStore::usage`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub total: u64,
    pub free: u64,
    pub used_by_store: u64,
    /// Memory that batches in the tail hold.
    pub tail_memory: u64,
}

/// Small ordered key-value store with atomic batches.
pub trait Kv: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Visits `[from, to)` in key order until `visit` returns false.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;
    /// Applies all of `batch` or nothing; with `durable` it is on the disk when this returns. Batches become durable
    /// in the order of the calls.
    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError>;
}

/// Changes for [`Kv::write`], applied in order.
#[derive(Debug, Default, Clone)]
pub struct KvBatch {
    pub ops: Vec<KvOp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvOp {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// Deletes `[from, to)`.
    DeleteRange(Vec<u8>, Vec<u8>),
}

impl KvBatch {
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.ops.push(KvOp::Put(key.into(), value.into()));
        self
    }
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.ops.push(KvOp::Delete(key.into()));
        self
    }
    pub fn delete_range(&mut self, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> &mut Self {
        self.ops.push(KvOp::DeleteRange(from.into(), to.into()));
        self
    }
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// When a write counts as durable (setting `flush.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushPolicy {
    /// After `fdatasync` (group commit over all partitions).
    #[default]
    Sync,
    /// After the write call: survives a killed process, not a power cut. Kafka's default behaviour.
    Os,
}

impl fmt::Display for FlushPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlushPolicy::Sync => "sync",
            FlushPolicy::Os => "os",
        })
    }
}
