//! What can go wrong, by what the caller can do about it.

use millrace_store::StoreError;

/// One record that was refused, by its place in the batch (Produce v8 `record_errors`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    pub index: i32,
    pub message: &'static str,
}

/// Why a batch was not appended. Nothing of it was kept, in every case.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Length or checksum wrong (CORRUPT_MESSAGE).
    #[error("{0}")]
    Corrupt(&'static str),
    /// The batch contradicts itself or the rules (INVALID_RECORD), with the records at fault if they can be named.
    #[error("{message}")]
    InvalidRecord { message: &'static str, records: Vec<RecordError> },
    /// Timestamps out of the topic's range, or LogAppendTime set by the client (INVALID_TIMESTAMP).
    #[error("One or more records have been rejected due to invalid timestamp")]
    InvalidTimestamp { records: Vec<RecordError> },
    /// MESSAGE_TOO_LARGE
    #[error("the record batch has {size} bytes; at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    /// A compressed batch that would take more bytes or records than it is entitled to (MESSAGE_TOO_LARGE, so that a
    /// client splits it).
    #[error("the compressed records expand beyond what a batch may hold")]
    ExpandsTooFar,
    /// Larger than a segment (RECORD_LIST_TOO_LARGE).
    #[error("the record batch has {size} bytes; segment.bytes is {limit}")]
    LargerThanSegment { size: usize, limit: usize },
    /// zstd in a request older than version 7, or an unknown codec (UNSUPPORTED_COMPRESSION_TYPE).
    #[error("Produce requests below version 7 may not use zstd")]
    UnsupportedCompression,
    /// OUT_OF_ORDER_SEQUENCE_NUMBER
    #[error("producer {producer_id}: sequence number {sequence} does not follow {last}")]
    OutOfOrderSequence { producer_id: i64, sequence: i32, last: i32 },
    /// INVALID_PRODUCER_EPOCH
    #[error("producer {producer_id}: epoch {epoch} is older than {current}")]
    InvalidProducerEpoch { producer_id: i64, epoch: i16, current: i16 },
    /// INVALID_TXN_STATE
    #[error("producer {producer_id}: the record is not part of an ongoing transaction")]
    InvalidTxnState { producer_id: i64 },
    /// A replicated batch that does not start at or after the log's end.
    #[error("batch at {base_offset} does not continue a log that ends at {end}")]
    UnexpectedOffset { base_offset: i64, end: i64 },
    /// KAFKA_STORAGE_ERROR: the directory is full or offline.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl AppendError {
    pub(crate) fn invalid(message: &'static str) -> AppendError {
        AppendError::InvalidRecord { message, records: Vec::new() }
    }
}

/// Why the log could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The offset lies outside `[log start, end]` (OFFSET_OUT_OF_RANGE).
    #[error("offset {offset} is outside of [{log_start}, {end}]")]
    OffsetOutOfRange { offset: i64, log_start: i64, end: i64 },
    #[error(transparent)]
    Storage(#[from] StoreError),
}
