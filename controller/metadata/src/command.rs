//! Wishes: what brokers and administrators ask the controller to decide, and what it answers.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::ids::{DirId, NodeId, TopicId};
use crate::record::{BrokerRegistration, ConfigResource, ControllerRegistration, Nodes};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// −1: the controller's default, or as many as `assignments` has.
    pub partitions: i32,
    /// −1: the controller's default, or as many as `assignments` has.
    pub replication_factor: i16,
    /// Manual assignment: partition index and its replicas. Empty: the controller chooses.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// A key without a value means the default.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with everything else left to the controller.
    pub fn new(name: impl Into<String>, partitions: i32, replication_factor: i16) -> NewTopic {
        let (assignments, configs) = (Vec::new(), Vec::new());
        NewTopic { name: name.into(), partitions, replication_factor, assignments, configs }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    pub name: String,
    /// Zero if the request was only validated.
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// What the request set, sorted by key.
    pub configs: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    Name(String),
    Id(TopicId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: String,
    pub id: TopicId,
}

/// A topic that shall have more partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    pub name: String,
    /// How many it shall have in the end.
    pub count: i32,
    /// Replicas of each new partition; `None`: the controller chooses.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigOpKind {
    Set,
    Delete,
    /// Adds to, or takes from, a list.
    Append,
    Subtract,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigOp {
    pub key: String,
    pub op: ConfigOpKind,
    pub value: Option<String>,
}

/// Changes of one resource's configuration, done together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    pub resource: ConfigResource,
    pub ops: Vec<ConfigOp>,
    /// Keys that no operation names go back to their default (the old AlterConfigs request).
    pub replace: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    pub topic: String,
    pub partition: i32,
    /// `None` cancels the reassignment under way.
    pub replicas: Option<Vec<NodeId>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureChangeKind {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureChange {
    pub name: String,
    pub level: i16,
    pub kind: FeatureChangeKind,
}

/// A leader's wish to change the in-sync set of one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrChange {
    pub topic: TopicId,
    pub partition: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// The new set: nodes and the epochs the leader knows them by; −1 if it does not.
    pub isr: Vec<(NodeId, i64)>,
    pub recovering: bool,
}

/// A partition as the answer of an in-sync set change shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrState {
    pub leader: NodeId,
    pub leader_epoch: i32,
    pub isr: Nodes,
    pub recovering: bool,
    pub partition_epoch: i32,
}

/// A wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
    },
    DeleteTopics {
        topics: Vec<TopicRef>,
    },
    CreatePartitions {
        topics: Vec<MorePartitions>,
        validate_only: bool,
    },
    AlterConfigs {
        changes: Vec<ConfigChange>,
        validate_only: bool,
    },
    /// `partitions: None`: every partition that has a use for it.
    ElectLeaders {
        unclean: bool,
        partitions: Option<Vec<(String, Vec<i32>)>>,
    },
    AlterPartitionReassignments {
        partitions: Vec<Reassignment>,
        allow_rf_change: bool,
    },
    UpdateFeatures {
        changes: Vec<FeatureChange>,
        validate_only: bool,
    },
    AllocateProducerIds {
        broker: NodeId,
        broker_epoch: i64,
    },
    RegisterBroker {
        cluster_id: String,
        registration: BrokerRegistration,
        /// The broker was never stopped cleanly before this start, or lost its disks: what it held in sync it may have
        /// lost (KIP-966).
        unclean: bool,
    },
    BrokerHeartbeat(Heartbeat),
    UnregisterBroker {
        broker: NodeId,
    },
    /// The controller's own: the broker was not heard of for too long.
    FenceBroker {
        broker: NodeId,
        broker_epoch: i64,
    },
    AlterPartition {
        broker: NodeId,
        broker_epoch: i64,
        changes: Vec<IsrChange>,
    },
    AssignReplicasToDirs {
        broker: NodeId,
        broker_epoch: i64,
        dirs: Vec<DirAssignment>,
    },
    RegisterController(ControllerRegistration),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub broker: NodeId,
    pub broker_epoch: i64,
    /// How far the broker's image is.
    pub applied: u64,
    pub want_fence: bool,
    pub want_shutdown: bool,
    pub offline_dirs: Vec<DirId>,
}

/// Where replicas of the sending broker are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirAssignment {
    pub dir: DirId,
    pub partitions: Vec<(TopicId, i32)>,
}

/// One topic, named for the answer, or why not.
pub type TopicResult<T> = Result<T, (String, ApiError)>;
/// Topic and partition index.
pub type PartitionKey = (String, i32);

/// What became of each partition.
pub type PerPartition<T> = Vec<((TopicId, i32), Result<T, ApiError>)>;

/// The answer to the command of the same name; lists are in the order of the command's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    CreateTopics(Vec<TopicResult<CreatedTopic>>),
    DeleteTopics(Vec<Result<DeletedTopic, (TopicRef, ApiError)>>),
    CreatePartitions(Vec<TopicResult<String>>),
    AlterConfigs(Vec<(ConfigResource, Result<(), ApiError>)>),
    /// Sorted by topic and partition. Without a list of partitions in the command, those that needed no election are
    /// left out.
    ElectLeaders(BTreeMap<PartitionKey, Result<(), ApiError>>),
    AlterPartitionReassignments(Vec<(PartitionKey, Result<(), ApiError>)>),
    /// `Err` if nothing was changed, with the first reason.
    UpdateFeatures(Result<(), ApiError>),
    AllocateProducerIds(Result<ProducerIdBlock, ApiError>),
    RegisterBroker(Result<Registered, ApiError>),
    BrokerHeartbeat(Result<HeartbeatState, ApiError>),
    UnregisterBroker(Result<(), ApiError>),
    FenceBroker(Result<(), ApiError>),
    AlterPartition(Result<PerPartition<IsrState>, ApiError>),
    AssignReplicasToDirs(Result<PerPartition<()>, ApiError>),
    RegisterController(Result<(), ApiError>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub len: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    pub epoch: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatState {
    pub caught_up: bool,
    pub fenced: bool,
    pub should_shutdown: bool,
}
