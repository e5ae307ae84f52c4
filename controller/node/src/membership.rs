//! Changes of the quorum (KIP-853), decided by the active controller. One at a time: Raft itself refuses a second one, so
//! whoever asks meanwhile waits for its turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_metadata::features::unsupported;
use millrace_metadata::{ApiError, ErrorCode, Image};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::sync::watch;

use crate::change::{Change, Kind, VoterId};
use crate::decider::leading_term;
use crate::formation::hand_over;
use crate::peers::{Address, Seen, identify};
use crate::raft::{Membership, Peer, Raft, RaftId, raft_id};

/// Controllers without a vote that the leader keeps up to date.
const OBSERVERS_MAX: usize = 16;
fn refused(code: ErrorCode, why: String) -> ApiError {
    ApiError::new(code, why)
}

fn address(peer: &Peer) -> Address {
    Address { node: Some(peer.controller), host: peer.host.clone(), port: peer.port }
}

/// Makes changes, as long as this node leads.
#[derive(Clone)]
pub struct Members {
    pub raft: Raft,
    pub cluster: Arc<str>,
    pub images: watch::Receiver<Arc<Image>>,
    /// Whoever holds it changes the membership.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Members {
    pub fn new(raft: Raft, cluster: Arc<str>, images: watch::Receiver<Arc<Image>>) -> Members {
        Members { raft, cluster, images, turn: Arc::default() }
    }

    /// Makes the change; returns when it is agreed.
    ///
    /// # Errors
    /// `NOT_CONTROLLER`: nothing was done, ask the leader. `DUPLICATE_VOTER`, `VOTER_NOT_FOUND`, `INVALID_REQUEST`: it
    /// cannot be done. `REQUEST_TIMED_OUT`: what became of it is unknown; asking again does no harm.
    pub async fn change(&self, change: Change) -> Result<(), ApiError> {
        if leading_term(&self.raft).is_none() {
            return Err(ErrorCode::NotController.into());
        }
        let done = async {
            match change.kind {
                Kind::Observe(peer) => self.observe(peer).await,
                Kind::Replace(peer) => self.replace(peer).await,
                Kind::Add(peer) => self.add(peer).await,
                Kind::Remove(voter) => self.remove(voter).await,
            }
        };
        let late = || refused(ErrorCode::RequestTimedOut, "The quorum did not agree in time.".to_owned());
        tokio::time::timeout(change.limit, done).await.map_err(|_| late())?
    }

    fn membership(&self) -> Membership {
        self.raft.metrics().borrow_watched().membership_config.membership().clone()
    }

    async fn observe(&self, peer: Peer) -> Result<(), ApiError> {
        let id = raft_id(peer.controller, peer.dir);
        let now = self.membership();
        match now.get_node(&id) {
            Some(known) if *known == peer => return Ok(()),
            Some(_) => return self.apply(ChangeMembers::SetNodes(BTreeMap::from([(id, peer)])), true).await,
            None => {}
        }
        let (stale, others): (BTreeSet<RaftId>, BTreeSet<RaftId>) =
            now.learner_ids().partition(|id| now.get_node(id).is_some_and(|p| p.controller == peer.controller));
        if others.len() >= OBSERVERS_MAX {
            let why = format!("There are {OBSERVERS_MAX} controllers without a vote already.");
            return Err(refused(ErrorCode::InvalidRequest, why));
        }
        // One that does not answer may still be starting; it is asked again before it gets a vote.
        if let Ok(seen) = identify(&address(&peer)).await
            && seen.id() == id
        {
            self.supports(&peer, &seen)?;
        }
        // The same controller with a directory that is gone.
        let changes = vec![ChangeMembers::RemoveNodes(stale), ChangeMembers::AddNodes(BTreeMap::from([(id, peer)]))];
        self.apply(ChangeMembers::Batch(changes), true).await
    }

    /// A controller that does not support what the cluster runs at could not read what it is sent.
    fn supports(&self, peer: &Peer, seen: &Seen) -> Result<(), ApiError> {
        let lack = unsupported(&self.images.borrow().features, &seen.features);
        lack.map_or(Ok(()), |why| {
            let why = format!("Controller {} at {}:{} is too old. {why}", peer.controller, peer.host, peer.port);
            Err(refused(ErrorCode::UnsupportedVersion, why))
        })
    }

    /// Brings a controller up to date before it gets a vote, so that it never holds up what the others agree on.
    async fn catch_up(&self, peer: &Peer) -> Result<RaftId, ApiError> {
        let id = raft_id(peer.controller, peer.dir);
        let place = format!("Controller {} at {}:{}", peer.controller, peer.host, peer.port);
        let seen = identify(&address(peer)).await;
        let seen =
            seen.map_err(|why| refused(ErrorCode::RequestTimedOut, format!("{place} cannot be asked: {why}.")))?;
        if seen.dir != peer.dir {
            let why = format!("{place} has directory id {}, not {}.", seen.dir, peer.dir);
            return Err(refused(ErrorCode::InvalidRequest, why));
        }
        if seen.cluster_id != *self.cluster {
            let why = format!("{place} belongs to cluster \"{}\", not {}.", seen.cluster_id, self.cluster);
            return Err(refused(ErrorCode::InconsistentClusterId, why));
        }
        self.supports(peer, &seen)?;
        self.observe(peer.clone()).await?;
        let mut metrics = self.raft.metrics();
        let goal = metrics.borrow_watched().last_log_index;
        loop {
            {
                let now = metrics.borrow_and_update();
                let Some(replication) = &now.replication else { return Err(ErrorCode::NotController.into()) };
                let matched = replication.get(&id).and_then(|matched| matched.as_ref()).map(|id| id.index());
                if matched >= goal {
                    return Ok(id);
                }
            }
            let closed = |e: &dyn std::fmt::Display| refused(ErrorCode::UnknownServerError, e.to_string());
            metrics.changed().await.map_err(|e| closed(&e))?;
        }
    }

