//! Request headers, parsed by hand: the crate's parser panics on short frames
//! and refuses keys that it does not know, which a broker must still name.

use crate::kp::messages::ApiKey;
use crate::read::{Reader, WireError};

/// What stands before every request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API is asked.
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// Sent back with the answer.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Parses a header and returns it with its length in bytes. A request of an
    /// API or version that the crate does not know is read as far as the
    /// correlation id, with `client_id` left empty.
    pub fn parse(frame: &[u8]) -> Result<(Self, usize), WireError> {
        let mut reader = Reader::new(frame);
        let mut header =
            Self { api_key: reader.i16()?, api_version: reader.i16()?, correlation_id: reader.i32()?, client_id: None };
        let Some(version) = request_header_version(header.api_key, header.api_version) else {
            return Ok((header, reader.position()));
        };
        if version >= 1 {
            header.client_id = reader.nullable_string()?.map(str::to_owned);
        }
        if version >= 2 {
            reader.skip_tagged_fields()?;
        }
        Ok((header, reader.position()))
    }

    /// Whether the body uses compact lengths and tagged fields.
    pub fn is_flexible(&self) -> bool {
        request_header_version(self.api_key, self.api_version) == Some(2)
    }
}

/// Version of the request header that goes before `version` of an API, `None`
/// when the API or version is unknown.
pub fn request_header_version(api_key: i16, version: i16) -> Option<i16> {
    let key = ApiKey::try_from(api_key).ok()?;
    let range = key.valid_versions();
    // Produce 0 to 2 are advertised for the sake of librdkafka but never served.
    (range.min..=range.max).contains(&version).then(|| key.request_header_version(version))
}

/// Version of the response header: 1 carries tagged fields. ApiVersions always
/// answers with version 0, so that any client can read it (KIP-511).
pub fn response_header_version(api_key: i16, version: i16) -> i16 {
    match ApiKey::try_from(api_key) {
        Ok(ApiKey::ApiVersions) | Err(()) => 0,
        Ok(key) => key.response_header_version(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kp::messages::RequestHeader as CrateHeader;
    use crate::kp::protocol::{Encodable, StrBytes};
    use bytes::BytesMut;

    #[test]
    fn agrees_with_the_crate_for_old_and_flexible_headers() {
        for (api_version, header_version) in [(7, 1), (9, 2)] {
            let mut buf = BytesMut::new();
            CrateHeader::default()
                .with_request_api_key(3)
                .with_request_api_version(api_version)
                .with_correlation_id(77)
                .with_client_id(Some(StrBytes::from_static_str("kcat")))
                .encode(&mut buf, header_version)
                .unwrap();
            let (header, len) = RequestHeader::parse(&buf).unwrap();
            assert_eq!(len, buf.len());
            assert_eq!(header.correlation_id, 77);
            assert_eq!(header.client_id.as_deref(), Some("kcat"));
            for cut in 0..buf.len() {
                assert!(RequestHeader::parse(&buf[..cut]).is_err());
            }
        }
    }

    #[test]
    fn an_unknown_api_is_still_named() {
        let (header, len) = RequestHeader::parse(&[1, 0, 0, 0, 0, 0, 0, 9]).unwrap();
        assert_eq!((header.api_key, header.correlation_id, len), (256, 9, 8));
    }
}
