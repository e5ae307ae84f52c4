//! Checks a batch that a client sent, in Kafka's order and with Kafka's errors, and sets what a leader sets besides
//! offsets. Kafka: `LogValidator.java`, `UnifiedLog.analyzeAndValidateRecords`, `ProduceRequest.validateRecords`.

use bytes::BytesMut;
use millrace_metadata::config::TopicConfig;

use crate::batch::{self, BatchView, HEADER, LENGTH_PREFIX, MAGIC_V2, MIN_LENGTH_FIELD, NO_TIMESTAMP, UP_TO_MAGIC};
use crate::compress::{self, StreamSource, expansion_budget};
use crate::config::{Compression, TimestampType};
use crate::error::{AppendError, RecordError};
use crate::record::{Malformed, SliceSource, Source, next_record};

/// Record errors that are listed for one batch; the batch is refused as a whole anyway.
pub const MAX_RECORD_ERRORS: usize = 1000;
/// Produce version from which a client may send zstd (KIP-110).
const FIRST_VERSION_WITH_ZSTD: i16 = 7;
const ZSTD: u8 = 4;
/// Codec ids above are undefined.
const LAST_CODEC: u8 = 4;
/// Least bytes of one record, its size byte included.
const SMALLEST_RECORD: u64 = 7;

/// Who writes: decides which checks apply (Kafka: `AppendOrigin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Client,
    /// A coordinator of this broker: trusted with control batches and sequence-less producers.
    Coordinator,
}

/// The circumstances of a batch.
#[derive(Debug, Clone, Copy)]
pub struct ValidateSpec<'a> {
    pub config: &'a TopicConfig,
    pub origin: Origin,
    /// Produce version; [`i16::MAX`] for the broker's own batches.
    pub api_version: i16,
    pub now_ms: i64,
}

/// What was found in a valid batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    pub record_count: i32,
    /// ms since 1970; −1 if no record has one.
    pub max_timestamp: i64,
    /// The time that the broker stamped, −1 with CreateTime.
    pub log_append_time: i64,
}

/// Checks `records`, which must hold exactly one v2 batch, and sets timestamp type, largest timestamp and codec as
/// the topic wants them. Trailing bytes that are not a batch are cut off, as in Kafka.
pub fn validate(records: &mut BytesMut, spec: ValidateSpec<'_>) -> Result<Validated, AppendError> {
    let size = one_batch(records)?;
    let view = header(&records[..size], spec)?;
    let codec = view.codec();
    let found = match codec {
        0 => walk(&mut SliceSource::new(view.payload()), view, spec)?,
        _ => {
            let budget = budget(size, spec.config);
            if view.count() as u64 > budget / SMALLEST_RECORD {
                return Err(AppendError::ExpandsTooFar);
            }
            let mut source = StreamSource::new(codec, view.payload(), budget).map_err(malformed)?;
            walk(&mut source, view, spec)?
        }
    };
    let control = view.is_control();
    records.truncate(size);
    let (max_timestamp, log_append_time) = match spec.config.message_timestamp_type {
        TimestampType::CreateTime => (found.max_timestamp, NO_TIMESTAMP),
        TimestampType::LogAppendTime => (spec.now_ms, spec.now_ms),
    };
    match Compression::of_topic(spec.config) {
        Some(target) if target.id() != codec && !(control && codec == 0) => {
            *records = recompress(records, target, spec.config)?;
        }
        _ => {}
    }
    batch::patch_timestamps(records, spec.config.message_timestamp_type, max_timestamp);
    Ok(Validated { record_count: found.count, max_timestamp, log_append_time })
}

/// Length of the one batch in `records`: what can be said before the partition is looked at
/// (`ProduceRequest.validateRecords`).
pub fn one_batch(records: &[u8]) -> Result<usize, AppendError> {
    const NOT_ONE: &str = "Produce requests must have exactly one record batch per partition";
    let size = batch_size(records)?.ok_or_else(|| AppendError::invalid(NOT_ONE))?;
    if records[UP_TO_MAGIC - 1] as i8 != MAGIC_V2 {
        return Err(AppendError::invalid("Produce requests are only allowed to contain record batches with magic 2"));
    }
    match batch_size(&records[size..])? {
        Some(_) => Err(AppendError::invalid(NOT_ONE)),
        None => Ok(size),
    }
}

