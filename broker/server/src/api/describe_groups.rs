//! DescribeGroups: members and state of classic groups (`KafkaApis.handleDescribeGroupsRequest`).

use std::future::{Future, ready};

use millrace_groups::types::{Described, DescribedMember};
use millrace_metadata::error::ErrorCode;
use millrace_security::{Operation, OperationSet};
use millrace_wire::kp::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use millrace_wire::kp::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use millrace_wire::kp::protocol::StrBytes;

use super::convert::text;
use super::{Answer, Cx};

/// First version with authorized operations (KIP-430).
const OPERATIONS: i16 = 3;
/// First version with instance ids.
const INSTANCE_IDS: i16 = 4;
/// First version that says that a group does not exist (KIP-1043); before it, such a group is "Dead".
const NOT_FOUND: i16 = 6;
/// Kafka's state of a group that is not there.
const DEAD: &str = "Dead";

/// Answers at once.
pub fn handle(
    cx: Cx,
    request: DescribeGroupsRequest,
) -> impl Future<Output = Answer<DescribeGroupsResponse>> + Send + 'static {
    let version = cx.version();
    let groups = request.groups.iter().map(|id| {
        let mut group = describe(&cx, id);
        let shown = group.error_code == ErrorCode::None.code();
        if version >= OPERATIONS && request.include_authorized_operations && shown {
            group.authorized_operations = cx.group_operations(id);
        }
        group
    });
    ready(Answer::Send(DescribeGroupsResponse::default().with_groups(groups.collect())))
}

/// Answers with the error, for each group.
pub fn refuse(request: &DescribeGroupsRequest, _version: i16, error: ErrorCode) -> DescribeGroupsResponse {
    let groups = request.groups.iter().map(|id| failed(id, error));
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe(cx: &Cx, id: &GroupId) -> DescribedGroup {
    if !cx.may_group(Operation::Describe, id) {
        return failed(id, ErrorCode::GroupAuthorizationFailed);
    }
    match cx.broker.groups.describe(id) {
        Ok(Some(group)) => described(id, group, cx.version()),
        Ok(None) => missing(id, cx.version()),
        Err(error) => failed(id, error),
    }
}

fn described(id: &GroupId, group: Described, version: i16) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| described_member(member, version));
    empty(id)
        .with_group_state(text(group.state))
        .with_protocol_type(StrBytes::from_string(group.protocol_type))
        .with_protocol_data(StrBytes::from_string(group.protocol))
        .with_members(members.collect())
}

fn described_member(member: DescribedMember, version: i16) -> DescribedGroupMember {
    let instance = member.instance_id.filter(|_| version >= INSTANCE_IDS);
    DescribedGroupMember::default()
        .with_member_id(StrBytes::from_string(member.member_id))
        .with_group_instance_id(instance.map(StrBytes::from_string))
        .with_client_id(StrBytes::from_string(member.client_id))
        .with_client_host(StrBytes::from_string(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

fn missing(id: &GroupId, version: i16) -> DescribedGroup {
    let group = empty(id).with_group_state(text(DEAD));
    if version < NOT_FOUND {
        return group;
    }
    let message = format!("Group {} not found.", id.as_str());
    group.with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(StrBytes::from_string(message)))
}

fn failed(id: &GroupId, error: ErrorCode) -> DescribedGroup {
    empty(id).with_error_code(error.code())
}

fn empty(id: &GroupId) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_error_message(None)
        .with_authorized_operations(OperationSet::NOT_REQUESTED)
}
