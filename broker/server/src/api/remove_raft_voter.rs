//! RemoveRaftVoter (KIP-853; `KafkaRaftClient.handleRemoveVoterRequest`). Any broker takes it and asks the active
//! controller.

use std::future::Future;

use millrace_controller::VoterId;
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_metadata::ids::DirId;
use millrace_wire::kp::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use super::convert::{error_fields, text};
use super::{Answer, Cx};

/// Takes a voter's vote away; answers when the quorum has agreed.
pub fn handle(
    cx: Cx,
    request: RemoveRaftVoterRequest,
) -> impl Future<Output = Answer<RemoveRaftVoterResponse>> + Send + 'static {
    async move { Answer::Send(answer(&remove(&cx, &request).await)) }
}

async fn remove(cx: &Cx, request: &RemoveRaftVoterRequest) -> Result<(), ApiError> {
    cx.check_cluster_id(request.cluster_id.as_deref())?;
    if request.voter_id < 0 || request.voter_directory_id.is_nil() {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "Remove voter request didn't include a valid voter"));
    }
    let voter = VoterId { id: request.voter_id, dir: DirId(*request.voter_directory_id.as_bytes()) };
    cx.broker.controller.remove_voter(voter, cx.limit(0)).await
}

fn answer(result: &Result<(), ApiError>) -> RemoveRaftVoterResponse {
    let mut response = RemoveRaftVoterResponse::default();
    (response.error_code, response.error_message) = error_fields(result);
    response
}

/// Answers with the error.
pub fn refuse(_request: &RemoveRaftVoterRequest, _version: i16, error: ErrorCode) -> RemoveRaftVoterResponse {
    let mut response = RemoveRaftVoterResponse::default();
    response.error_code = error.code();
    response.error_message = Some(text(error.default_message()));
    response
}
