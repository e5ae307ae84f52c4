//! ListGroups: the groups that this broker coordinates (`KafkaApis.handleListGroupsRequest`).

use std::future::{Future, ready};

use millrace_groups::types::{ListFilter, Listed};
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::list_groups_response::ListedGroup;
use millrace_wire::kp::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use millrace_wire::kp::protocol::StrBytes;

use super::convert::text;
use super::{Answer, Cx};

/// First version with the groups' states (KIP-518).
const STATES: i16 = 4;
/// First version with the groups' types (KIP-848).
const TYPES: i16 = 5;

/// Answers at once.
pub fn handle(cx: Cx, request: ListGroupsRequest) -> impl Future<Output = Answer<ListGroupsResponse>> + Send + 'static {
    let strings = |texts: &[StrBytes]| texts.iter().map(|text| text.to_string()).collect();
    let filter = ListFilter { states: strings(&request.states_filter), types: strings(&request.types_filter) };
    ready(Answer::Send(match cx.broker.groups.list(&filter) {
        Ok(groups) => {
            let all = cx.may_cluster(Operation::Describe);
            let visible = groups.into_iter().filter(|g| all || cx.may_group(Operation::Describe, &g.group_id));
            let version = cx.version();
            ListGroupsResponse::default().with_groups(visible.map(|group| listed(group, version)).collect())
        }
        Err(error) => refuse(&request, cx.version(), error),
    }))
}

/// Answers with the error.
pub fn refuse(_request: &ListGroupsRequest, _version: i16, error: ErrorCode) -> ListGroupsResponse {
    ListGroupsResponse::default().with_error_code(error.code())
}

fn listed(group: Listed, version: i16) -> ListedGroup {
    let mut listed = ListedGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.group_id)))
        .with_protocol_type(StrBytes::from_string(group.protocol_type));
    if version >= STATES {
        listed.group_state = text(group.state);
    }
    if version >= TYPES {
        listed.group_type = text(group.group_type);
    }
    listed
}
