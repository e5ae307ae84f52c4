//! What the coordinator is asked and what it answers: the handlers translate from and to the wire.

use bytes::Bytes;
use millrace_metadata::{ErrorCode, TopicId};

/// A protocol that a member supports, in its order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    /// Opaque to the broker, but for the topics of a consumer's subscription.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub struct Join {
    pub group_id: String,
    /// Empty: a new member.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    pub reason: Option<String>,
    /// From version 4 on a new dynamic member gets its id first and joins with it (KIP-394).
    pub require_known_member_id: bool,
    /// From version 9 on a static leader may be told to skip the assignment (KIP-814).
    pub supports_skipping_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// Filled for the leader only.
    pub members: Vec<JoinedMember>,
}

impl JoinAnswer {
    pub fn error(error: ErrorCode, member_id: impl Into<String>) -> JoinAnswer {
        JoinAnswer {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// SyncGroup.
#[derive(Debug, Clone)]
pub struct Sync {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// From version 5 on.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Member id and assignment; only the leader's count.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncAnswer {
    pub error: ErrorCode,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

impl SyncAnswer {
    pub fn error(error: ErrorCode) -> SyncAnswer {
        SyncAnswer { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// Heartbeat.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

/// One member that leaves, or is made to leave by its instance id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub error: ErrorCode,
}

/// OffsetCommit.
#[derive(Debug, Clone)]
pub struct Commit {
    pub group_id: String,
    /// −1: a consumer outside of the group protocol, or a tool.
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// The retention time that clients of versions 2–4 may ask for.
    pub retention_ms: Option<i64>,
    /// What a missing group is called: from version 9 on GROUP_ID_NOT_FOUND, ILLEGAL_GENERATION before.
    pub missing_group: ErrorCode,
    pub topics: Vec<CommitTopic>,
}

#[derive(Debug, Clone)]
pub struct CommitTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Debug, Clone)]
pub struct CommitPartition {
    pub index: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A topic with a result for each partition that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicResult {
    pub name: String,
    pub partitions: Vec<(i32, ErrorCode)>,
}

/// OffsetFetch of one group.
#[derive(Debug, Clone)]
pub struct Fetch {
    pub group_id: String,
    /// None: all offsets of the group.
    pub topics: Option<Vec<FetchTopic>>,
}

#[derive(Debug, Clone)]
pub struct FetchTopic {
    pub name: String,
    /// An offset committed for another incarnation of the topic does not count; zero: not known.
    pub id: TopicId,
    pub partitions: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: String,
    pub partitions: Vec<FetchedOffset>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    pub index: i32,
    /// −1: nothing committed.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A line of ListGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub group_id: String,
    pub protocol_type: String,
    pub state: &'static str,
    pub group_type: &'static str,
}

/// Which groups ListGroups shows; an empty list lets all pass. Compared without regard to case.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub group_id: String,
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}
