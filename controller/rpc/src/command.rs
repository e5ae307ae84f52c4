//! Commands to protobuf and back.

use millrace_metadata::Command;
use millrace_metadata::command::{
    ConfigChange, ConfigOp, ConfigOpKind, DirAssignment, FeatureChange, FeatureChangeKind, Heartbeat, IsrChange,
    MorePartitions, NewTopic, Reassignment, TopicRef,
};

use crate::ids::{dirs_from_bytes, dirs_to_bytes, topic_id};
use crate::pb::command::Kind;
use crate::record::{
    controller_from_pb, controller_to_pb, int16, registration_from_pb, registration_to_pb, resource_from_pb,
    resource_to_pb,
};
use crate::{DecodeError, dir_id, pb};

fn map<T, U>(items: &[T], each: impl FnMut(&T) -> U) -> Vec<U> {
    items.iter().map(each).collect()
}

fn try_map<T, U>(items: Vec<T>, each: impl FnMut(T) -> Result<U, DecodeError>) -> Result<Vec<U>, DecodeError> {
    items.into_iter().map(each).collect()
}

fn broker(broker: i32, epoch: i64) -> Option<pb::BrokerEpoch> {
    Some(pb::BrokerEpoch { broker, epoch })
}

fn broker_from_pb(broker: Option<pb::BrokerEpoch>) -> Result<(i32, i64), DecodeError> {
    let broker = broker.ok_or(DecodeError::Unknown("broker"))?;
    Ok((broker.broker, broker.epoch))
}

pub fn command_to_pb(command: &Command) -> pb::Command {
    let kind = match command {
        Command::CreateTopics { topics, validate_only } => {
            Kind::CreateTopics(pb::CreateTopics { topics: map(topics, new_topic), validate_only: *validate_only })
        }
        Command::DeleteTopics { topics } => Kind::DeleteTopics(pb::DeleteTopics { topics: map(topics, topic_ref) }),
        Command::CreatePartitions { topics, validate_only } => Kind::CreatePartitions(pb::CreatePartitions {
            topics: map(topics, more_partitions),
            validate_only: *validate_only,
        }),
        Command::AlterConfigs { changes, validate_only } => {
            Kind::AlterConfigs(pb::AlterConfigs { changes: map(changes, config_change), validate_only: *validate_only })
        }
        Command::ElectLeaders { unclean, partitions } => Kind::ElectLeaders(pb::ElectLeaders {
            unclean: *unclean,
            partitions: partitions.as_ref().map(|list| pb::PartitionList {
                topics: map(list, |(topic, partitions)| pb::TopicPartitions {
                    topic: topic.clone(),
                    partitions: partitions.clone(),
                }),
            }),
        }),
        Command::AlterPartitionReassignments { partitions, allow_rf_change } => {
            Kind::AlterReassignments(pb::AlterReassignments {
                partitions: map(partitions, |r| pb::Reassignment {
                    topic: r.topic.clone(),
                    partition: r.partition,
                    replicas: r.replicas.as_ref().map(|ids| pb::Nodes { ids: ids.clone() }),
                }),
                allow_rf_change: *allow_rf_change,
            })
        }
        Command::UpdateFeatures { changes, validate_only } => Kind::UpdateFeatures(pb::UpdateFeatures {
            changes: map(changes, feature_change),
            validate_only: *validate_only,
        }),
        Command::AllocateProducerIds { broker: id, broker_epoch } => {
            Kind::AllocateProducerIds(pb::AllocateProducerIds { broker: broker(*id, *broker_epoch) })
        }
        Command::RegisterBroker { cluster_id, registration, unclean } => {
            Kind::RegisterBroker(pb::RegisterBrokerRequest {
                cluster_id: cluster_id.clone(),
                registration: Some(registration_to_pb(registration)),
                unclean: *unclean,
            })
        }
        Command::BrokerHeartbeat(beat) => Kind::Heartbeat(pb::Heartbeat {
            broker: broker(beat.broker, beat.broker_epoch),
            applied: beat.applied,
            want_fence: beat.want_fence,
            want_shutdown: beat.want_shutdown,
            offline_dirs: dirs_to_bytes(&beat.offline_dirs),
        }),
        Command::UnregisterBroker { broker } => Kind::UnregisterBroker(*broker),
        Command::FenceBroker { broker, broker_epoch } => {
            Kind::FenceBroker(pb::BrokerEpoch { broker: *broker, epoch: *broker_epoch })
        }
        Command::AlterPartition { broker: id, broker_epoch, changes } => Kind::AlterPartition(pb::AlterPartition {
            broker: broker(*id, *broker_epoch),
            changes: map(changes, isr_change),
        }),
        Command::AssignReplicasToDirs { broker: id, broker_epoch, dirs } => {
            Kind::AssignDirs(pb::AssignDirs { broker: broker(*id, *broker_epoch), dirs: map(dirs, dir_assignment) })
        }
        Command::RegisterController(registration) => Kind::RegisterController(controller_to_pb(registration)),
    };
    pb::Command { kind: Some(kind) }
}

