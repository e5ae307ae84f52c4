//! Who leads, and where the controllers are: what has to be known to reach the active one.

use std::collections::BTreeMap;

use millrace_metadata::Image;
use millrace_rpc::{DecodeError, dir_id, levels_to_pb, pb};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::raft::{Peer, Raft, RaftId};

/// The quorum as one controller sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub term: u64,
    pub leader: Option<RaftId>,
    /// Voters and learners.
    pub nodes: BTreeMap<RaftId, Peer>,
}

impl Standing {
    fn of(raft: &Raft) -> Standing {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        Standing {
            term: metrics.current_term,
            leader: metrics.current_leader,
            nodes: nodes.map(|(id, peer)| (*id, peer.clone())).collect(),
        }
    }

    /// Who leads and where it is.
    pub fn active(&self) -> Option<(RaftId, &Peer)> {
        let leader = self.leader?;
        Some((leader, self.nodes.get(&leader)?))
    }

    /// With what the image here says of itself.
    pub fn to_pb(&self, image: &Image) -> pb::Standing {
        let node = |(id, peer): (&RaftId, &Peer)| pb::Voter {
            node: *id,
            controller_id: peer.controller,
            dir: peer.dir.0.to_vec(),
            host: peer.host.clone(),
            port: peer.port.into(),
        };
        let nodes = self.nodes.iter().map(node).collect();
        pb::Standing {
            term: self.term,
            leader: self.leader.unwrap_or_default(),
            nodes,
            applied: image.index,
            levels: levels_to_pb(&image.features),
        }
    }

    pub fn from_pb(standing: pb::Standing) -> Result<Standing, DecodeError> {
        let mut nodes = BTreeMap::new();
        for node in standing.nodes {
            let port = u16::try_from(node.port).map_err(|_| DecodeError::Unknown("port"))?;
            let peer = Peer { controller: node.controller_id, dir: dir_id(&node.dir)?, host: node.host, port };
            nodes.insert(node.node, peer);
        }
        let leader = (standing.leader != 0).then_some(standing.leader);
        Ok(Standing { term: standing.term, leader, nodes })
    }

    /// Takes over what somebody else knows, unless it is older.
    pub fn learn(&mut self, other: Standing) -> bool {
        let older = other.term < self.term || (other.term == self.term && other.leader.is_none());
        let known = self.leader.is_some() || !self.nodes.is_empty();
        if (older && known) || *self == other {
            return false;
        }
        *self = other;
        true
    }
}

/// Publishes each change of the standing until Raft stops.
pub async fn follow(raft: Raft, out: watch::Sender<Standing>) {
    let mut metrics = raft.metrics();
    loop {
        // Nobody tells of a state that was there before.
        metrics.borrow_and_update();
        let now = Standing::of(&raft);
        out.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Returns why, when Raft stopped for good: it does not survive a log that cannot be written.
pub async fn died(raft: &Raft) -> String {
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_and_update().running_state {
            return fatal.to_string();
        }
        if metrics.changed().await.is_err() {
            return "it stopped".to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(term: u64, leader: Option<u64>) -> Standing {
        Standing { term, leader, nodes: BTreeMap::from([(7, Peer { host: "a".into(), port: 1, ..Peer::default() })]) }
    }

    #[test]
    fn newer_knowledge_wins_and_older_is_dropped() {
        let mut known = Standing::default();
        assert!(known.learn(standing(3, None)));
        assert!(known.learn(standing(3, Some(7))));
        assert!(!known.learn(standing(3, None)) && !known.learn(standing(2, Some(7))));
        assert_eq!(known.active().map(|(id, peer)| (id, peer.port)), Some((7, 1)));
        assert!(known.learn(standing(4, None)) && known.active().is_none());
        assert_eq!(Standing::from_pb(known.to_pb(&Image::at(9, 4))), Ok(known));
    }
}
