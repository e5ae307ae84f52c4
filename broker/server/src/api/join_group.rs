//! JoinGroup: a member asks for a part in the next generation (`KafkaApis.handleJoinGroupRequest`).

use std::future::Future;

use bytes::Bytes;
use futures::future::{Either, ready};
use millrace_groups::types::{Join, JoinAnswer, Protocol};
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::join_group_response::JoinGroupResponseMember;
use millrace_wire::kp::messages::{JoinGroupRequest, JoinGroupResponse};
use millrace_wire::kp::protocol::StrBytes;

use super::convert::{owned, text};
use super::{Answer, Cx};

/// First version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT: i16 = 1;
/// First version in which a new member gets its id before it joins (KIP-394).
const KNOWN_MEMBER_ID: i16 = 4;
/// First version with instance ids (KIP-345).
const INSTANCE_IDS: i16 = 5;
/// First version with the protocol's type, and in which its name may be null.
const PROTOCOL_TYPE: i16 = 7;
/// First version in which a leader may be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT: i16 = 9;

/// Joins at once, so that requests of one connection take effect in their order; the answer comes with the generation.
pub fn handle(cx: Cx, request: JoinGroupRequest) -> impl Future<Output = Answer<JoinGroupResponse>> + Send + 'static {
    let version = cx.version();
    if !cx.may_group(Operation::Read, &request.group_id) {
        let refused = refuse(&request, version, ErrorCode::GroupAuthorizationFailed);
        return Either::Left(ready(Answer::Send(refused)));
    }
    let joined = cx.broker.groups.join(join(&cx, request));
    Either::Right(async move { Answer::Send(response(joined.await, version)) })
}

/// Answers with the error.
pub fn refuse(request: &JoinGroupRequest, version: i16, error: ErrorCode) -> JoinGroupResponse {
    response(JoinAnswer::error(error, &*request.member_id), version)
}

fn join(cx: &Cx, request: JoinGroupRequest) -> Join {
    let version = cx.version();
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.to_string(),
        // Copied: it outlives the request's buffer by hours.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    Join {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        instance_id: owned(&request.group_instance_id),
        client_id: cx.header.client_id.clone().unwrap_or_default(),
        // As Java prints an address without a name.
        client_host: format!("/{}", cx.conn.peer_addr.ip().to_canonical()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version < REBALANCE_TIMEOUT {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        reason: owned(&request.reason),
        require_known_member_id: version >= KNOWN_MEMBER_ID,
        supports_skipping_assignment: version >= SKIP_ASSIGNMENT,
    }
}

fn response(answer: JoinAnswer, version: i16) -> JoinGroupResponse {
    let mut response = JoinGroupResponse::default()
        .with_error_code(answer.error.code())
        .with_generation_id(answer.generation)
        .with_protocol_name(protocol_name(answer.protocol, version))
        .with_leader(StrBytes::from_string(answer.leader))
        .with_member_id(StrBytes::from_string(answer.member_id));
    if version >= PROTOCOL_TYPE {
        response.protocol_type = answer.protocol_type.as_deref().map(text);
    }
    if version >= SKIP_ASSIGNMENT {
        response.skip_assignment = answer.skip_assignment;
    }
    response.members = answer
        .members
        .into_iter()
        .map(|member| {
            let instance = member.instance_id.filter(|_| version >= INSTANCE_IDS);
            JoinGroupResponseMember::default()
                .with_member_id(StrBytes::from_string(member.member_id))
                .with_group_instance_id(instance.map(StrBytes::from_string))
                .with_metadata(member.metadata)
        })
        .collect();
    response
}

/// Older versions cannot say null, newer ones do not say "" (`JoinGroupResponse.java`).
fn protocol_name(name: Option<String>, version: i16) -> Option<StrBytes> {
    if version < PROTOCOL_TYPE {
        Some(StrBytes::from_string(name.unwrap_or_default()))
    } else {
        name.filter(|name| !name.is_empty()).map(StrBytes::from_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_protocol_is_empty_or_null_by_version() {
        assert_eq!(protocol_name(None, 6).as_deref(), Some(""));
        assert_eq!(protocol_name(None, 7), None);
        assert_eq!(protocol_name(Some(String::new()), 9), None);
        assert_eq!(protocol_name(Some("range".to_owned()), 0).as_deref(), Some("range"));
    }
}