fn new_topic(t: &NewTopic) -> pb::NewTopic {
    pb::NewTopic {
        name: t.name.clone(),
        partitions: t.partitions,
        replication_factor: t.replication_factor.into(),
        assignments: map(&t.assignments, |(partition, replicas)| pb::Assignment {
            partition: *partition,
            replicas: replicas.clone(),
        }),
        configs: map(&t.configs, |(key, value)| pb::KeyValue { key: key.clone(), value: value.clone() }),
    }
}

pub(crate) fn topic_ref(topic: &TopicRef) -> pb::TopicRef {
    let by = match topic {
        TopicRef::Name(name) => pb::topic_ref::By::Name(name.clone()),
        TopicRef::Id(id) => pb::topic_ref::By::Id(id.0.to_vec()),
    };
    pb::TopicRef { by: Some(by) }
}

pub(crate) fn topic_ref_from_pb(topic: pb::TopicRef) -> Result<TopicRef, DecodeError> {
    match topic.by.ok_or(DecodeError::Unknown("topic"))? {
        pb::topic_ref::By::Name(name) => Ok(TopicRef::Name(name)),
        pb::topic_ref::By::Id(id) => topic_id(&id).map(TopicRef::Id),
    }
}

fn more_partitions(t: &MorePartitions) -> pb::MorePartitions {
    let assignments =
        |list: &Vec<Vec<i32>>| pb::Assignments { replicas: map(list, |ids| pb::Nodes { ids: ids.clone() }) };
    pb::MorePartitions { name: t.name.clone(), count: t.count, assignments: t.assignments.as_ref().map(assignments) }
}

fn config_change(change: &ConfigChange) -> pb::ConfigChange {
    let op = |op: &ConfigOp| {
        let kind = match op.op {
            ConfigOpKind::Set => pb::ConfigOpKind::Set,
            ConfigOpKind::Delete => pb::ConfigOpKind::Delete,
            ConfigOpKind::Append => pb::ConfigOpKind::Append,
            ConfigOpKind::Subtract => pb::ConfigOpKind::Subtract,
        };
        pb::ConfigOp { key: op.key.clone(), op: kind.into(), value: op.value.clone() }
    };
    pb::ConfigChange {
        resource: Some(resource_to_pb(&change.resource)),
        ops: map(&change.ops, op),
        replace: change.replace,
    }
}

fn feature_change(change: &FeatureChange) -> pb::FeatureChange {
    let kind = match change.kind {
        FeatureChangeKind::Upgrade => pb::FeatureChangeKind::Upgrade,
        FeatureChangeKind::SafeDowngrade => pb::FeatureChangeKind::SafeDowngrade,
        FeatureChangeKind::UnsafeDowngrade => pb::FeatureChangeKind::UnsafeDowngrade,
    };
    pb::FeatureChange { name: change.name.clone(), level: change.level.into(), kind: kind.into() }
}

fn isr_change(change: &IsrChange) -> pb::IsrChange {
    pb::IsrChange {
        topic: change.topic.0.to_vec(),
        partition: change.partition,
        leader_epoch: change.leader_epoch,
        partition_epoch: change.partition_epoch,
        isr: map(&change.isr, |(node, epoch)| pb::BrokerState { node: *node, epoch: *epoch }),
        recovering: change.recovering,
    }
}

fn dir_assignment(assignment: &DirAssignment) -> pb::DirAssignment {
    pb::DirAssignment {
        dir: assignment.dir.0.to_vec(),
        partitions: map(&assignment.partitions, |(topic, partition)| pb::TopicIdPartition {
            topic: topic.0.to_vec(),
            partition: *partition,
        }),
    }
}

pub fn command_from_pb(command: pb::Command) -> Result<Command, DecodeError> {
    Ok(match command.kind.ok_or(DecodeError::Unknown("kind of command"))? {
        Kind::CreateTopics(c) => {
            Command::CreateTopics { topics: try_map(c.topics, new_topic_from_pb)?, validate_only: c.validate_only }
        }
        Kind::DeleteTopics(c) => Command::DeleteTopics { topics: try_map(c.topics, topic_ref_from_pb)? },
        Kind::CreatePartitions(c) => Command::CreatePartitions {
            topics: c.topics.into_iter().map(more_partitions_from_pb).collect(),
            validate_only: c.validate_only,
        },
        Kind::AlterConfigs(c) => Command::AlterConfigs {
            changes: try_map(c.changes, config_change_from_pb)?,
            validate_only: c.validate_only,
        },
        Kind::ElectLeaders(c) => Command::ElectLeaders {
            unclean: c.unclean,
            partitions: c.partitions.map(|l| l.topics.into_iter().map(|t| (t.topic, t.partitions)).collect()),
        },
        Kind::AlterReassignments(c) => {
            let one = |r: pb::Reassignment| Reassignment {
                topic: r.topic,
                partition: r.partition,
                replicas: r.replicas.map(|n| n.ids),
            };
            Command::AlterPartitionReassignments {
                partitions: c.partitions.into_iter().map(one).collect(),
                allow_rf_change: c.allow_rf_change,
            }
        }
        Kind::UpdateFeatures(c) => Command::UpdateFeatures {
            changes: try_map(c.changes, feature_change_from_pb)?,
            validate_only: c.validate_only,
        },
        Kind::AllocateProducerIds(c) => {
            let (broker, broker_epoch) = broker_from_pb(c.broker)?;
            Command::AllocateProducerIds { broker, broker_epoch }
        }
        Kind::RegisterBroker(c) => Command::RegisterBroker {
            cluster_id: c.cluster_id,
            registration: registration_from_pb(c.registration)?,
            unclean: c.unclean,
        },
        Kind::Heartbeat(c) => Command::BrokerHeartbeat(heartbeat_from_pb(c)?),
        Kind::UnregisterBroker(broker) => Command::UnregisterBroker { broker },
        Kind::FenceBroker(c) => Command::FenceBroker { broker: c.broker, broker_epoch: c.epoch },
        Kind::AlterPartition(c) => {
            let (broker, broker_epoch) = broker_from_pb(c.broker)?;
            Command::AlterPartition { broker, broker_epoch, changes: try_map(c.changes, isr_change_from_pb)? }
        }
        Kind::AssignDirs(c) => {
            let (broker, broker_epoch) = broker_from_pb(c.broker)?;
            Command::AssignReplicasToDirs { broker, broker_epoch, dirs: try_map(c.dirs, dir_assignment_from_pb)? }
        }
        Kind::RegisterController(c) => Command::RegisterController(controller_from_pb(c)?),
    })
}

