//! Record batches (format version 2) as the coordinator writes and reads them.
//!
//! ```text
//!  0 base offset i64        21 attributes i16          43 producer id i64 = −1
//!  8 batch length i32       23 last offset delta i32   51 producer epoch i16 = −1
//! 12 leader epoch i32       27 first timestamp i64     53 base sequence i32 = −1
//! 16 magic i8 = 2           35 max timestamp i64       57 record count i32
//! 17 crc32c u32 of 21..                                61 records
//! ```
//! Each record: length, attributes, timestamp delta, offset delta, key, value, headers; all lengths zigzag varints.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const HEADER_LEN: usize = 61;
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_DELTA_AT: usize = 23;
const COUNT_AT: usize = 57;
const COMPRESSION_BITS: i16 = 0b111;
const CONTROL_BIT: i16 = 1 << 5;

/// More than a record needs beside its key and value.
pub const RECORD_OVERHEAD: usize = 32;

/// Bytes that cannot be read as a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the batch is shorter than it says")]
    Truncated,
    #[error("record batch format {0} is not supported")]
    Magic(i8),
    #[error("the batch is compressed")]
    Compressed,
    #[error("a record inside the batch has a wrong length")]
    Record,
}

/// Builds one uncompressed batch with offsets from 0; the log assigns the real ones.
#[derive(Debug)]
pub struct BatchBuilder {
    buf: BytesMut,
    count: i32,
    first_ms: i64,
    max_ms: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    pub fn new() -> BatchBuilder {
        BatchBuilder { buf: BytesMut::new(), count: 0, first_ms: 0, max_ms: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Adds one record; no value is a tombstone.
    pub fn add(&mut self, timestamp_ms: i64, key: &[u8], value: Option<&[u8]>) {
        if self.count == 0 {
            self.buf.resize(HEADER_LEN, 0);
            self.first_ms = timestamp_ms;
            self.max_ms = timestamp_ms;
        }
        self.max_ms = self.max_ms.max(timestamp_ms);
        let delta_ms = timestamp_ms - self.first_ms;
        let body = 1
            + varint_len(delta_ms)
            + varint_len(i64::from(self.count))
            + varint_len(key.len() as i64)
            + key.len()
            + value.map_or(1, |v| varint_len(v.len() as i64) + v.len())
            + 1;
        put_varint(&mut self.buf, body as i64);
        self.buf.put_u8(0);
        put_varint(&mut self.buf, delta_ms);
        put_varint(&mut self.buf, i64::from(self.count));
        put_varint(&mut self.buf, key.len() as i64);
        self.buf.put_slice(key);
        match value {
            Some(value) => {
                put_varint(&mut self.buf, value.len() as i64);
                self.buf.put_slice(value);
            }
            None => put_varint(&mut self.buf, -1),
        }
        put_varint(&mut self.buf, 0);
        self.count += 1;
    }

    /// The finished batch; None if nothing was added.
    pub fn finish(mut self) -> Option<BytesMut> {
        if self.count == 0 {
            return None;
        }
        let batch_length = (self.buf.len() - LENGTH_END) as i32;
        let mut header = &mut self.buf[..HEADER_LEN];
        header.put_i64(0);
        header.put_i32(batch_length);
        header.put_i32(-1);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(0);
        header.put_i32(self.count - 1);
        header.put_i64(self.first_ms);
        header.put_i64(self.max_ms);
        header.put_i64(-1);
        header.put_i16(-1);
        header.put_i32(-1);
        header.put_i32(self.count);
        let crc = crc32c::crc32c(&self.buf[ATTRIBUTES_AT..]);
        (&mut self.buf[CRC_AT..]).put_u32(crc);
        Some(self.buf)
    }
}

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    pub offset: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

/// Calls `each` for every record of the batches in `bytes`, and returns the offset that follows the last batch.
/// Control batches are passed over.
pub fn for_each_record(mut bytes: Bytes, mut each: impl FnMut(BatchRecord)) -> Result<Option<i64>, BatchError> {
    let mut next = None;
    while !bytes.is_empty() {
        if bytes.len() < HEADER_LEN {
            return Err(BatchError::Truncated);
        }
        let length = (&bytes[LENGTH_AT..]).get_i32();
        let total = usize::try_from(length).map_err(|_| BatchError::Truncated)? + LENGTH_END;
        if total < HEADER_LEN || total > bytes.len() {
            return Err(BatchError::Truncated);
        }
        let batch = bytes.split_to(total);
        next = Some(read_batch(batch, &mut each)?);
    }
    Ok(next)
}

fn read_batch(mut batch: Bytes, each: &mut impl FnMut(BatchRecord)) -> Result<i64, BatchError> {
    let magic = batch[MAGIC_AT] as i8;
    if magic != 2 {
        return Err(BatchError::Magic(magic));
    }
    let base = (&batch[..]).get_i64();
    let attributes = (&batch[ATTRIBUTES_AT..]).get_i16();
    let next = base + i64::from((&batch[LAST_DELTA_AT..]).get_i32()) + 1;
    let count = (&batch[COUNT_AT..]).get_i32();
    if attributes & CONTROL_BIT != 0 {
        return Ok(next);
    }
    if attributes & COMPRESSION_BITS != 0 {
        return Err(BatchError::Compressed);
    }
    batch.advance(HEADER_LEN);
    for _ in 0..count {
        let len = get_varint(&mut batch)?;
        let mut record = take(&mut batch, len)?.ok_or(BatchError::Record)?;
        take(&mut record, 1)?;
        get_varint(&mut record)?;
        let offset = base + get_varint(&mut record)?;
        let key_len = get_varint(&mut record)?;
        let key = take(&mut record, key_len)?;
        let value_len = get_varint(&mut record)?;
        let value = take(&mut record, value_len)?;
        each(BatchRecord { offset, key, value });
    }
    Ok(next)
}

/// `len` bytes off the front; None if the length is −1.
fn take(bytes: &mut Bytes, len: i64) -> Result<Option<Bytes>, BatchError> {
    if len == -1 {
        return Ok(None);
    }
    let len = usize::try_from(len).map_err(|_| BatchError::Record)?;
    if len > bytes.len() {
        return Err(BatchError::Record);
    }
    Ok(Some(bytes.split_to(len)))
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

fn get_varint(bytes: &mut Bytes) -> Result<i64, BatchError> {
    let mut zigzag = 0u64;
    for shift in (0..70).step_by(7) {
        if bytes.is_empty() {
            return Err(BatchError::Record);
        }
        let byte = bytes.get_u8();
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    Err(BatchError::Record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: Bytes) -> (Vec<BatchRecord>, Option<i64>) {
        let mut records = Vec::new();
        let next = for_each_record(bytes, |record| records.push(record)).unwrap();
        (records, next)
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_back(
            records in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..40),
                 proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
                 0i64..100_000), 1..30)
        ) {
            let mut builder = BatchBuilder::new();
            for (key, value, at) in &records {
                builder.add(*at, key, value.as_deref());
            }
            let bytes = builder.finish().unwrap().freeze();
            let (read, next) = read(bytes);
            prop_assert_eq!(next, Some(records.len() as i64));
            for (i, ((key, value, _), record)) in records.iter().zip(&read).enumerate() {
                prop_assert_eq!(record.offset, i as i64);
                prop_assert_eq!(record.key.as_deref(), Some(&key[..]));
                prop_assert_eq!(record.value.as_deref(), value.as_deref());
            }
        }

        #[test]
        fn damaged_batches_do_not_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), n in 0usize..200) {
            if bytes.len() > MAGIC_AT {
                bytes[MAGIC_AT] = 2;
                let length = bytes.len().saturating_sub(LENGTH_END) as i32;
                (&mut bytes[LENGTH_AT..]).put_i32(length);
            }
            bytes.truncate(n.max(1));
            let _ = for_each_record(Bytes::from(bytes), |_| ());
        }
    }

    #[test]
    fn header_fields_are_where_kafka_puts_them() {
        let mut builder = BatchBuilder::new();
        builder.add(5, b"k", Some(b"v"));
        builder.add(9, b"k", None);
        let bytes = builder.finish().unwrap();
        assert_eq!(&bytes[12..17], &[0xff, 0xff, 0xff, 0xff, 2]);
        assert_eq!((&bytes[COUNT_AT..]).get_i32(), 2);
        assert_eq!((&bytes[27..]).get_i64(), 5);
        assert_eq!((&bytes[35..]).get_i64(), 9);
        assert_eq!(crc32c::crc32c(&bytes[21..]), (&bytes[17..]).get_u32());
        // Second record: length 8, attributes 0, time +4, offset +1, key length 1, 'k', null, no headers.
        assert_eq!(&bytes[bytes.len() - 8..], &[14, 0, 8, 2, 2, b'k', 1, 0]);
    }
}
