//! Deciding: what a command does to the cluster, as records. Pure: see `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod brokers;
mod change;
mod configs;
mod create;
mod delete;
mod dirs;
mod draft;
mod elect;
mod features;
mod grow;
mod isr;
mod placement;
mod producer_ids;
mod reassign;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

use millrace_metadata::config::BrokerDefaults;
use millrace_metadata::features::{Feature, TABLE};
use millrace_metadata::{Command, Image, Record, Reply};
use rand::RngCore;

pub use draft::Draft;
pub use elect::{balance_leaders, elect_unclean};
pub use features::{Member, bootstrap};
pub use sessions::{Session, Sessions};
pub use snapshot::records as snapshot_records;

/// Settings of the controller that decisions depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// Static defaults of the topic settings, among them `min.insync.replicas` and `unclean.leader.election.enable`.
    pub topic: BrokerDefaults,
    /// What this software supports.
    pub features: &'static [Feature],
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { num_partitions: 1, replication_factor: 1, topic: BrokerDefaults::default(), features: TABLE }
    }
}

/// What a decision may look at besides the image.
pub struct Cx<'a> {
    pub now_ms: i64,
    pub rng: &'a mut dyn RngCore,
    pub defaults: &'a Defaults,
    pub sessions: &'a Sessions,
    /// The controllers, for those commands that ask what they support.
    pub quorum: &'a [Member],
}

/// Decides one command: the facts that follow from it, and the answer once they are agreed.
///
/// A command that is refused makes no records; a list of things to do makes the records of those that are accepted.
pub fn decide(image: &Image, command: &Command, cx: &mut Cx<'_>) -> (Vec<Record>, Reply) {
    let mut draft = Draft::new(image.clone());
    let reply = decide_into(&mut draft, command, cx);
    (draft.into_records(), reply)
}

/// As [`decide`], on top of decisions that are not agreed yet: they become facts together or not at all.
pub fn decide_into(draft: &mut Draft, command: &Command, cx: &mut Cx<'_>) -> Reply {
    match command {
        Command::CreateTopics { topics, validate_only } => {
            Reply::CreateTopics(draft.maybe(*validate_only, |draft| create::topics(draft, topics, cx)))
        }
        Command::DeleteTopics { topics } => Reply::DeleteTopics(delete::topics(draft, topics)),
        Command::CreatePartitions { topics, validate_only } => {
            Reply::CreatePartitions(draft.maybe(*validate_only, |draft| grow::topics(draft, topics, cx)))
        }
        Command::AlterConfigs { changes, validate_only } => {
            Reply::AlterConfigs(draft.maybe(*validate_only, |draft| configs::alter(draft, changes, cx.defaults)))
        }
        Command::ElectLeaders { unclean, partitions } => {
            Reply::ElectLeaders(elect::leaders(draft, *unclean, partitions.as_deref(), cx.defaults))
        }
        Command::AlterPartitionReassignments { partitions, allow_rf_change } => {
            Reply::AlterPartitionReassignments(reassign::partitions(draft, partitions, *allow_rf_change, cx.defaults))
        }
        Command::UpdateFeatures { changes, validate_only } => {
            Reply::UpdateFeatures(draft.maybe(*validate_only, |draft| features::update(draft, changes, cx)))
        }
        Command::AllocateProducerIds { broker, broker_epoch } => {
            Reply::AllocateProducerIds(producer_ids::allocate(draft, *broker, *broker_epoch))
        }
        Command::RegisterBroker { cluster_id, registration, unclean } => {
            Reply::RegisterBroker(brokers::register(draft, cluster_id, registration, *unclean, cx))
        }
        Command::BrokerHeartbeat(beat) => Reply::BrokerHeartbeat(brokers::heartbeat(draft, beat, cx)),
        Command::UnregisterBroker { broker } => {
            Reply::UnregisterBroker(brokers::unregister(draft, *broker, cx.defaults))
        }
        Command::FenceBroker { broker, broker_epoch } => {
            Reply::FenceBroker(brokers::fence_command(draft, *broker, *broker_epoch, cx.defaults))
        }
        Command::AlterPartition { broker, broker_epoch, changes } => {
            Reply::AlterPartition(isr::alter(draft, *broker, *broker_epoch, changes, cx.defaults))
        }
        Command::AssignReplicasToDirs { broker, broker_epoch, dirs } => {
            Reply::AssignReplicasToDirs(dirs::assign(draft, *broker, *broker_epoch, dirs, cx.defaults))
        }
        Command::RegisterController(registration) => Reply::RegisterController(features::register(draft, registration)),
    }
}
