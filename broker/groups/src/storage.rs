//! What the coordinator needs of the log that holds `__consumer_offsets`.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use millrace_metadata::ErrorCode;

/// The partitions of `__consumer_offsets`. Appends to one partition take effect in the order in which
/// [`append`](Self::append) was called.
pub trait OffsetsLog: Send + Sync + 'static {
    /// Appends one record batch (format 2, offsets from 0) if this broker leads the partition at `epoch`. The place in
    /// the log is taken before the future is returned; it resolves, with the offset of the batch's first record, when
    /// the batch is committed. Whoever was deposed meanwhile is told so, even if it leads again.
    fn append(&self, partition: i32, epoch: i32, batch: BytesMut) -> BoxFuture<'static, Result<i64, LogError>>;

    /// Resolves when everything below `offset` is committed: what a new leader finds above the high watermark may
    /// still be lost with it.
    fn committed(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<(), LogError>>;

    /// Whole batches from `offset` on, at least one if there is one below the end of the log. They may begin before
    /// `offset`.
    fn read(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<Vec<Bytes>, LogError>>;

    /// Where the partition begins and ends, and how much it holds.
    fn bounds(&self, partition: i32) -> Result<Bounds, LogError>;

    /// Gives up what lies before `offset`.
    fn delete_before(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<(), LogError>>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start_offset: i64,
    /// The offset that the next record gets.
    pub end_offset: i64,
    pub bytes: u64,
}

/// Why the log did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Nothing was written: another broker leads the partition, or nobody.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// Nothing was written: too few replicas.
    #[error("too few replicas are in sync")]
    NotEnoughReplicas,
    /// Nothing was written: the batch is larger than the partition takes.
    #[error("the batch is too large")]
    TooLarge,
    /// It may or may not have been written.
    #[error("the fate of the batch is not known: {0}")]
    Unknown(String),
    /// It may or may not have been written, and the storage is given up.
    #[error("the storage failed: {0}")]
    Storage(String),
}

impl LogError {
    /// What a client is told (`CoordinatorOperationExceptionHelper.java`). All of them make it ask again for the
    /// coordinator, but for a batch that never fits.
    pub fn answer(&self) -> ErrorCode {
        match self {
            LogError::NotLeader | LogError::Storage(_) => ErrorCode::NotCoordinator,
            LogError::NotEnoughReplicas | LogError::Unknown(_) => ErrorCode::CoordinatorNotAvailable,
            LogError::TooLarge => ErrorCode::UnknownServerError,
        }
    }
}
