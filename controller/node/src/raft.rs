//! openraft, filled in with our types. Nothing outside of this crate sees them.

use std::fmt;
use std::sync::Arc;

use millrace_metadata::{DirId, NodeId, Record};

/// A voter's id in Raft: made of its controller id and its directory, so that a controller that lost its disk comes
/// back as somebody else. With its old id and an empty log it could vote for a leader that lacks committed entries.
pub type RaftId = u64;

/// The id of the controller with this directory: the controller id in the upper half, so that it can be read in logs.
pub fn raft_id(controller: NodeId, dir: DirId) -> RaftId {
    let [a, b, c, d, ..] = dir.0;
    (u64::from(controller as u32) << 32) | u64::from(u32::from_be_bytes([a, b, c, d]))
}

/// The controller that a Raft id belongs to.
pub fn controller_id(id: RaftId) -> NodeId {
    (id >> 32) as NodeId
}

/// Where another controller can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    pub controller: NodeId,
    pub dir: DirId,
    pub host: String,
    pub port: u16,
}

/// Records that shall become facts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The term whose leader decided them: in a later term they may contradict what was agreed meanwhile, and are
    /// not applied.
    pub term: u64,
    pub records: Arc<[Record]>,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records of term {}", self.records.len(), self.term)
    }
}

/// Whether a proposal became facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied(pub bool);

openraft::declare_raft_types!(
    pub Types:
        D = Proposal,
        R = Applied,
        NodeId = RaftId,
        Node = Peer,
        // One leader in each term, so that the term can serve as the controller epoch.
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, RaftId>,
);

pub type LeaderId = openraft::type_config::alias::LeaderIdOf<Types>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type Membership = openraft::Membership<RaftId, Peer>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Arc<millrace_metadata::Image>>;
pub type Raft = openraft::Raft<Types, crate::machine::Machine>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_directory() {
        let (a, b) = (DirId([1; 16]), DirId([2; 16]));
        assert_ne!(raft_id(7, a), raft_id(7, b));
        assert_eq!(controller_id(raft_id(7, a)), 7);
    }
}
