//! How a quorum comes to have a leader, and a cluster its first records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{ApiError, ErrorCode, Image};
use millrace_state::bootstrap;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::decider::{leading_term, propose};
use crate::identity::Identity;
use crate::options::{ControllerOptions, StartError};
use crate::raft::{Peer, Raft, RaftId, raft_id};

/// Seconds until a start without a leader counts as failed.
const LEADER_WAIT_S: u64 = 30;

/// The voters that a new quorum starts with: those of the options, or this node alone.
pub fn initial_members(identity: &Identity, options: &ControllerOptions) -> Result<BTreeMap<RaftId, Peer>, StartError> {
    let me = raft_id(identity.node_id, identity.dir);
    if options.initial_voters.is_empty() {
        let peer = Peer { controller: identity.node_id, dir: identity.dir, ..Peer::default() };
        return Ok(BTreeMap::from([(me, peer)]));
    }
    let voter = |v: &crate::options::InitialVoter| {
        let peer = Peer { controller: v.node_id, dir: v.dir, host: v.host.clone(), port: v.port };
        (raft_id(v.node_id, v.dir), peer)
    };
    let members: BTreeMap<RaftId, Peer> = options.initial_voters.iter().map(voter).collect();
    if members.contains_key(&me) {
        Ok(members)
    } else {
        Err(StartError::NotAVoter { node: identity.node_id, dir: identity.dir })
    }
}

/// Starts an election where waiting for a timeout would gain nothing. Of several new voters the first one begins:
/// the others learn of the quorum from it.
pub async fn campaign(raft: &Raft, members: BTreeMap<RaftId, Peer>, pristine: bool) -> Result<(), StartError> {
    let failed = |e: &dyn std::fmt::Display| StartError::Raft(e.to_string());
    let me = *raft.node_id();
    let alone = members.len() == 1;
    if pristine {
        if members.keys().next() == Some(&me) {
            raft.initialize(members).await.map_err(|e| failed(&e))?;
        }
    } else if alone {
        raft.trigger().elect(false).await.map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// Waits until the image is that of a working cluster: of one that this node leads if it is alone, else of one whose
/// leader is known.
pub async fn ready(raft: &Raft, images: &watch::Receiver<Arc<Image>>, alone: bool) -> Result<(), StartError> {
    let mut metrics = raft.metrics();
    let mut images = images.clone();
    let ready = async {
        loop {
            let led = {
                let metrics = metrics.borrow_and_update();
                metrics.running_state.as_ref().map_err(|fatal| StartError::Raft(fatal.to_string()))?;
                metrics.current_leader.is_some()
            };
            let (term, empty) = {
                let image = images.borrow_and_update();
                (image.term, image.cluster_id.is_empty())
            };
            if !empty && led && (!alone || leading_term(raft) == Some(term)) {
                return Ok(());
            }
            tokio::select! {
                changed = metrics.changed() => changed.map_err(|e| StartError::Raft(e.to_string()))?,
                changed = images.changed() => changed.map_err(|e| StartError::Raft(e.to_string()))?,
            }
        }
    };
    let limit = Duration::from_secs(LEADER_WAIT_S);
    tokio::time::timeout(limit, ready).await.map_err(|_| StartError::NoLeader(LEADER_WAIT_S))?
}

/// Gives a new cluster its first records, once this node leads it; ends when the cluster has them.
pub async fn found(raft: Raft, mut images: watch::Receiver<Arc<Image>>, cluster_id: String) -> Result<(), ApiError> {
    let mut metrics = raft.metrics();
    loop {
        // Nobody tells of a state that was there before.
        metrics.borrow_and_update();
        let (term, empty) = {
            let image = images.borrow_and_update();
            (image.term, image.cluster_id.is_empty())
        };
        if !empty {
            return Ok(());
        }
        if term > 0 && leading_term(&raft) == Some(term) {
            match propose(&raft, term, bootstrap(&cluster_id)).await {
                // Another leader does it.
                Err(error) if error.code == ErrorCode::NotController => continue,
                done => return done,
            }
        }
        let closed = |what: String| ApiError::new(ErrorCode::UnknownServerError, what);
        tokio::select! {
            changed = metrics.changed() => changed.map_err(|e| closed(e.to_string()))?,
            changed = images.changed() => changed.map_err(|e| closed(e.to_string()))?,
        }
    }
}
