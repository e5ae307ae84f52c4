//! Records inside a batch: a walker that checks shape and yields facts without allocating, and an encoder.
//!
//! ```text
//! record = size:varint attributes:i8 timestamp_delta:varlong offset_delta:varint
//!          key_len:varint key value_len:varint value header_count:varint header*
//! header = key_len:varint key value_len:varint value
//! ```
//!
//! Kafka: `clients/…/common/record/DefaultRecord.java`.

use bytes::BufMut;

/// Where record bytes come from: a slice, or a decompressor with a budget.
pub trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Malformed>;
    /// Passes over `n` bytes, which must exist.
    fn skip(&mut self, n: usize) -> Result<(), Malformed>;
    /// Bytes passed so far.
    fn position(&self) -> u64;
    /// True when nothing is left.
    fn at_end(&mut self) -> Result<bool, Malformed>;
}

/// Bytes that are not records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the records end early")]
    Truncated,
    #[error("a variable-length number is too long")]
    Varint,
    #[error("a record's size does not match its content")]
    Size,
    #[error("a length is negative")]
    NegativeLength,
    #[error("the compressed data is damaged")]
    Compression,
    /// Expanding would cost more than the batch is entitled to.
    #[error("the compressed data expands beyond its budget")]
    Budget,
}

/// Facts about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFacts {
    pub attributes: u8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    /// −1: no key.
    pub key_len: i32,
    /// −1: no value.
    pub value_len: i32,
}

/// A slice as a source.
pub struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SliceSource<'a> {
    pub fn new(bytes: &'a [u8]) -> SliceSource<'a> {
        SliceSource { bytes, at: 0 }
    }
}

impl Source for SliceSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed::Truncated)?;
        self.at += 1;
        Ok(byte)
    }
    #[inline]
    fn skip(&mut self, n: usize) -> Result<(), Malformed> {
        if n > self.bytes.len() - self.at {
            return Err(Malformed::Truncated);
        }
        self.at += n;
        Ok(())
    }
    #[inline]
    fn position(&self) -> u64 {
        self.at as u64
    }
    #[inline]
    fn at_end(&mut self) -> Result<bool, Malformed> {
        Ok(self.at == self.bytes.len())
    }
}

#[inline]
pub fn read_varint<S: Source>(source: &mut S) -> Result<i32, Malformed> {
    let mut raw: u32 = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = source.byte()?;
        raw |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32));
        }
    }
    Err(Malformed::Varint)
}

#[inline]
pub fn read_varlong<S: Source>(source: &mut S) -> Result<i64, Malformed> {
    let mut raw: u64 = 0;
    for step in 0..10 {
        let byte = source.byte()?;
        raw |= u64::from(byte & 0x7f) << (7 * step);
        if byte & 0x80 == 0 {
            return Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64));
        }
    }
    Err(Malformed::Varint)
}

/// Passes over a nullable run of bytes; returns its length, −1 for null.
#[inline]
fn skip_nullable<S: Source>(source: &mut S) -> Result<i32, Malformed> {
    let len = read_varint(source)?;
    match len {
        -1 => {}
        0.. => source.skip(len as usize)?,
        _ => return Err(Malformed::NegativeLength),
    }
    Ok(len)
}

/// Reads one record and checks that it fills exactly the size it announces.
#[inline]
pub fn next_record<S: Source>(source: &mut S) -> Result<RecordFacts, Malformed> {
    let size = read_varint(source)?;
    if size < 0 {
        return Err(Malformed::NegativeLength);
    }
    let end = source.position() + size as u64;
    let attributes = source.byte()?;
    let timestamp_delta = read_varlong(source)?;
    let offset_delta = read_varint(source)?;
    let key_len = skip_nullable(source)?;
    let value_len = skip_nullable(source)?;
    let headers = read_varint(source)?;
    if headers < 0 {
        return Err(Malformed::NegativeLength);
    }
    // A header takes two bytes at least, so a count beyond the record's rest is refused before looping over it.
    let left = end.checked_sub(source.position()).ok_or(Malformed::Size)?;
    if headers as u64 > left / 2 {
        return Err(Malformed::Size);
    }
    for _ in 0..headers {
        let key = read_varint(source)?;
        if key < 0 {
            return Err(Malformed::NegativeLength);
        }
        source.skip(key as usize)?;
        skip_nullable(source)?;
    }
    if source.position() != end {
        return Err(Malformed::Size);
    }
    Ok(RecordFacts { attributes, timestamp_delta, offset_delta, key_len, value_len })
}

