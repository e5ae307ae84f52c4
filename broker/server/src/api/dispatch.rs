//! From a frame to a running handler: header, row, gates, decode, handle.

use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use millrace_metadata::error::ErrorCode;
use millrace_security::ResourceKind;
use millrace_wire::{CodecError, Frame, RequestHeader, WireRequest, WireResponse};

use super::table::{self, Access, Load, Row, Rule};
use super::{Answer, Cx, api_versions};
use crate::broker::Broker;
use crate::net::{AnswerMemory, Conn, Dispatched, FrameRule, Outcome, Pending, Service};

impl Service for Broker {
    fn answer_memory(&self) -> &AnswerMemory {
        &self.answers
    }

    fn frame_rule(&self, api_key: i16) -> FrameRule {
        match table::row(api_key) {
            Some(row) => FrameRule { max_frame: row.load.max_frame, overlaps: row.load.overlaps },
            // Refused by dispatch, which names the API: nothing large is read.
            None => FrameRule { max_frame: Load::LIGHT.max_frame, overlaps: false },
        }
    }

    fn dispatch(self: &Arc<Self>, conn: &Arc<Conn>, frame: BytesMut) -> Dispatched {
        let dispatched = dispatch(self, conn, frame);
        if matches!(dispatched, Dispatched::Done(Outcome::Close(_))) {
            self.metrics.count_malformed();
        }
        dispatched
    }
}

/// Takes one frame (without its size field) to its handler.
pub fn dispatch(broker: &Arc<Broker>, conn: &Arc<Conn>, mut frame: BytesMut) -> Dispatched {
    let (header, body_at) = match RequestHeader::parse(&frame) {
        Ok(parsed) => parsed,
        Err(error) => return close(format!("malformed request header: {error}")),
    };
    let Some(row) = table::row(header.api_key) else {
        return close(format!("API {} is not served", header.api_key));
    };
    if !row.serves(header.api_version) {
        if header.api_key == api_versions::KEY {
            return Dispatched::Done(api_versions::unsupported_version(header.correlation_id));
        }
        return close(format!("{} version {} is not served", row.name, header.api_version));
    }
    if row.access == Access::Authenticated && !conn.is_authenticated() {
        return close(format!("{} before authentication", row.name));
    }
    broker.metrics.count_request(header.api_key);
    // The header is cut off, so that the body's owner can mutate what it holds.
    let body = frame.split_off(body_at);
    let cx = Cx { broker: broker.clone(), conn: conn.clone(), header };
    if let Some(error) = forbidden(row, &cx) {
        return match (row.refuse)(&cx, body, error) {
            Ok(frame) => Dispatched::Done(Outcome::Send(frame)),
            Err(error) => close(format!("{}: {error}", row.name)),
        };
    }
    match (row.start)(cx, body) {
        Ok(pending) => Dispatched::Running(pending),
        Err(error) => close(format!("{}: {error}", row.name)),
    }
}

fn close(reason: String) -> Dispatched {
    Dispatched::Done(Outcome::Close(reason))
}

fn forbidden(row: &Row, cx: &Cx) -> Option<ErrorCode> {
    let Rule::Cluster(operation) = row.rule else {
        return None;
    };
    let allowed =
        cx.broker.authorizer.allows(cx.subject(), operation, ResourceKind::Cluster, millrace_security::CLUSTER_NAME);
    (!allowed).then_some(ErrorCode::ClusterAuthorizationFailed)
}

/// Decodes a body and starts its handler; the answer is encoded when the
/// handler is done.
pub(super) fn start<R, S, F>(cx: Cx, body: BytesMut, handle: impl FnOnce(Cx, R) -> F) -> Result<Pending, CodecError>
where
    R: WireRequest,
    S: WireResponse,
    F: Future<Output = Answer<S>> + Send + 'static,
{
    let (version, correlation_id) = (cx.header.api_version, cx.header.correlation_id);
    let request = decode::<R>(&cx, body)?;
    let answer = handle(cx, request);
    Ok(Box::pin(async move {
        match answer.await {
            Answer::Send(response) => match response.encode_frame(R::KEY, version, correlation_id) {
                Ok(frame) => Outcome::Send(frame),
                Err(error) => Outcome::Close(error.to_string()),
            },
            Answer::Silent => Outcome::Silent,
            Answer::Close(reason) => Outcome::Close(reason),
        }
    }))
}

/// Decodes a body and answers it with an error.
pub(super) fn refuse_with<R, S>(
    cx: &Cx,
    body: BytesMut,
    error: ErrorCode,
    refuse: impl FnOnce(&R, i16, ErrorCode) -> S,
) -> Result<Frame, CodecError>
where
    R: WireRequest,
    S: WireResponse,
{
    let version = cx.header.api_version;
    let request = decode::<R>(cx, body)?;
    refuse(&request, version, error).encode_frame(R::KEY, version, cx.header.correlation_id)
}

fn decode<R: WireRequest>(cx: &Cx, body: BytesMut) -> Result<R, CodecError> {
    let (request, trailing) = R::decode_body(body, cx.header.api_version)?;
    if trailing > 0 {
        tracing::debug!(
            conn = cx.conn.id,
            api_key = cx.header.api_key,
            api_version = cx.header.api_version,
            trailing,
            "bytes follow the request and are ignored"
        );
    }
    Ok(request)
}