/// Size of the batch at the start of `bytes`, or `None` if there is no whole one.
/// Kafka: `ByteBufferLogInputStream.nextBatchSize`.
fn batch_size(bytes: &[u8]) -> Result<Option<usize>, AppendError> {
    if bytes.len() < UP_TO_MAGIC {
        return Ok(None);
    }
    let mut length = [0; 4];
    length.copy_from_slice(&bytes[8..12]);
    let length = i32::from_be_bytes(length);
    if length < MIN_LENGTH_FIELD {
        return Err(AppendError::Corrupt("the batch's length is below the least possible"));
    }
    if !(0..=MAGIC_V2).contains(&(bytes[UP_TO_MAGIC - 1] as i8)) {
        return Err(AppendError::Corrupt("the batch has an unknown magic byte"));
    }
    let size = LENGTH_PREFIX + length as usize;
    Ok((size <= bytes.len()).then_some(size))
}

/// The checks that need only the header and the checksum.
fn header<'a>(bytes: &'a [u8], spec: ValidateSpec<'_>) -> Result<BatchView<'a>, AppendError> {
    let view = BatchView::new(bytes).ok_or(AppendError::Corrupt("the batch is smaller than its header"))?;
    let client = spec.origin == Origin::Client;
    if view.codec() == ZSTD && spec.api_version < FIRST_VERSION_WITH_ZSTD {
        return Err(AppendError::UnsupportedCompression);
    }
    if client && view.base_offset() != 0 {
        return Err(AppendError::invalid("the base offset of a produced batch must be 0"));
    }
    check_size(bytes.len(), spec.config)?;
    if !view.crc_matches() {
        return Err(AppendError::Corrupt("the batch's checksum does not match its content"));
    }
    if view.codec() > LAST_CODEC {
        return Err(AppendError::invalid("unknown compression codec"));
    }
    let count = view.count();
    if count <= 0 {
        return Err(AppendError::invalid("the batch's record count is not positive"));
    }
    if i64::from(view.last_offset_delta()) + 1 != i64::from(count) {
        return Err(AppendError::invalid("the batch's record count does not match its offset range"));
    }
    if client && view.is_control() {
        return Err(AppendError::invalid("clients are not allowed to write control records"));
    }
    if client && view.has_producer_id() && view.base_sequence() < 0 {
        return Err(AppendError::invalid("a batch with a producer id needs a sequence number"));
    }
    if client && view.has_producer_id() && view.producer_epoch() < 0 {
        // Older than "none", as Kafka has it.
        let (producer_id, epoch) = (view.producer_id(), view.producer_epoch());
        return Err(AppendError::InvalidProducerEpoch { producer_id, epoch, current: -1 });
    }
    if view.timestamp_type() == TimestampType::LogAppendTime {
        let records =
            vec![RecordError { index: 0, message: "producers may not set the timestamp type to LogAppendTime" }];
        return Err(AppendError::InvalidTimestamp { records });
    }
    Ok(view)
}

fn check_size(size: usize, config: &TopicConfig) -> Result<(), AppendError> {
    let limit = usize::try_from(config.max_message_bytes).unwrap_or(0);
    if size > limit {
        return Err(AppendError::TooLarge { size, limit });
    }
    let limit = usize::try_from(config.segment_bytes).unwrap_or(0);
    if size > limit {
        return Err(AppendError::LargerThanSegment { size, limit });
    }
    Ok(())
}

fn budget(size: usize, config: &TopicConfig) -> u64 {
    expansion_budget(size, usize::try_from(config.max_message_bytes).unwrap_or(0))
}

struct Walked {
    count: i32,
    max_timestamp: i64,
}

