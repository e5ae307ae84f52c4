//! Heartbeat: a member is alive, and learns whether it has to join again (`KafkaApis.handleHeartbeatRequest`).

use std::future::{Future, ready};

use millrace_groups::types::Heartbeat;
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::{HeartbeatRequest, HeartbeatResponse};

use super::convert::owned;
use super::{Answer, Cx};

/// Answers at once.
pub fn handle(cx: Cx, request: HeartbeatRequest) -> impl Future<Output = Answer<HeartbeatResponse>> + Send + 'static {
    let error = if cx.may_group(Operation::Read, &request.group_id) {
        cx.broker.groups.heartbeat(&Heartbeat {
            group_id: request.group_id.to_string(),
            generation: request.generation_id,
            member_id: request.member_id.to_string(),
            instance_id: owned(&request.group_instance_id),
        })
    } else {
        ErrorCode::GroupAuthorizationFailed
    };
    ready(Answer::Send(refuse(&request, cx.version(), error)))
}

/// Answers with the error.
pub fn refuse(_request: &HeartbeatRequest, _version: i16, error: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(error.code())
}
