//! Requests and answers as the generated messages have them.

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::Conn;

impl Conn {
    /// Sends a request in one version and reads its answer.
    pub fn request<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id)
            .with_client_id(Some(StrBytes::from_static_str("millrace-tests")));
        self.next_id = self.next_id.wrapping_add(1);
        let mut frame = BytesMut::zeroed(4);
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let size = u32::try_from(frame.len() - 4).context("request size")?;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        self.send_bytes(&frame)?;
        let (id, body) = self.receive()?;
        anyhow::ensure!(id == header.correlation_id, "answer {id} to request {}", header.correlation_id);
        // The correlation id was read already; a flexible header has nothing but its tags behind it.
        let mut body = [&id.to_be_bytes()[..], &body].concat();
        let mut body = Bytes::from(std::mem::take(&mut body));
        ResponseHeader::decode(&mut body, <R::Response as HeaderVersion>::header_version(version))?;
        R::Response::decode(&mut body, version)
    }
}