/// Walks all records without allocating; the error list is made only for a batch that is refused.
fn walk<S: Source>(source: &mut S, view: BatchView<'_>, spec: ValidateSpec<'_>) -> Result<Walked, AppendError> {
    let count = view.count();
    let base = view.base_timestamp();
    let range = TimestampRange::new(spec);
    let needs_key = spec.config.cleanup_policy.compact && !view.is_control();
    let mut max_timestamp = NO_TIMESTAMP;
    let mut errors = Vec::new();
    let mut bad_timestamp = false;
    for index in 0..count {
        let record = next_record(source).map_err(malformed)?;
        if record.offset_delta != index {
            return Err(AppendError::invalid("the offsets of the records do not count up from 0"));
        }
        let timestamp = base.wrapping_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        let error = if needs_key && record.key_len < 0 {
            "a compacted topic does not accept a record without key"
        } else if !range.allows(timestamp) {
            bad_timestamp = true;
            "the timestamp is out of the range that the topic allows"
        } else {
            continue;
        };
        if errors.len() < MAX_RECORD_ERRORS {
            errors.push(RecordError { index, message: error });
        }
    }
    if !source.at_end().map_err(malformed)? {
        return Err(AppendError::invalid("bytes follow the last record"));
    }
    match (errors.is_empty(), bad_timestamp) {
        (true, _) => Ok(Walked { count, max_timestamp }),
        (false, true) => Err(AppendError::InvalidTimestamp { records: errors }),
        (false, false) => {
            Err(AppendError::InvalidRecord { message: "one or more records have been rejected", records: errors })
        }
    }
}

/// The timestamps that a CreateTime topic takes.
struct TimestampRange {
    least: i64,
    most: i64,
}

impl TimestampRange {
    fn new(spec: ValidateSpec<'_>) -> TimestampRange {
        match spec.config.message_timestamp_type {
            TimestampType::LogAppendTime => TimestampRange { least: i64::MIN, most: i64::MAX },
            TimestampType::CreateTime => TimestampRange {
                least: spec.now_ms.saturating_sub(spec.config.message_timestamp_before_max_ms),
                most: spec.now_ms.saturating_add(spec.config.message_timestamp_after_max_ms),
            },
        }
    }

    #[inline]
    fn allows(&self, timestamp: i64) -> bool {
        (self.least..=self.most).contains(&timestamp) || timestamp == NO_TIMESTAMP
    }
}

fn malformed(error: Malformed) -> AppendError {
    match error {
        Malformed::Truncated => AppendError::invalid("the records end before their count is reached"),
        Malformed::Varint => AppendError::invalid("a record holds a malformed number"),
        Malformed::Size => AppendError::invalid("a record's size does not match its content"),
        Malformed::NegativeLength => AppendError::invalid("a record holds a negative length"),
        Malformed::Compression => AppendError::invalid("the compressed records are damaged"),
        Malformed::Budget => AppendError::ExpandsTooFar,
    }
}

/// The same batch in another codec. Records keep their bytes: timestamps, keys, values and headers stay as they are,
/// and so do producer id, epoch and sequence.
fn recompress(records: &[u8], target: Compression, config: &TopicConfig) -> Result<BytesMut, AppendError> {
    let Some(view) = BatchView::new(records) else {
        return Err(AppendError::Corrupt("the batch is smaller than its header"));
    };
    let budget = budget(records.len(), config);
    let plain;
    let payload = match view.codec() {
        0 => view.payload(),
        codec => {
            plain = compress::decompress(codec, view.payload(), budget).map_err(malformed)?;
            &plain
        }
    };
    let packed;
    let payload = match target {
        Compression::None => payload,
        _ => {
            packed = compress::compress(target, payload)
                .map_err(|_| AppendError::invalid("the records could not be compressed"))?;
            &packed
        }
    };
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&records[..HEADER]);
    out.extend_from_slice(payload);
    check_size(out.len(), config)?;
    batch::patch_codec(&mut out, target.id());
    Ok(out)
}

#[cfg(test)]
mod tests;