/// One record with its content, borrowed from an uncompressed payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Iterates over an uncompressed payload, yielding keys and values. Stops after the first malformed record.
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    left: i32,
}

impl<'a> Records<'a> {
    pub fn new(payload: &'a [u8], count: i32) -> Records<'a> {
        Records { bytes: payload, at: 0, left: count }
    }

    fn nullable(&self, source: &mut SliceSource<'a>) -> Result<Option<&'a [u8]>, Malformed> {
        let len = skip_nullable(source)?;
        let end = source.at;
        Ok((len >= 0).then(|| &self.bytes[end - len as usize..end]))
    }

    fn read(&mut self) -> Result<Record<'a>, Malformed> {
        let mut source = SliceSource { bytes: self.bytes, at: self.at };
        next_record(&mut source)?;
        let end = source.at;
        // The record was checked above; this second pass finds where key and value lie.
        source.at = self.at;
        read_varint(&mut source)?;
        source.skip(1)?;
        let timestamp_delta = read_varlong(&mut source)?;
        let offset_delta = read_varint(&mut source)?;
        let key = self.nullable(&mut source)?;
        let value = self.nullable(&mut source)?;
        self.at = end;
        Ok(Record { timestamp_delta, offset_delta, key, value })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        let record = self.read();
        self.left = if record.is_ok() { self.left - 1 } else { 0 };
        Some(record)
    }
}

pub fn put_varint(out: &mut impl BufMut, value: i32) {
    put_varlong(out, i64::from(value));
}

pub fn put_varlong(out: &mut impl BufMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

/// Appends one encoded record.
pub fn put_record(out: &mut Vec<u8>, record: Record<'_>, headers: &[(&str, Option<&[u8]>)]) {
    let mut body = Vec::with_capacity(32 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len));
    body.put_u8(0);
    put_varlong(&mut body, record.timestamp_delta);
    put_varint(&mut body, record.offset_delta);
    put_nullable(&mut body, record.key);
    put_nullable(&mut body, record.value);
    put_varint(&mut body, headers.len() as i32);
    for (key, value) in headers {
        put_varint(&mut body, key.len() as i32);
        body.put_slice(key.as_bytes());
        put_nullable(&mut body, *value);
    }
    put_varint(out, body.len() as i32);
    out.put_slice(&body);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<i64>(), small in any::<i32>()) {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            put_varint(&mut out, small);
            let mut source = SliceSource::new(&out);
            prop_assert_eq!(read_varlong(&mut source).unwrap(), value);
            prop_assert_eq!(read_varint(&mut source).unwrap(), small);
            prop_assert!(source.at_end().unwrap());
        }

        #[test]
        fn records_round_trip(key in any::<Option<Vec<u8>>>(), value in any::<Option<Vec<u8>>>(), ts in any::<i64>()) {
            let record = Record { timestamp_delta: ts, offset_delta: 0, key: key.as_deref(), value: value.as_deref() };
            let mut out = Vec::new();
            put_record(&mut out, record, &[("a", None), ("a", Some(b"x"))]);
            let read: Vec<_> = Records::new(&out, 1).collect();
            prop_assert_eq!(read, vec![Ok(record)]);
            let facts = next_record(&mut SliceSource::new(&out)).unwrap();
            prop_assert_eq!(facts.key_len, key.map_or(-1, |k| k.len() as i32));
        }

        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut source = SliceSource::new(&bytes);
            while next_record(&mut source).is_ok() {}
        }
    }
}
