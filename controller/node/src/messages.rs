//! Raft's messages to protobuf and back.

use millrace_rpc::{DecodeError, pb};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};

use crate::codec::{entry_from_pb, entry_to_pb, log_id_from_pb, log_id_to_pb, vote_from_pb, vote_to_pb};
use crate::raft::{LogId, Types, Vote};

pub fn needed_vote(vote: Option<pb::Vote>) -> Result<Vote, DecodeError> {
    vote.as_ref().map(vote_from_pb).ok_or(DecodeError::Unknown("vote"))
}

fn log_id(id: Option<pb::LogId>) -> Option<LogId> {
    id.as_ref().map(log_id_from_pb)
}

pub fn append_to_pb(request: &AppendEntriesRequest<Types>) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to_pb(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to_pb),
        entries: request.entries.iter().map(entry_to_pb).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to_pb),
    }
}

pub fn append_from_pb(request: pb::AppendRequest) -> Result<AppendEntriesRequest<Types>, DecodeError> {
    Ok(AppendEntriesRequest {
        vote: needed_vote(request.vote)?,
        prev_log_id: log_id(request.prev_log_id),
        entries: request.entries.into_iter().map(entry_from_pb).collect::<Result<_, _>>()?,
        leader_commit: log_id(request.committed),
    })
}

pub fn appended_to_pb(response: &AppendEntriesResponse<Types>) -> pb::AppendResponse {
    use pb::append_response::Result as R;
    let result = match response {
        AppendEntriesResponse::Success => R::Success(pb::Blank {}),
        AppendEntriesResponse::PartialSuccess(upto) => {
            R::PartialSuccess(pb::PartialSuccess { upto: upto.as_ref().map(log_id_to_pb) })
        }
        AppendEntriesResponse::Conflict => R::Conflict(pb::Blank {}),
        AppendEntriesResponse::HigherVote(vote) => R::HigherVote(vote_to_pb(vote)),
    };
    pb::AppendResponse { result: Some(result) }
}

pub fn appended_from_pb(response: pb::AppendResponse) -> Result<AppendEntriesResponse<Types>, DecodeError> {
    use pb::append_response::Result as R;
    Ok(match response.result.ok_or(DecodeError::Unknown("append result"))? {
        R::Success(pb::Blank {}) => AppendEntriesResponse::Success,
        R::PartialSuccess(partial) => AppendEntriesResponse::PartialSuccess(log_id(partial.upto)),
        R::Conflict(pb::Blank {}) => AppendEntriesResponse::Conflict,
        R::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from_pb(&vote)),
    })
}

pub fn vote_request_to_pb(request: &VoteRequest<Types>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_pb(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_pb),
        leader_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_from_pb(request: pb::VoteRequest) -> Result<VoteRequest<Types>, DecodeError> {
    let mut decoded = VoteRequest::new(needed_vote(request.vote)?, log_id(request.last_log_id));
    decoded.leadership_transfer = request.leader_transfer;
    Ok(decoded)
}

pub fn voted_to_pb(response: &VoteResponse<Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_pb(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to_pb),
    }
}

pub fn voted_from_pb(response: pb::VoteResponse) -> Result<VoteResponse<Types>, DecodeError> {
    let vote = needed_vote(response.vote)?;
    Ok(VoteResponse::new(vote, log_id(response.last_log_id), response.granted))
}

pub fn transfer_to_pb(request: &TransferLeaderRequest<Types>) -> pb::TransferRequest {
    pb::TransferRequest {
        from: Some(vote_to_pb(request.from_leader())),
        to: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to_pb),
    }
}

pub fn transfer_from_pb(request: pb::TransferRequest) -> Result<TransferLeaderRequest<Types>, DecodeError> {
    Ok(TransferLeaderRequest::new(needed_vote(request.from)?, request.to, log_id(request.last_log_id)))
}
