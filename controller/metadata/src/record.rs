//! Facts: what the controllers agree on, one after the other. A record is decided once and applied everywhere.

use std::fmt;

use smallvec::SmallVec;

use crate::ids::{DirId, IncarnationId, NodeId, TopicId};
use crate::image::PartitionImage;
pub use crate::nodes::Nodes;

/// The directories of a partition's replicas, parallel to its replicas.
pub type Dirs = SmallVec<[DirId; 1]>;

/// What kind of thing a configuration belongs to. The numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceKind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceKind {
    pub fn from_code(code: i8) -> Option<ResourceKind> {
        match code {
            2 => Some(ResourceKind::Topic),
            4 => Some(ResourceKind::Broker),
            8 => Some(ResourceKind::BrokerLogger),
            16 => Some(ResourceKind::ClientMetrics),
            32 => Some(ResourceKind::Group),
            _ => None,
        }
    }

    pub fn code(self) -> i8 {
        self as i8
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResourceKind::Topic => "TOPIC",
            ResourceKind::Broker => "BROKER",
            ResourceKind::BrokerLogger => "BROKER_LOGGER",
            ResourceKind::ClientMetrics => "CLIENT_METRICS",
            ResourceKind::Group => "GROUP",
        })
    }
}

/// One configurable thing. The broker with the empty name stands for all brokers of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub kind: ResourceKind,
    pub name: String,
}

impl ConfigResource {
    pub fn new(kind: ResourceKind, name: impl Into<String>) -> ConfigResource {
        ConfigResource { kind, name: name.into() }
    }

    pub fn topic(name: impl Into<String>) -> ConfigResource {
        ConfigResource::new(ResourceKind::Topic, name)
    }
}

/// Where a broker can be reached on one of its listeners.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
    /// Kafka's number: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// Levels of a feature that a broker can run at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureRange {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

/// What a broker says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: NodeId,
    pub incarnation: IncarnationId,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub dirs: Vec<DirId>,
    pub features: Vec<FeatureRange>,
}

/// What a controller says of itself when it registers (KIP-919).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRegistration {
    pub id: NodeId,
    /// Its metadata directory: with another one it is somebody else.
    pub dir: DirId,
    pub features: Vec<FeatureRange>,
}

/// A change of one partition. `None` leaves a field as it is. Every change adds one to the partition epoch; one that
/// names a leader, even the present one, adds one to the leader epoch (`PartitionRegistration.merge`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionDelta {
    pub replicas: Option<Nodes>,
    pub dirs: Option<Box<[DirId]>>,
    pub isr: Option<Nodes>,
    pub elr: Option<Nodes>,
    pub last_known_elr: Option<Nodes>,
    pub adding: Option<Nodes>,
    pub removing: Option<Nodes>,
    pub leader: Option<NodeId>,
    /// The leader was elected uncleanly and has not yet taken stock of its log.
    pub recovering: Option<bool>,
}

impl PartitionDelta {
    pub fn is_empty(&self) -> bool {
        *self == PartitionDelta::default()
    }
}

/// Sets a configuration value, or removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    pub resource: ConfigResource,
    pub key: String,
    pub value: Option<String>,
}

/// One agreed fact. Thousands of them stay in memory for those who follow, nearly all of them partitions and their
/// changes: what is large and rare is boxed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The cluster's identity; the first record of every cluster.
    ClusterId {
        id: String,
    },
    /// A broker's new incarnation, or the same one with other facts.
    RegisterBroker {
        registration: Box<BrokerRegistration>,
        epoch: i64,
        fenced: bool,
        in_controlled_shutdown: bool,
        /// Raft index of the entry that registered it; 0 means the entry that carries this record.
        index: u64,
        /// Raft index at which its controlled shutdown began; 0 if it did not.
        shutdown_at: u64,
    },
    BrokerChange {
        id: NodeId,
        epoch: i64,
        fenced: Option<bool>,
        in_controlled_shutdown: Option<bool>,
        dirs: Option<Vec<DirId>>,
    },
    UnregisterBroker {
        id: NodeId,
        epoch: i64,
    },
    Topic {
        name: String,
        id: TopicId,
    },
    /// A new partition of a topic, whole. Indexes come in order, without gaps.
    Partition {
        topic: TopicId,
        index: i32,
        partition: Box<PartitionImage>,
    },
    PartitionChange {
        topic: TopicId,
        index: i32,
        delta: Box<PartitionDelta>,
    },
    /// Takes the topic with its partitions and configuration away.
    RemoveTopic {
        id: TopicId,
    },
    Config(Box<ConfigChange>),
    /// Finalises a feature at a level; level 0 removes it.
    FeatureLevel {
        name: String,
        level: i16,
    },
    /// Producer ids below `next` are given away.
    ProducerIds {
        broker: NodeId,
        broker_epoch: i64,
        next: i64,
    },
    /// What a snapshot must say besides its facts: broker epochs up to `last_broker_epoch` were used, and must not
    /// return after their broker was unregistered; a feature last changed at Raft index `features_index`.
    Counters {
        last_broker_epoch: i64,
        features_index: u64,
    },
    /// A controller, or what it supports by now.
    RegisterController(Box<ControllerRegistration>),
}

impl Record {
    pub fn config(resource: ConfigResource, key: impl Into<String>, value: Option<String>) -> Record {
        Record::Config(Box::new(ConfigChange { resource, key: key.into(), value }))
    }
}
