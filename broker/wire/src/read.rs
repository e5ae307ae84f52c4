//! A bounded reader of protocol primitives over a slice of a frame.
//!
//! Every method checks the bytes that are left before it takes any, so that a
//! truncated or hostile message ends in [`WireError`] and never in a panic.

use thiserror::Error;

/// Why a message could not be read. The connection that sent it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A length or count below the smallest allowed value.
    #[error("negative length where a value is required")]
    NegativeLength,
    /// More elements or bytes announced than the message has left.
    #[error("a length of {0} exceeds the bytes that are left")]
    LengthBeyondEnd(u64),
    /// A variable-length integer of more than five bytes or 32 bits.
    #[error("a variable-length integer is longer than 32 bits")]
    VarintTooLong,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A known tagged field whose content does not fill its announced size.
    #[error("a tagged field does not match its size")]
    TaggedFieldSize,
    /// A structure that may be missing is announced by neither 1 nor −1.
    #[error("a structure is announced by {0}")]
    BadMarker(i8),
    /// More elements than a request may have.
    #[error("too many elements")]
    TooManyElements,
    /// An API whose requests cannot be walked over.
    #[error("no schema for API {0}")]
    NoSchema(i16),
}

/// Reads primitives from the front of a slice and remembers how far it came.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.pos
    }

    /// Takes `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        if len > self.remaining() {
            return Err(WireError::LengthBeyondEnd(len as u64));
        }
        let piece = &self.bytes[self.pos..self.pos + len];
        self.pos += len;
        Ok(piece)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        if N > self.remaining() {
            return Err(WireError::Truncated);
        }
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[self.pos..self.pos + N]);
        self.pos += N;
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    /// Big-endian 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Big-endian 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Big-endian 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Sixteen raw bytes.
    pub fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// Unsigned LEB128 integer of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && (bits > 0x0f || byte & 0x80 != 0) {
                return Err(WireError::VarintTooLong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong)
    }

    /// Nullable string with a 16-bit length.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, WireError> {
        let len = self.i16()?;
        if len < -1 {
            return Err(WireError::NegativeLength);
        }
        if len == -1 {
            return Ok(None);
        }
        text(self.take(len as usize)?).map(Some)
    }

    /// Nullable string with a compact length.
    pub fn compact_nullable_string(&mut self) -> Result<Option<&'a str>, WireError> {
        match self.uvarint()? {
            0 => Ok(None),
            n => text(self.take(n as usize - 1)?).map(Some),
        }
    }

    /// Element count of an array, `None` when null. The count never exceeds
    /// the bytes left divided by `min_element` (the least bytes one takes).
    pub fn count(&mut self, flexible: bool, min_element: usize) -> Result<Option<usize>, WireError> {
        let count = if flexible {
            match self.uvarint()? {
                0 => return Ok(None),
                n => n as usize - 1,
            }
        } else {
            match self.i32()? {
                -1 => return Ok(None),
                n if n < 0 => return Err(WireError::NegativeLength),
                n => n as usize,
            }
        };
        if count > self.remaining() / min_element.max(1) {
            return Err(WireError::LengthBeyondEnd(count as u64));
        }
        Ok(Some(count))
    }

    /// Skips a section of tagged fields.
    pub fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        let fields = self.uvarint()?;
        for _ in 0..fields {
            self.uvarint()?;
            let len = self.uvarint()? as usize;
            self.take(len)?;
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_bounded_to_32_bits() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(), Err(WireError::VarintTooLong));
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]).uvarint(), Err(WireError::VarintTooLong));
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(WireError::Truncated));
    }

    #[test]
    fn a_count_beyond_the_end_is_refused() {
        let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(Reader::new(&bytes).count(false, 2), Err(WireError::LengthBeyondEnd(0x7fff_ffff)));
        let bytes = [0, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(Reader::new(&bytes).count(false, 2), Ok(Some(2)));
        assert_eq!(Reader::new(&bytes).count(false, 3), Err(WireError::LengthBeyondEnd(2)));
    }
}
