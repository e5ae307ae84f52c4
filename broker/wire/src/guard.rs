//! A walk over a request before it is decoded.
//!
//! The crate reserves memory for an array from the count on the wire, before it
//! has seen a single element: five bytes can ask for gigabytes, and a failed
//! reservation ends the process. The walk makes sure beforehand that every count
//! is backed by bytes, that the message ends where it says, and that its
//! elements, whose structures are far larger than their few bytes on the wire,
//! stay within a budget. It allocates nothing and is linear in the message.

use crate::read::{Reader, WireError};
use crate::schema::{self, Field, Kind};

/// Most array elements and tagged fields in one request. With structures of up
/// to 150 bytes, a hostile request costs less than 40 MiB; a fetch over 100,000
/// partitions still passes.
pub const MAX_ELEMENTS: usize = 256 * 1024;

/// Walks over the body of a request and returns its length. Requests of an API
/// without a schema are refused.
pub fn check(api_key: i16, version: i16, body: &[u8]) -> Result<usize, WireError> {
    let schema = schema::of(api_key).ok_or(WireError::NoSchema(api_key))?;
    let mut walk =
        Walk { reader: Reader::new(body), version, flexible: version >= schema.flexible_from, room: MAX_ELEMENTS };
    walk.fields(schema.fields)?;
    Ok(walk.reader.position())
}

/// Whether requests of this API can be walked over.
pub fn knows(api_key: i16) -> bool {
    schema::of(api_key).is_some()
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    room: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), WireError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(&field.kind)?;
            }
        }
        if self.flexible {
            self.tagged(fields)?;
        }
        Ok(())
    }

    fn tagged(&mut self, fields: &[Field]) -> Result<(), WireError> {
        let count = self.reader.uvarint()? as usize;
        self.spend(count)?;
        for _ in 0..count {
            let tag = self.reader.uvarint()?;
            let size = self.reader.uvarint()? as usize;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version));
            let Some(field) = known else {
                self.reader.take(size)?;
                continue;
            };
            // The crate decodes a known field without looking at its size.
            let start = self.reader.position();
            self.value(&field.kind)?;
            if self.reader.position() - start != size {
                return Err(WireError::TaggedFieldSize);
            }
        }
        Ok(())
    }

    fn value(&mut self, kind: &Kind) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(len) => self.skip(*len),
            Kind::String => self.string(),
            Kind::Bytes => {
                let len = self.reader.count(self.flexible, 1)?.unwrap_or(0);
                self.skip(len)
            }
            Kind::Array(fields) => {
                for _ in 0..self.count(1)? {
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Items(len) => {
                let count = self.count(*len)?;
                self.skip(count * len)
            }
            Kind::Strings => {
                for _ in 0..self.count(1)? {
                    self.string()?;
                }
                Ok(())
            }
            Kind::Group(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                // The crate takes any other byte for "not there"; Kafka takes some
                // for "there".
                match self.reader.u8()? as i8 {
                    1 => self.fields(fields),
                    -1 => Ok(()),
                    other => Err(WireError::BadMarker(other)),
                }
            }
        }
    }

    fn string(&mut self) -> Result<(), WireError> {
        let len = if self.flexible {
            (self.reader.uvarint()? as usize).saturating_sub(1)
        } else {
            match self.reader.i16()? {
                -1 => 0,
                len => usize::try_from(len).map_err(|_| WireError::NegativeLength)?,
            }
        };
        self.skip(len)
    }

    fn count(&mut self, min_element: usize) -> Result<usize, WireError> {
        let count = self.reader.count(self.flexible, min_element)?.unwrap_or(0);
        self.spend(count)?;
        Ok(count)
    }

    fn spend(&mut self, elements: usize) -> Result<(), WireError> {
        self.room = self.room.checked_sub(elements).ok_or(WireError::TooManyElements)?;
        Ok(())
    }

    fn skip(&mut self, len: usize) -> Result<(), WireError> {
        self.reader.take(len).map(|_| ())
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
