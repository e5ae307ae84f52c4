//! The 61-byte header of a record batch (format v2), read and patched in place.
//!
//! ```text
//!  off size field                 off size field
//!    0    8 base offset            27    8 base timestamp
//!    8    4 length after here      35    8 max timestamp
//!   12    4 leader epoch           43    8 producer id
//!   16    1 magic (2)              51    2 producer epoch
//!   17    4 CRC-32C of 21..        53    4 base sequence
//!   21    2 attributes             57    4 record count
//!   23    4 last offset delta      61    … records, compressed or not
//! ```
//!
//! Base offset and leader epoch lie outside the checksum, so that a leader can set them without touching the rest.

use bytes::BufMut;

use crate::config::TimestampType;

/// Bytes of the fixed header.
pub const HEADER: usize = 61;
/// Bytes before the part that the length field counts.
pub const LENGTH_PREFIX: usize = 12;
/// Bytes up to and including the magic byte: the least that tells what follows.
pub const UP_TO_MAGIC: usize = 17;
/// Smallest value of the length field that any format allows (Kafka: `LegacyRecord.RECORD_OVERHEAD_V0`).
pub const MIN_LENGTH_FIELD: i32 = 14;

/// The only format that is stored.
pub const MAGIC_V2: i8 = 2;

pub const NO_TIMESTAMP: i64 = -1;
pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;
pub const NO_EPOCH: i32 = -1;

const AT_LENGTH: usize = 8;
const AT_EPOCH: usize = 12;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
const AT_ATTRIBUTES: usize = 21;
const AT_LAST_DELTA: usize = 23;
const AT_BASE_TIMESTAMP: usize = 27;
const AT_MAX_TIMESTAMP: usize = 35;
const AT_PRODUCER_ID: usize = 43;
const AT_PRODUCER_EPOCH: usize = 51;
const AT_BASE_SEQUENCE: usize = 53;
const AT_COUNT: usize = 57;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Reads the header of a batch. The bytes are at least [`HEADER`] long.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// `None` when there are fewer bytes than a header has. Nothing else is checked.
    pub fn new(bytes: &'a [u8]) -> Option<BatchView<'a>> {
        (bytes.len() >= HEADER).then_some(BatchView { bytes })
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[at..at + N]);
        out
    }
    fn i16(&self, at: usize) -> i16 {
        i16::from_be_bytes(self.array(at))
    }
    fn i32(&self, at: usize) -> i32 {
        i32::from_be_bytes(self.array(at))
    }
    fn i64(&self, at: usize) -> i64 {
        i64::from_be_bytes(self.array(at))
    }

    pub fn base_offset(&self) -> i64 {
        self.i64(0)
    }
    /// The length field: bytes after it.
    pub fn length_field(&self) -> i32 {
        self.i32(AT_LENGTH)
    }
    pub fn leader_epoch(&self) -> i32 {
        self.i32(AT_EPOCH)
    }
    pub fn magic(&self) -> i8 {
        self.bytes[AT_MAGIC] as i8
    }
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.array(AT_CRC))
    }
    pub fn attributes(&self) -> i16 {
        self.i16(AT_ATTRIBUTES)
    }
    /// Compression codec id, 0–7.
    pub fn codec(&self) -> u8 {
        (self.attributes() & CODEC_MASK) as u8
    }
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & LOG_APPEND_TIME_BIT != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON_BIT != 0
    }
    pub fn last_offset_delta(&self) -> i32 {
        self.i32(AT_LAST_DELTA)
    }
    pub fn last_offset(&self) -> i64 {
        self.base_offset().wrapping_add(i64::from(self.last_offset_delta()))
    }
    pub fn base_timestamp(&self) -> i64 {
        self.i64(AT_BASE_TIMESTAMP)
    }
    pub fn max_timestamp(&self) -> i64 {
        self.i64(AT_MAX_TIMESTAMP)
    }
    pub fn producer_id(&self) -> i64 {
        self.i64(AT_PRODUCER_ID)
    }
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }
    pub fn producer_epoch(&self) -> i16 {
        self.i16(AT_PRODUCER_EPOCH)
    }
    pub fn base_sequence(&self) -> i32 {
        self.i32(AT_BASE_SEQUENCE)
    }
    /// Sequence number of the last record, wrapping from 2³¹−1 to 0; −1 without sequence numbers.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            NO_SEQUENCE => NO_SEQUENCE,
            base => add_sequence(base, self.last_offset_delta()),
        }
    }
    pub fn count(&self) -> i32 {
        self.i32(AT_COUNT)
    }
    /// The records behind the header, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[AT_ATTRIBUTES..])
    }
    pub fn crc_matches(&self) -> bool {
        self.crc() == self.computed_crc()
    }
}

