//! How a quorum comes to have a leader, and a cluster its first records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{ApiError, ErrorCode, Image, Record};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::contacts::Contacts;
use crate::decider::{leading_term, propose};
use crate::identity::Identity;
use crate::options::StartError;
use crate::raft::{Peer, Raft, RaftId, raft_id};

/// How long a leader that stops waits for another one.
const HAND_OVER_WAIT: Duration = Duration::from_secs(1);
/// A leader that called within this time is there.
const HEARD_MAX: Duration = Duration::from_secs(1);
/// Nobody tells of calls of the leader that change nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Seconds until the start of the only voter counts as failed.
const LEADER_WAIT_S: u64 = 30;

/// How a controller comes to take part.
pub enum Entry {
    /// It begins a new quorum of these voters.
    Begin(BTreeMap<RaftId, Peer>),
    /// It is part of a quorum already, or will be called by one.
    Wait,
}

/// The only voter of a new quorum.
pub fn single(identity: &Identity, place: Option<(String, u16)>) -> BTreeMap<RaftId, Peer> {
    let (host, port) = place.unwrap_or_default();
    let peer = Peer { controller: identity.node_id, dir: identity.dir, host, port };
    BTreeMap::from([(raft_id(identity.node_id, identity.dir), peer)])
}

/// Begins a new quorum, and starts an election where waiting for a timeout would gain nothing. Returns whether this is
/// the only voter.
pub async fn campaign(raft: &Raft, entry: Entry) -> Result<bool, StartError> {
    let failed = |e: &dyn std::fmt::Display| StartError::Raft(e.to_string());
    if let Entry::Begin(members) = entry {
        let alone = members.len() == 1;
        raft.initialize(members).await.map_err(|e| failed(&e))?;
        return Ok(alone);
    }
    let me = *raft.node_id();
    // Not from the metrics: they are empty for a moment after the start.
    let alone = raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([me])).await;
    let alone = alone.map_err(|e| failed(&e))?;
    if alone {
        raft.trigger().elect(false).await.map_err(|e| failed(&e))?;
    }
    Ok(alone)
}

/// A leader that stops hands its leadership to the voter that is the furthest, so that nobody waits for an election
/// timeout.
pub async fn hand_over(raft: &Raft) {
    let mut metrics = raft.metrics();
    let heir = {
        let now = metrics.borrow_and_update();
        let voters: Vec<RaftId> = now.membership_config.membership().voter_ids().collect();
        let progress = now.replication.iter().flatten();
        let others = progress.filter(|(id, _)| **id != now.id && voters.contains(id));
        others.max_by_key(|(_, matched)| matched.as_ref().map(|id| id.index())).map(|(id, _)| *id)
    };
    let Some(heir) = heir else { return };
    let handed = async {
        raft.trigger().transfer_leader(heir).await.ok()?;
        while metrics.borrow_and_update().current_leader == Some(*raft.node_id()) {
            metrics.changed().await.ok()?;
        }
        Some(())
    };
    if tokio::time::timeout(HAND_OVER_WAIT, handed).await.is_err() {
        tracing::info!("no other controller took the leadership over in {HAND_OVER_WAIT:?}");
    }
}

/// Waits until the image is that of a working cluster: of one that this node leads if it is alone, else of one whose
/// leader is known.
pub async fn ready(
    raft: &Raft,
    images: &watch::Receiver<Arc<Image>>,
    contacts: &Contacts,
    alone: bool,
) -> Result<(), StartError> {
    let mut metrics = raft.metrics();
    let mut images = images.clone();
    let ready = async {
        loop {
            let led = {
                let metrics = metrics.borrow_and_update();
                metrics.running_state.as_ref().map_err(|fatal| StartError::Raft(fatal.to_string()))?;
                // A leader that is known from before the start may be gone.
                metrics.current_leader.is_some() && contacts.heard_within(HEARD_MAX)
            };
            let (term, empty) = {
                let image = images.borrow_and_update();
                (image.term, image.cluster_id.is_empty())
            };
            if !empty && (leading_term(raft) == Some(term) || (led && !alone)) {
                return Ok(());
            }
            tokio::select! {
                changed = metrics.changed() => changed.map_err(|e| StartError::Raft(e.to_string()))?,
                changed = images.changed() => changed.map_err(|e| StartError::Raft(e.to_string()))?,
                () = tokio::time::sleep(LOOK_AGAIN), if !alone => {}
            }
        }
    };
    if !alone {
        // The others may come when they like.
        return ready.await;
    }
    let limit = Duration::from_secs(LEADER_WAIT_S);
    tokio::time::timeout(limit, ready).await.map_err(|_| StartError::NoLeader(LEADER_WAIT_S))?
}

/// Gives a new cluster its first records, once this node leads it; ends when the cluster has them.
pub async fn found(raft: Raft, mut images: watch::Receiver<Arc<Image>>, first: Vec<Record>) -> Result<(), ApiError> {
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
            match propose(&raft, term, first.clone()).await {
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
