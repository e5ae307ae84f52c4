//! What DescribeQuorum tells.

use std::sync::Arc;

use millrace_metadata::{DirId, Image, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::contacts::{Contact, Contacts};
use crate::raft::{Raft, RaftId, controller_id};

/// A voter as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub id: NodeId,
    pub dir: DirId,
    /// One past the last log entry; −1 if the leader does not know.
    pub log_end: i64,
    /// ms since 1970; −1 if unknown.
    pub last_fetch_ms: i64,
    pub last_caught_up_ms: i64,
}

/// The state of the metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumInfo {
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub epoch: i32,
    /// One past the last committed entry.
    pub high_watermark: i64,
    pub voters: Vec<Voter>,
    pub observers: Vec<Voter>,
}

/// The quorum as this node knows it.
pub fn quorum_info(raft: &Raft, images: &watch::Receiver<Arc<Image>>, contacts: &Contacts) -> QuorumInfo {
    let now = contacts.now_ms();
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let end = |index: Option<u64>| index.map_or(0, |i| i64::try_from(i).unwrap_or(i64::MAX - 1) + 1);
    // Raft's own figures come a moment after the image.
    let applied = end(metrics.last_applied.as_ref().map(|id| id.index()));
    let high_watermark = applied.max(end(Some(images.borrow().index)));
    let membership = metrics.membership_config.membership();
    let voter = |id: RaftId| {
        let me = id == metrics.id;
        let replicated = metrics.replication.as_ref().and_then(|r| r.get(&id)).and_then(|l| l.as_ref());
        let known = if me { end(metrics.last_log_index).max(high_watermark) } else { -1 };
        let log_end = replicated.map_or(known, |l| end(Some(l.index())).max(known));
        let contact = contacts.of(id).filter(|_| !me && metrics.replication.is_some());
        let contact = match me {
            true => Contact { fetched_ms: now, caught_up_ms: now },
            false => contact.unwrap_or(Contact { fetched_ms: -1, caught_up_ms: -1 }),
        };
        let dir = membership.get_node(&id).map(|p| p.dir).unwrap_or_default();
        Voter {
            id: controller_id(id),
            dir,
            log_end,
            last_fetch_ms: contact.fetched_ms,
            last_caught_up_ms: contact.caught_up_ms,
        }
    };
    QuorumInfo {
        leader: metrics.current_leader.map(controller_id),
        epoch: i32::try_from(metrics.current_term).unwrap_or(i32::MAX),
        high_watermark,
        voters: membership.voter_ids().map(voter).collect(),
        observers: membership.learner_ids().map(voter).collect(),
    }
}
