//! DeleteGroups (`KafkaApis.handleDeleteGroupsRequest`).

use std::collections::BTreeSet;
use std::future::Future;

use futures::future::join_all;
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::delete_groups_response::DeletableGroupResult;
use millrace_wire::kp::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::{Answer, Cx};

/// Deletes at once; the answer waits until it is stored.
pub fn handle(
    cx: Cx,
    request: DeleteGroupsRequest,
) -> impl Future<Output = Answer<DeleteGroupsResponse>> + Send + 'static {
    let mut seen = BTreeSet::new();
    let distinct = request.groups_names.into_iter().filter(|id| seen.insert(id.clone()));
    let deletions: Vec<_> = distinct
        .map(|id| {
            let allowed = cx.may_group(Operation::Delete, &id);
            let deleted = allowed.then(|| cx.broker.groups.delete_group(&id));
            async move {
                let error = match deleted {
                    Some(deleted) => deleted.await.err().unwrap_or(ErrorCode::None),
                    None => ErrorCode::GroupAuthorizationFailed,
                };
                result(id, error)
            }
        })
        .collect();
    async move { Answer::Send(DeleteGroupsResponse::default().with_results(join_all(deletions).await)) }
}

/// Answers with the error, for each group.
pub fn refuse(request: &DeleteGroupsRequest, _version: i16, error: ErrorCode) -> DeleteGroupsResponse {
    let results = request.groups_names.iter().map(|id| result(id.clone(), error));
    DeleteGroupsResponse::default().with_results(results.collect())
}

fn result(id: GroupId, error: ErrorCode) -> DeletableGroupResult {
    DeletableGroupResult::default().with_group_id(id).with_error_code(error.code())
}
