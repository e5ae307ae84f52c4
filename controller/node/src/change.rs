//! Changes of the quorum as they are asked for, and the way to the controller that makes them.

use std::time::Duration;

use millrace_metadata::{ApiError, DirId, ErrorCode, NodeId};
use millrace_rpc::pb::quorum_client::QuorumClient;
use millrace_rpc::{DecodeError, dir_id, error_from_pb, pb};
use tokio::time::Instant;

use crate::active::Active;
use crate::membership::Members;
use crate::network::{addressed, channel};
use crate::peers::{peer_from_pb, peer_to_pb};
use crate::raft::{Peer, RaftId};

/// A change that names no limit of its own is given up after so long.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// Between two attempts to find a controller that leads.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A voter by its two ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoterId {
    pub id: NodeId,
    pub dir: DirId,
}

/// A new voter and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVoter {
    pub id: NodeId,
    /// Id of its metadata directory.
    pub dir: DirId,
    pub host: String,
    pub port: u16,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Follow without a vote, or be found at a new address.
    Observe(Peer),
    /// Take the place of the voter with the same controller id, whose directory is gone.
    Replace(Peer),
    Add(Peer),
    Remove(VoterId),
}

/// A change and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub limit: Duration,
}

impl Change {
    pub fn new(kind: Kind) -> Change {
        Change { kind, limit: CHANGE_WAIT }
    }

    pub fn add(voter: NewVoter, limit: Duration) -> Change {
        let NewVoter { id, dir, host, port } = voter;
        Change { kind: Kind::Add(Peer { controller: id, dir, host, port }), limit }
    }

    pub fn to_pb(&self) -> pb::QuorumChange {
        use pb::quorum_change::Kind as P;
        let kind = match &self.kind {
            Kind::Observe(peer) => P::Observe(peer_to_pb(peer)),
            Kind::Replace(peer) => P::Replace(peer_to_pb(peer)),
            Kind::Add(peer) => P::Add(peer_to_pb(peer)),
            Kind::Remove(VoterId { id, dir }) => P::Remove(pb::VoterKey { controller_id: *id, dir: dir.0.to_vec() }),
        };
        let timeout_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        pb::QuorumChange { kind: Some(kind), timeout_ms }
    }

    pub fn from_pb(change: pb::QuorumChange) -> Result<Change, DecodeError> {
        use pb::quorum_change::Kind as P;
        let kind = match change.kind.ok_or(DecodeError::Unknown("kind of change"))? {
            P::Observe(voter) => Kind::Observe(peer_from_pb(voter)?),
            P::Replace(voter) => Kind::Replace(peer_from_pb(voter)?),
            P::Add(voter) => Kind::Add(peer_from_pb(voter)?),
            P::Remove(key) => Kind::Remove(VoterId { id: key.controller_id, dir: dir_id(&key.dir)? }),
        };
        let limit = if change.timeout_ms == 0 { CHANGE_WAIT } else { Duration::from_millis(change.timeout_ms) };
        Ok(Change { kind, limit: limit.min(CHANGE_WAIT) })
    }
}

/// Has the active controller make a change, whichever that is; `here` is the controller of this process.
///
/// # Errors
/// As [`Members::change`]; `NOT_CONTROLLER` if nobody led within the change's limit.
pub async fn change(active: &Active, here: Option<&Members>, change: Change) -> Result<(), ApiError> {
    let deadline = Instant::now() + change.limit;
    loop {
        let local = match here {
            Some(members) => members.change(change.clone()).await,
            None => Err(ErrorCode::NotController.into()),
        };
        let done = match local {
            Err(error) if error.code == ErrorCode::NotController => elsewhere(active, here, &change).await,
            done => done,
        };
        match done {
            Err(error) if error.code == ErrorCode::NotController && Instant::now() < deadline => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn elsewhere(active: &Active, here: Option<&Members>, change: &Change) -> Result<(), ApiError> {
    let leader = active.standings.borrow().active().map(|(id, peer)| (id, peer.clone()));
    let me = here.map(|members| *members.raft.node_id());
    match leader.filter(|(id, _)| Some(*id) != me) {
        Some((id, peer)) => send(&active.cluster, id, (&peer.host, peer.port), change).await,
        None => Err(ErrorCode::NotController.into()),
    }
}

/// Has the leader at that place make a change.
pub async fn send(cluster: &str, leader: RaftId, place: (&str, u16), change: &Change) -> Result<(), ApiError> {
    let channel = channel(place.0, place.1).ok_or(ErrorCode::NotController)?;
    let mut client = QuorumClient::new(channel);
    let sent = tokio::time::timeout(change.limit, client.change(addressed(change.to_pb(), cluster, leader))).await;
    let late = || ApiError::new(ErrorCode::RequestTimedOut, "The quorum did not agree in time.");
    let answer = sent.map_err(|_| late())?.map_err(|status| match status.code() {
        // Nothing was done: another node is there by now, or none.
        tonic::Code::PermissionDenied => ApiError::from(ErrorCode::NotController),
        _ => ApiError::new(ErrorCode::RequestTimedOut, format!("The active controller was lost: {}", status.message())),
    })?;
    match answer.into_inner().error {
        None => Ok(()),
        Some(error) => {
            Err(error_from_pb(error).unwrap_or_else(|e| ApiError::new(ErrorCode::UnknownServerError, e.to_string())))
        }
    }
}