    async fn add(&self, peer: Peer) -> Result<(), ApiError> {
        let now = self.membership();
        let voters: Vec<&Peer> = now.voter_ids().filter_map(|id| now.get_node(&id)).collect();
        if let Some(twin) = voters.iter().find(|voter| voter.controller == peer.controller) {
            let why = format!(
                "Controller {} is a voter already, with directory {}; remove that one first.",
                twin.controller, twin.dir
            );
            return Err(refused(ErrorCode::DuplicateVoter, why));
        }
        let id = self.catch_up(&peer).await?;
        self.apply(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    async fn remove(&self, voter: VoterId) -> Result<(), ApiError> {
        let id = raft_id(voter.id, voter.dir);
        let now = self.membership();
        if !now.voter_ids().any(|known| known == id) {
            let why = format!("Controller {} with directory {} is no voter.", voter.id, voter.dir);
            return Err(refused(ErrorCode::VoterNotFound, why));
        }
        if now.voter_ids().count() == 1 {
            return Err(refused(ErrorCode::InvalidRequest, "The last voter cannot be removed.".to_owned()));
        }
        if id == *self.raft.node_id() {
            // Whoever leads then removes this one, and nobody waits for an election.
            hand_over(&self.raft).await;
            return Err(ErrorCode::NotController.into());
        }
        self.apply(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await
    }

    /// Gives the vote of a controller that lost its directory to the same controller with its new one.
    ///
    /// That is safe when the old directory can never come back at its address, because the new one answers there, and
    /// when a majority of the old voters, of which the lost one is none, takes part: everything that was agreed is
    /// with one of them, and they agree on the change under the old rules and the new ones together.
    async fn replace(&self, peer: Peer) -> Result<(), ApiError> {
        let now = self.membership();
        let id = raft_id(peer.controller, peer.dir);
        if now.voter_ids().any(|voter| voter == id) {
            return Ok(());
        }
        let twin = now.voter_ids().find(|voter| now.get_node(voter).is_some_and(|p| p.controller == peer.controller));
        let twin = twin.and_then(|voter| Some((voter, now.get_node(&voter)?)));
        let Some((old, lost)) = twin else {
            let why = format!("Controller {} is no voter that could be replaced.", peer.controller);
            return Err(refused(ErrorCode::VoterNotFound, why));
        };
        let there = Address { node: Some(peer.controller), host: lost.host.clone(), port: lost.port };
        if (&lost.host, lost.port) != (&peer.host, peer.port)
            || !identify(&there).await.is_ok_and(|seen| seen.dir == peer.dir)
        {
            let why = format!(
                "Controller {} has a vote with directory {} at {}:{}, which may come back; remove that voter first.",
                lost.controller, lost.dir, lost.host, lost.port
            );
            return Err(refused(ErrorCode::DuplicateVoter, why));
        }
        self.catch_up(&peer).await?;
        tracing::warn!(
            controller = peer.controller, lost = %lost.dir, new = %peer.dir,
            "a voter lost its metadata directory; its vote goes to the new one"
        );
        // Not as a list of all voters: others may have come or gone since.
        let changes =
            vec![ChangeMembers::AddVoterIds(BTreeSet::from([id])), ChangeMembers::RemoveVoters(BTreeSet::from([old]))];
        self.apply(ChangeMembers::Batch(changes), false).await
    }

    /// Ends a change whose leader was lost half-way; one that is under way ends by itself.
    pub async fn flatten(&self) -> Result<(), ApiError> {
        if self.turn.try_lock().is_err() {
            return Ok(());
        }
        self.apply(ChangeMembers::AddVoterIds(BTreeSet::new()), true).await
    }

    /// Agrees on a change when the one before is done. Its two steps go on when the caller no longer waits.
    async fn apply(&self, changes: ChangeMembers<RaftId, Peer>, retain: bool) -> Result<(), ApiError> {
        let unknown = |e: &dyn std::fmt::Display| refused(ErrorCode::UnknownServerError, e.to_string());
        let (raft, turn) = (self.raft.clone(), Arc::clone(&self.turn).lock_owned().await);
        let steps = async move {
            let _turn = turn;
            raft.change_membership(changes, retain).await
        };
        let changed = tokio::spawn(steps).await;
        match changed.map_err(|e| unknown(&e))? {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(ErrorCode::NotController.into()),
            Err(RaftError::APIError(
                e @ (ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)
                | ClientWriteError::LogEntryDiscarded(_)),
            )) => {
                let why = format!("Another change of the quorum is in progress, or came between ({e}).");
                Err(refused(ErrorCode::RequestTimedOut, why))
            }
            Err(RaftError::Fatal(e)) => Err(unknown(&e)),
        }
    }
}
