//! Why a partition could not do what was asked, by what the caller tells its client.

use millrace_store::StoreError;

/// Why a partition was not found here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PartitionError {
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("unknown topic or partition")]
    Unknown,
    /// The partition exists and has no replica on this broker (NOT_LEADER_OR_FOLLOWER).
    #[error("this broker holds no replica of the partition")]
    NotHere,
    /// Its log directory is offline (KAFKA_STORAGE_ERROR).
    #[error("the partition's log directory is offline: {0}")]
    Offline(StoreError),
}

/// Why a batch was not appended; nothing of it was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// NOT_LEADER_OR_FOLLOWER
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// NOT_ENOUGH_REPLICAS
    #[error("{in_sync} replicas are in sync, {needed} are needed")]
    NotEnoughReplicas { in_sync: usize, needed: usize },
    #[error(transparent)]
    Log(#[from] millrace_log::AppendError),
}

/// What became of an appended batch other than being committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// It may still be committed (REQUEST_TIMED_OUT).
    #[error("not committed in time")]
    TimedOut,
    /// It is in the log of too few replicas and may be lost with them (NOT_ENOUGH_REPLICAS_AFTER_APPEND).
    #[error("too few replicas are in sync")]
    NotEnoughReplicas,
    /// The storage failed; whether the batch was kept is unknown (KAFKA_STORAGE_ERROR).
    #[error("the storage failed before the batch was known to be kept")]
    Storage,
    /// Leadership moved, or the topic was deleted; whether the batch stays is unknown (NOT_LEADER_OR_FOLLOWER).
    #[error("this broker does not lead the partition any more")]
    NotLeader,
}

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// NOT_LEADER_OR_FOLLOWER
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// FENCED_LEADER_EPOCH
    #[error("the client's leader epoch is older than {current}")]
    FencedEpoch { current: i32 },
    /// UNKNOWN_LEADER_EPOCH
    #[error("the client's leader epoch is newer than {current}")]
    UnknownEpoch { current: i32 },
    /// The one that fetches is no replica of the partition as far as this leader knows (UNKNOWN_LEADER_EPOCH, so that
    /// it tries again).
    #[error("broker {id} is no replica of the partition")]
    UnknownReplica { id: i32 },
    /// OFFSET_OUT_OF_RANGE
    #[error("offset {offset} is outside of [{log_start}, {end}]")]
    OutOfRange { offset: i64, log_start: i64, end: i64 },
    /// The leader is new and does not know yet what is committed (OFFSET_NOT_AVAILABLE).
    #[error("the high watermark is not known yet")]
    OffsetNotAvailable,
    /// KAFKA_STORAGE_ERROR
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl From<millrace_log::LogError> for ReadError {
    fn from(error: millrace_log::LogError) -> ReadError {
        match error {
            millrace_log::LogError::OffsetOutOfRange { offset, log_start, end } => {
                ReadError::OutOfRange { offset, log_start, end }
            }
            millrace_log::LogError::Storage(error) => ReadError::Storage(error),
        }
    }
}

/// Why a partition does not move to another directory.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MoveError {
    /// LOG_DIR_NOT_FOUND
    #[error("no such log directory")]
    NoSuchDir,
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("unknown topic or partition")]
    Unknown,
    /// The partition has no replica on this broker (REPLICA_NOT_AVAILABLE).
    #[error("this broker holds no replica of the partition")]
    NotHere,
    /// KAFKA_STORAGE_ERROR
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// Why records were not deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteRecordsError {
    /// NOT_LEADER_OR_FOLLOWER
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// Above the high watermark, or negative (OFFSET_OUT_OF_RANGE).
    #[error("offset {offset} is not in [0, {high_watermark}]")]
    OutOfRange { offset: i64, high_watermark: i64 },
    /// The topic's policy does not delete (POLICY_VIOLATION).
    #[error("records of a topic without cleanup.policy=delete cannot be deleted")]
    NotDeletable,
    /// KAFKA_STORAGE_ERROR
    #[error(transparent)]
    Storage(#[from] StoreError),
}
