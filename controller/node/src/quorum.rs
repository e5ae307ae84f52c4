//! What DescribeQuorum tells.

use millrace_metadata::{DirId, NodeId};

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