/// `sequence + by` in the space 0..=2³¹−1 (Kafka: `DefaultRecordBatch.incrementSequence`).
pub fn add_sequence(sequence: i32, by: i32) -> i32 {
    (i64::from(sequence) + i64::from(by)).rem_euclid(1 << 31) as i32
}

/// Sets what the leader decides: offsets follow from `base_offset`. The checksum is not touched. `bytes` is a whole
/// batch; shorter input is left alone.
pub fn patch(bytes: &mut [u8], base_offset: i64, leader_epoch: i32) {
    if bytes.len() < HEADER {
        return;
    }
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[AT_EPOCH..AT_EPOCH + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Sets timestamp type and largest timestamp, and the checksum if that changed anything.
pub fn patch_timestamps(bytes: &mut [u8], kind: TimestampType, max_timestamp: i64) {
    let Some(view) = BatchView::new(bytes) else {
        return;
    };
    if view.timestamp_type() == kind && view.max_timestamp() == max_timestamp {
        return;
    }
    let attributes = match kind {
        TimestampType::CreateTime => view.attributes() & !LOG_APPEND_TIME_BIT,
        TimestampType::LogAppendTime => view.attributes() | LOG_APPEND_TIME_BIT,
    };
    bytes[AT_ATTRIBUTES..AT_ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    bytes[AT_MAX_TIMESTAMP..AT_MAX_TIMESTAMP + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    seal(bytes);
}

/// Sets codec, length and checksum after the payload was replaced.
pub fn patch_codec(bytes: &mut [u8], codec: u8) {
    let Some(view) = BatchView::new(bytes) else {
        return;
    };
    let attributes = (view.attributes() & !CODEC_MASK) | i16::from(codec);
    bytes[AT_ATTRIBUTES..AT_ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    let length = (bytes.len() - LENGTH_PREFIX) as i32;
    bytes[AT_LENGTH..AT_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    seal(bytes);
}

/// Writes the checksum of a whole batch.
pub fn seal(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    let crc = crc32c::crc32c(&bytes[AT_ATTRIBUTES..]);
    bytes[AT_CRC..AT_CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// What a new header says; for batches that the broker itself writes, and for tests.
#[derive(Debug, Clone, Copy)]
pub struct HeaderFields {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl HeaderFields {
    /// `count` records without producer, uncompressed, all at `timestamp`.
    pub fn plain(count: i32, timestamp: i64) -> HeaderFields {
        HeaderFields {
            base_offset: 0,
            leader_epoch: NO_EPOCH,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            count,
        }
    }

    /// Header and payload as one sealed batch.
    pub fn batch(&self, payload: &[u8]) -> bytes::BytesMut {
        let mut out = bytes::BytesMut::with_capacity(HEADER + payload.len());
        out.put_i64(self.base_offset);
        out.put_i32((HEADER - LENGTH_PREFIX + payload.len()) as i32);
        out.put_i32(self.leader_epoch);
        out.put_i8(MAGIC_V2);
        out.put_u32(0);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.count);
        out.put_slice(payload);
        seal(&mut out);
        out
    }
}
