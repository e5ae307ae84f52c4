//! One pair of traits over every request and answer, whether the crate encodes
//! it or we do, so that dispatch treats all of them alike.

use bytes::BytesMut;

use crate::codec::{CodecError, decode_request, encode_response};
use crate::frame::Frame;
use crate::guard;
use crate::kp::protocol::{Encodable, Message, Request};

/// A request that can be decoded from the body of a frame.
pub trait WireRequest: Sized + Send + 'static {
    /// The API's number.
    const KEY: i16;

    /// First and last version in which both the request can be read and its
    /// answer written. The crate's own `valid_versions` is too wide for three
    /// APIs.
    const VERSIONS: (i16, i16);

    /// Decodes the body, and says how many bytes follow it.
    fn decode_body(body: BytesMut, version: i16) -> Result<(Self, usize), CodecError>;
}

/// An answer that can be encoded into a frame.
pub trait WireResponse: Send + 'static {
    /// Encodes size field, response header and body.
    fn encode_frame(self, api_key: i16, version: i16, correlation_id: i32) -> Result<Frame, CodecError>;
}

const fn greater(a: i16, b: i16) -> i16 {
    if a > b { a } else { b }
}

const fn less(a: i16, b: i16) -> i16 {
    if a < b { a } else { b }
}

impl<R: Request + Send + 'static> WireRequest for R {
    const KEY: i16 = R::KEY;

    const VERSIONS: (i16, i16) = (
        greater(R::VERSIONS.min, <R::Response as Message>::VERSIONS.min),
        less(R::VERSIONS.max, <R::Response as Message>::VERSIONS.max),
    );

    fn decode_body(body: BytesMut, version: i16) -> Result<(Self, usize), CodecError> {
        guard::check(R::KEY, version, &body).map_err(|error| CodecError::Malformed(error.to_string()))?;
        decode_request(body.freeze(), version)
    }
}

impl<R: Encodable + Message + Send + 'static> WireResponse for R {
    fn encode_frame(self, api_key: i16, version: i16, correlation_id: i32) -> Result<Frame, CodecError> {
        encode_response(api_key, version, correlation_id, &self)
    }
}