fn new_topic_from_pb(t: pb::NewTopic) -> Result<NewTopic, DecodeError> {
    Ok(NewTopic {
        name: t.name,
        partitions: t.partitions,
        replication_factor: int16(t.replication_factor, "replication factor")?,
        assignments: t.assignments.into_iter().map(|a| (a.partition, a.replicas)).collect(),
        configs: t.configs.into_iter().map(|c| (c.key, c.value)).collect(),
    })
}

fn more_partitions_from_pb(t: pb::MorePartitions) -> MorePartitions {
    let assignments = |list: pb::Assignments| list.replicas.into_iter().map(|n| n.ids).collect();
    MorePartitions { name: t.name, count: t.count, assignments: t.assignments.map(assignments) }
}

fn config_change_from_pb(change: pb::ConfigChange) -> Result<ConfigChange, DecodeError> {
    let op = |op: pb::ConfigOp| {
        let kind = match pb::ConfigOpKind::try_from(op.op) {
            Ok(pb::ConfigOpKind::Set) => ConfigOpKind::Set,
            Ok(pb::ConfigOpKind::Delete) => ConfigOpKind::Delete,
            Ok(pb::ConfigOpKind::Append) => ConfigOpKind::Append,
            Ok(pb::ConfigOpKind::Subtract) => ConfigOpKind::Subtract,
            Err(_) => return Err(DecodeError::Unknown("config operation")),
        };
        Ok(ConfigOp { key: op.key, op: kind, value: op.value })
    };
    Ok(ConfigChange {
        resource: resource_from_pb(change.resource)?,
        ops: try_map(change.ops, op)?,
        replace: change.replace,
    })
}

fn feature_change_from_pb(change: pb::FeatureChange) -> Result<FeatureChange, DecodeError> {
    let kind = match pb::FeatureChangeKind::try_from(change.kind) {
        Ok(pb::FeatureChangeKind::Upgrade) => FeatureChangeKind::Upgrade,
        Ok(pb::FeatureChangeKind::SafeDowngrade) => FeatureChangeKind::SafeDowngrade,
        Ok(pb::FeatureChangeKind::UnsafeDowngrade) => FeatureChangeKind::UnsafeDowngrade,
        Err(_) => return Err(DecodeError::Unknown("kind of feature change")),
    };
    Ok(FeatureChange { name: change.name, level: int16(change.level, "feature level")?, kind })
}

fn heartbeat_from_pb(beat: pb::Heartbeat) -> Result<Heartbeat, DecodeError> {
    let (broker, broker_epoch) = broker_from_pb(beat.broker)?;
    Ok(Heartbeat {
        broker,
        broker_epoch,
        applied: beat.applied,
        want_fence: beat.want_fence,
        want_shutdown: beat.want_shutdown,
        offline_dirs: dirs_from_bytes(&beat.offline_dirs)?,
    })
}

fn isr_change_from_pb(change: pb::IsrChange) -> Result<IsrChange, DecodeError> {
    Ok(IsrChange {
        topic: topic_id(&change.topic)?,
        partition: change.partition,
        leader_epoch: change.leader_epoch,
        partition_epoch: change.partition_epoch,
        isr: change.isr.into_iter().map(|s| (s.node, s.epoch)).collect(),
        recovering: change.recovering,
    })
}

fn dir_assignment_from_pb(assignment: pb::DirAssignment) -> Result<DirAssignment, DecodeError> {
    let partition = |p: pb::TopicIdPartition| Ok((topic_id(&p.topic)?, p.partition));
    Ok(DirAssignment { dir: dir_id(&assignment.dir)?, partitions: try_map(assignment.partitions, partition)? })
}
