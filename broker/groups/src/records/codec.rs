//! Kafka's primitive types, as far as the records of `__consumer_offsets` use them.

use bytes::{Buf, BufMut, Bytes};

/// A key or value that does not follow its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends inside a field")]
    Truncated,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a length is negative where null is not allowed")]
    UnexpectedNull,
    #[error("version {version} of {what} is unknown")]
    UnknownVersion { what: &'static str, version: i16 },
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads fields one after the other; every length is checked against what is left before anything is taken.
pub struct Reader(Bytes);

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader(bytes)
    }

    fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.0.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.0.split_to(len))
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(self.take(2)?.get_i16())
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(self.take(4)?.get_i32())
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(self.take(8)?.get_i64())
    }

    /// An unsigned varint of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?.get_u8();
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Truncated)
    }

    fn length(&mut self, flexible: bool) -> Result<Option<usize>> {
        if flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|n| n as usize));
        }
        Ok(usize::try_from(self.i16()?).ok())
    }

    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>> {
        let Some(len) = self.length(flexible)? else {
            return Ok(None);
        };
        let raw = self.take(len)?;
        let text = std::str::from_utf8(&raw).map_err(|_| DecodeError::NotUtf8)?;
        Ok(Some(text.to_owned()))
    }

    pub fn string(&mut self, flexible: bool) -> Result<String> {
        self.nullable_string(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// A byte string, copied so that it does not keep the buffer that it came from.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        let len = if flexible { self.length(true)? } else { usize::try_from(self.i32()?).ok() };
        let raw = self.take(len.ok_or(DecodeError::UnexpectedNull)?)?;
        Ok(Bytes::copy_from_slice(&raw))
    }

    /// The number of elements of an array; the caller reads them one by one, so that a false count costs nothing.
    pub fn array(&mut self, flexible: bool) -> Result<usize> {
        let len = if flexible { self.length(true)? } else { usize::try_from(self.i32()?).ok() };
        len.ok_or(DecodeError::UnexpectedNull)
    }

    /// The tagged fields that end a flexible structure; `known` gets each of them.
    pub fn tagged(&mut self, mut known: impl FnMut(u32, Bytes) -> Result<()>) -> Result<()> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            known(tag, self.take(len)?)?;
        }
        Ok(())
    }
}

/// A non-compact string. Longer ones than 32,767 bytes cannot be written: requests carry the same limit, or the
/// coordinator has checked the length before.
pub fn put_string(out: &mut impl BufMut, text: &str) {
    debug_assert!(text.len() <= i16::MAX as usize);
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

pub fn put_nullable_string(out: &mut impl BufMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.put_i16(-1),
    }
}

pub fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

pub fn put_uvarint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub fn put_compact_string(out: &mut impl BufMut, text: &str) {
    put_uvarint(out, text.len() as u32 + 1);
    out.put_slice(text.as_bytes());
}
