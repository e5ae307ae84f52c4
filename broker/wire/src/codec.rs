//! Decoding requests and encoding answers through the `kafka-protocol` crate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::frame::Frame;
use crate::header::response_header_version;
use crate::kp::protocol::{Decodable, Encodable};

/// A request that cannot be read, or an answer that cannot be written.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The bytes are no message of this API and version: close the connection.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// A field is set that this version cannot carry: an error of ours.
    #[error("the answer cannot be encoded: {0}")]
    Unencodable(String),
    /// The answer is longer than the 32-bit size field can say.
    #[error("the answer has {0} bytes, more than a frame can carry")]
    TooLong(usize),
}

/// Decodes a request body and returns it with the number of bytes that follow
/// it. Strings and byte fields of the result share the frame's memory.
///
/// The crate panics on a count that overflows the address space; that panic is
/// caught here and reported as a malformed request.
pub fn decode_request<R: Decodable>(mut body: Bytes, version: i16) -> Result<(R, usize), CodecError> {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let request = R::decode(&mut body, version);
        (request, body.len())
    }));
    match decoded {
        Ok((Ok(request), trailing)) => Ok((request, trailing)),
        Ok((Err(error), _)) => Err(CodecError::Malformed(error.to_string())),
        Err(_) => Err(CodecError::Malformed("a count is out of all proportion".to_owned())),
    }
}

/// Encodes an answer with its size field and header into one piece.
pub fn encode_response<R: Encodable>(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    response: &R,
) -> Result<Frame, CodecError> {
    let unencodable = |error: anyhow::Error| CodecError::Unencodable(error.to_string());
    let body = response.compute_size(version).map_err(unencodable)?;
    let mut buf = BytesMut::with_capacity(body + HEADER_ROOM);
    begin_response(&mut buf, api_key, version, correlation_id);
    response.encode(&mut buf, version).map_err(unencodable)?;
    finish_size(&mut buf, 0)?;
    Ok(Frame::single(buf.freeze()))
}

/// Bytes that size field and response header take at most.
pub(crate) const HEADER_ROOM: usize = 9;

/// Writes an empty size field and the response header.
pub(crate) fn begin_response(buf: &mut BytesMut, api_key: i16, version: i16, correlation_id: i32) {
    buf.put_i32(0);
    buf.put_i32(correlation_id);
    if response_header_version(api_key, version) >= 1 {
        buf.put_u8(0);
    }
}

/// Fills the size field at the front of `buf`; `beyond` bytes follow in other
/// segments.
pub(crate) fn finish_size(buf: &mut BytesMut, beyond: usize) -> Result<(), CodecError> {
    let total = buf.len() + beyond;
    let size = i32::try_from(total - 4).map_err(|_| CodecError::TooLong(total))?;
    buf[..4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}
