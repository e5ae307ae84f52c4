//! LeaveGroup: members leave, or are made to leave by their instance ids (`KafkaApis.handleLeaveGroupRequest`).

use std::future::Future;

use futures::future::{Either, ready};
use millrace_groups::types::{Leaver, LeftMember};
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::leave_group_response::MemberResponse;
use millrace_wire::kp::messages::{LeaveGroupRequest, LeaveGroupResponse};
use millrace_wire::kp::protocol::StrBytes;

use super::convert::owned;
use super::{Answer, Cx};

/// First version with a list of members (KIP-345).
const MEMBERS: i16 = 3;

/// Takes the members out at once; the answer waits until what that changes is stored.
pub fn handle(cx: Cx, request: LeaveGroupRequest) -> impl Future<Output = Answer<LeaveGroupResponse>> + Send + 'static {
    let version = cx.version();
    if !cx.may_group(Operation::Read, &request.group_id) {
        let refused = refuse(&request, version, ErrorCode::GroupAuthorizationFailed);
        return Either::Left(ready(Answer::Send(refused)));
    }
    let left = cx.broker.groups.leave(&request.group_id, leavers(&request, version));
    Either::Right(async move { Answer::Send(response(left.await, version)) })
}

/// Answers with the error.
pub fn refuse(_request: &LeaveGroupRequest, _version: i16, error: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(error.code())
}

fn leavers(request: &LeaveGroupRequest, version: i16) -> Vec<Leaver> {
    if version < MEMBERS {
        return vec![Leaver { member_id: request.member_id.to_string(), instance_id: None, reason: None }];
    }
    let members = request.members.iter().map(|member| Leaver {
        member_id: member.member_id.to_string(),
        instance_id: owned(&member.group_instance_id),
        reason: owned(&member.reason),
    });
    members.collect()
}

/// Before version 3 the only member's error is the answer's.
fn response(left: Result<Vec<LeftMember>, ErrorCode>, version: i16) -> LeaveGroupResponse {
    let members = match left {
        Ok(members) => members,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    if version < MEMBERS {
        let error = members.first().map_or(ErrorCode::None, |member| member.error);
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    let members = members.into_iter().map(|member| {
        MemberResponse::default()
            .with_member_id(StrBytes::from_string(member.member_id))
            .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
            .with_error_code(member.error.code())
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
