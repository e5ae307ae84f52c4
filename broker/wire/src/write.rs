//! Primitives of the protocol for the encoders that are written by hand.
//! Lengths come from our own answers and fit their fields.

use bytes::{BufMut, BytesMut};

/// Unsigned LEB128.
pub fn put_uvarint(buf: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Count of an array, or length of bytes, that is not null.
pub fn put_count(buf: &mut BytesMut, count: usize, flexible: bool) {
    if flexible {
        put_uvarint(buf, count as u32 + 1);
    } else {
        buf.put_i32(count as i32);
    }
}

/// String with a 16-bit length.
pub fn put_string(buf: &mut BytesMut, text: &str) {
    buf.put_i16(text.len() as i16);
    buf.put_slice(text.as_bytes());
}

/// String with a compact length.
pub fn put_compact_string(buf: &mut BytesMut, text: &str) {
    put_uvarint(buf, text.len() as u32 + 1);
    buf.put_slice(text.as_bytes());
}

/// String with a compact length, or null.
pub fn put_nullable_compact_string(buf: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_compact_string(buf, text),
        None => buf.put_u8(0),
    }
}
