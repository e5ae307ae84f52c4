//! Every mapping from an error of a room below to Kafka's error code. Each is
//! exhaustive, so that a new error cannot be forgotten here.

use millrace_log::AppendError as LogAppendError;
use millrace_metadata::error::ErrorCode;
use millrace_replica::{AppendError, CommitError, DeleteRecordsError, MoveError, PartitionError, ReadError};

use crate::sessions::SessionError;

/// Why a batch was not appended, as a producer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// A sentence, where Kafka has one.
    pub message: Option<String>,
    /// Records that are at fault: place in the batch and why.
    pub records: Vec<(i32, &'static str)>,
    /// Whether the batch got as far as being compared with the partition's state; the log's start is told then.
    pub judged: bool,
}

impl Refusal {
    /// A refusal that says nothing but its code.
    pub fn plain(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new(), judged: false }
    }

    fn judged(code: ErrorCode) -> Self {
        Self { judged: true, ..Self::plain(code) }
    }
}

/// A partition that is not here.
pub fn lookup(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown => ErrorCode::UnknownTopicOrPartition,
        PartitionError::NotHere => ErrorCode::NotLeaderOrFollower,
        PartitionError::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

/// An append that was refused; nothing was kept.
pub fn append(error: &AppendError) -> Refusal {
    match error {
        AppendError::NotLeader => Refusal::plain(ErrorCode::NotLeaderOrFollower),
        AppendError::NotEnoughReplicas { .. } => Refusal::judged(ErrorCode::NotEnoughReplicas),
        AppendError::Log(error) => log_append(error),
    }
}

/// Records that are not the one batch that they should be; the partition was not looked at. Kafka has a message where
/// it cannot even tell batches apart.
pub fn not_one_batch(error: &LogAppendError) -> Refusal {
    let mut refusal = log_append(error);
    refusal.judged = false;
    refusal.message = (refusal.code == ErrorCode::CorruptMessage).then(|| error.to_string());
    refusal
}

fn log_append(error: &LogAppendError) -> Refusal {
    match error {
        LogAppendError::Corrupt(_) => Refusal::plain(ErrorCode::CorruptMessage),
        LogAppendError::InvalidRecord { records, .. } => with_records(ErrorCode::InvalidRecord, error, records),
        LogAppendError::InvalidTimestamp { records } => with_records(ErrorCode::InvalidTimestamp, error, records),
        LogAppendError::TooLarge { .. } | LogAppendError::ExpandsTooFar => Refusal::plain(ErrorCode::MessageTooLarge),
        LogAppendError::LargerThanSegment { .. } => Refusal::plain(ErrorCode::RecordListTooLarge),
        LogAppendError::UnsupportedCompression => Refusal::plain(ErrorCode::UnsupportedCompressionType),
        LogAppendError::OutOfOrderSequence { .. } => Refusal::judged(ErrorCode::OutOfOrderSequenceNumber),
        LogAppendError::InvalidProducerEpoch { .. } => Refusal::judged(ErrorCode::InvalidProducerEpoch),
        LogAppendError::InvalidTxnState { .. } => Refusal::judged(ErrorCode::InvalidTxnState),
        // Only followers see it.
        LogAppendError::UnexpectedOffset { .. } => Refusal::plain(ErrorCode::UnknownServerError),
        LogAppendError::Storage(_) => Refusal::plain(ErrorCode::KafkaStorageError),
    }
}

/// Kafka has a message where it has a list of records, and only there.
fn with_records(code: ErrorCode, error: &LogAppendError, records: &[millrace_log::RecordError]) -> Refusal {
    Refusal {
        message: (!records.is_empty()).then(|| error.to_string()),
        records: records.iter().map(|r| (r.index, r.message)).collect(),
        ..Refusal::judged(code)
    }
}

/// An append whose fate is not known, or that too few replicas have. None of these codes promises that the records
/// were not kept.
pub fn commit(error: &CommitError) -> ErrorCode {
    match error {
        CommitError::TimedOut => ErrorCode::RequestTimedOut,
        CommitError::NotEnoughReplicas => ErrorCode::NotEnoughReplicasAfterAppend,
        CommitError::Storage => ErrorCode::KafkaStorageError,
        CommitError::NotLeader => ErrorCode::NotLeaderOrFollower,
    }
}

/// A read or an offset lookup that failed.
pub fn read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NotLeader => ErrorCode::NotLeaderOrFollower,
        ReadError::FencedEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownEpoch { .. } | ReadError::UnknownReplica { .. } => ErrorCode::UnknownLeaderEpoch,
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        ReadError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

/// Records that were not deleted.
pub fn delete_records(error: &DeleteRecordsError) -> ErrorCode {
    match error {
        DeleteRecordsError::NotLeader => ErrorCode::NotLeaderOrFollower,
        DeleteRecordsError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        DeleteRecordsError::NotDeletable => ErrorCode::PolicyViolation,
        DeleteRecordsError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

/// A replica that does not move to another directory.
pub fn move_dir(error: &MoveError) -> ErrorCode {
    match error {
        MoveError::NoSuchDir => ErrorCode::LogDirNotFound,
        MoveError::Unknown => ErrorCode::UnknownTopicOrPartition,
        // Kafka keeps this code for the sake of old clients.
        MoveError::NotHere => ErrorCode::ReplicaNotAvailable,
        MoveError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

/// A fetch session that could not be used.
pub fn fetch_session(error: SessionError) -> ErrorCode {
    match error {
        SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicIdMismatch => ErrorCode::FetchSessionTopicIdError,
    }
}
