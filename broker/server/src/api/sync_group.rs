//! SyncGroup: the leader hands in the assignment, everybody gets theirs (`KafkaApis.handleSyncGroupRequest`).

use std::future::Future;

use bytes::Bytes;
use futures::future::{Either, ready};
use millrace_groups::types::{Sync, SyncAnswer};
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::{SyncGroupRequest, SyncGroupResponse};
use millrace_wire::kp::protocol::StrBytes;

use super::convert::owned;
use super::{Answer, Cx};

/// First version with protocol type and name, which are mandatory then (KIP-559).
const PROTOCOL: i16 = 5;

/// Syncs at once; the answer comes with the assignment.
pub fn handle(cx: Cx, request: SyncGroupRequest) -> impl Future<Output = Answer<SyncGroupResponse>> + Send + 'static {
    let version = cx.version();
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    let refused = if version >= PROTOCOL && unnamed {
        Some(ErrorCode::InconsistentGroupProtocol)
    } else if !cx.may_group(Operation::Read, &request.group_id) {
        Some(ErrorCode::GroupAuthorizationFailed)
    } else {
        None
    };
    if let Some(error) = refused {
        return Either::Left(ready(Answer::Send(refuse(&request, version, error))));
    }
    let assignments = request.assignments.iter().map(|assignment| {
        // Copied: it outlives the request's buffer by hours.
        (assignment.member_id.to_string(), Bytes::copy_from_slice(&assignment.assignment))
    });
    let synced = cx.broker.groups.sync(Sync {
        group_id: request.group_id.to_string(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: owned(&request.group_instance_id),
        protocol_type: owned(&request.protocol_type),
        protocol: owned(&request.protocol_name),
        assignments: assignments.collect(),
    });
    Either::Right(async move { Answer::Send(response(synced.await, version)) })
}

/// Answers with the error.
pub fn refuse(_request: &SyncGroupRequest, version: i16, error: ErrorCode) -> SyncGroupResponse {
    response(SyncAnswer::error(error), version)
}

fn response(answer: SyncAnswer, version: i16) -> SyncGroupResponse {
    let mut response =
        SyncGroupResponse::default().with_error_code(answer.error.code()).with_assignment(answer.assignment);
    if version >= PROTOCOL {
        response.protocol_type = answer.protocol_type.map(StrBytes::from_string);
        response.protocol_name = answer.protocol.map(StrBytes::from_string);
    }
    response
}
