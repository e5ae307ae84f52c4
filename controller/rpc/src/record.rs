//! Records to protobuf and back.

use std::collections::BTreeMap;

use millrace_metadata::ids::IncarnationId;
use millrace_metadata::record::{
    BrokerRegistration, ControllerRegistration, Dirs, FeatureRange, Nodes, PartitionDelta,
};
use millrace_metadata::{ConfigResource, Endpoint, PartitionImage, Record, ResourceKind};

use crate::ids::{dir_id, dirs_from_bytes, dirs_to_bytes, sixteen, topic_id};
use crate::pb::record::Kind;
use crate::{DecodeError, pb};

pub fn records_to_pb<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<pb::Record> {
    records.into_iter().map(record_to_pb).collect()
}

pub fn records_from_pb(records: Vec<pb::Record>) -> Result<Vec<Record>, DecodeError> {
    records.into_iter().map(record_from_pb).collect()
}

pub fn record_to_pb(record: &Record) -> pb::Record {
    let kind = match record {
        Record::ClusterId { id } => Kind::ClusterId(pb::ClusterId { id: id.clone() }),
        Record::RegisterBroker { registration, epoch, fenced, in_controlled_shutdown, index, shutdown_at } => {
            Kind::RegisterBroker(pb::RegisterBroker {
                registration: Some(registration_to_pb(registration)),
                epoch: *epoch,
                fenced: *fenced,
                in_controlled_shutdown: *in_controlled_shutdown,
                index: *index,
                shutdown_at: *shutdown_at,
            })
        }
        Record::BrokerChange { id, epoch, fenced, in_controlled_shutdown, dirs } => {
            Kind::BrokerChange(pb::BrokerChange {
                id: *id,
                epoch: *epoch,
                fenced: *fenced,
                in_controlled_shutdown: *in_controlled_shutdown,
                dirs: dirs.as_ref().map(|d| pb::Dirs { ids: dirs_to_bytes(d) }),
            })
        }
        Record::UnregisterBroker { id, epoch } => {
            Kind::UnregisterBroker(pb::UnregisterBroker { id: *id, epoch: *epoch })
        }
        Record::Topic { name, id } => Kind::Topic(pb::Topic { name: name.clone(), id: id.0.to_vec() }),
        Record::Partition { topic, index, partition } => Kind::Partition(pb::NewPartition {
            topic: topic.0.to_vec(),
            index: *index,
            partition: Some(partition_to_pb(partition)),
        }),
        Record::PartitionChange { topic, index, delta } => {
            Kind::PartitionChange(delta_to_pb(topic.0.to_vec(), *index, delta))
        }
        Record::RemoveTopic { id } => Kind::RemoveTopic(pb::RemoveTopic { id: id.0.to_vec() }),
        Record::Config(c) => Kind::Config(pb::Config {
            resource: Some(resource_to_pb(&c.resource)),
            key: c.key.clone(),
            value: c.value.clone(),
        }),
        Record::FeatureLevel { name, level } => {
            Kind::FeatureLevel(pb::FeatureLevel { name: name.clone(), level: (*level).into() })
        }
        Record::ProducerIds { broker, broker_epoch, next } => {
            Kind::ProducerIds(pb::ProducerIds { broker: *broker, broker_epoch: *broker_epoch, next: *next })
        }
        Record::Counters { last_broker_epoch, features_index } => {
            Kind::Counters(pb::Counters { last_broker_epoch: *last_broker_epoch, features_index: *features_index })
        }
        Record::RegisterController(registration) => Kind::RegisterController(controller_to_pb(registration)),
    };
    pb::Record { kind: Some(kind) }
}

pub fn record_from_pb(record: pb::Record) -> Result<Record, DecodeError> {
    Ok(match record.kind.ok_or(DecodeError::Unknown("kind of record"))? {
        Kind::ClusterId(r) => Record::ClusterId { id: r.id },
        Kind::RegisterBroker(r) => Record::RegisterBroker {
            registration: Box::new(registration_from_pb(r.registration)?),
            epoch: r.epoch,
            fenced: r.fenced,
            in_controlled_shutdown: r.in_controlled_shutdown,
            index: r.index,
            shutdown_at: r.shutdown_at,
        },
        Kind::BrokerChange(r) => Record::BrokerChange {
            id: r.id,
            epoch: r.epoch,
            fenced: r.fenced,
            in_controlled_shutdown: r.in_controlled_shutdown,
            dirs: r.dirs.map(|d| dirs_from_bytes(&d.ids)).transpose()?,
        },
        Kind::UnregisterBroker(r) => Record::UnregisterBroker { id: r.id, epoch: r.epoch },
        Kind::Topic(r) => Record::Topic { name: r.name, id: topic_id(&r.id)? },
        Kind::Partition(r) => Record::Partition {
            topic: topic_id(&r.topic)?,
            index: r.index,
            partition: Box::new(partition_from_pb(r.partition.ok_or(DecodeError::Unknown("partition"))?)?),
        },
        Kind::PartitionChange(r) => delta_from_pb(r)?,
        Kind::RemoveTopic(r) => Record::RemoveTopic { id: topic_id(&r.id)? },
        Kind::Config(r) => Record::config(resource_from_pb(r.resource)?, r.key, r.value),
        Kind::FeatureLevel(r) => Record::FeatureLevel { name: r.name, level: int16(r.level, "feature level")? },
        Kind::ProducerIds(r) => Record::ProducerIds { broker: r.broker, broker_epoch: r.broker_epoch, next: r.next },
        Kind::Counters(r) => {
            Record::Counters { last_broker_epoch: r.last_broker_epoch, features_index: r.features_index }
        }
        Kind::RegisterController(r) => Record::RegisterController(Box::new(controller_from_pb(r)?)),
    })
}

pub(crate) fn int16(value: i32, what: &'static str) -> Result<i16, DecodeError> {
    i16::try_from(value).map_err(|_| DecodeError::Unknown(what))
}

/// Levels that a node supports.
pub fn ranges_to_pb(ranges: &[FeatureRange]) -> Vec<pb::FeatureRange> {
    let one = |f: &FeatureRange| pb::FeatureRange { name: f.name.clone(), min: f.min.into(), max: f.max.into() };
    ranges.iter().map(one).collect()
}

pub fn ranges_from_pb(ranges: Vec<pb::FeatureRange>) -> Result<Vec<FeatureRange>, DecodeError> {
    let one = |f: pb::FeatureRange| {
        Ok(FeatureRange { name: f.name, min: int16(f.min, "feature level")?, max: int16(f.max, "feature level")? })
    };
    ranges.into_iter().map(one).collect()
}

/// Levels that a cluster runs at.
pub fn levels_to_pb(levels: &BTreeMap<String, i16>) -> Vec<pb::FeatureLevel> {
    levels.iter().map(|(name, level)| pb::FeatureLevel { name: name.clone(), level: (*level).into() }).collect()
}

pub fn levels_from_pb(levels: Vec<pb::FeatureLevel>) -> Result<BTreeMap<String, i16>, DecodeError> {
    levels.into_iter().map(|f| Ok((f.name, int16(f.level, "feature level")?))).collect()
}

pub(crate) fn controller_to_pb(r: &ControllerRegistration) -> pb::ControllerRegistration {
    pb::ControllerRegistration { id: r.id, dir: r.dir.0.to_vec(), features: ranges_to_pb(&r.features) }
}

pub(crate) fn controller_from_pb(r: pb::ControllerRegistration) -> Result<ControllerRegistration, DecodeError> {
    Ok(ControllerRegistration { id: r.id, dir: dir_id(&r.dir)?, features: ranges_from_pb(r.features)? })
}

pub(crate) fn registration_to_pb(r: &BrokerRegistration) -> pb::BrokerRegistration {
    let endpoint = |e: &Endpoint| pb::Endpoint {
        listener: e.listener.clone(),
        host: e.host.clone(),
        port: e.port.into(),
        security_protocol: e.security_protocol.into(),
    };
    pb::BrokerRegistration {
        id: r.id,
        incarnation: r.incarnation.0.to_vec(),
        endpoints: r.endpoints.iter().map(endpoint).collect(),
        rack: r.rack.clone(),
        dirs: dirs_to_bytes(&r.dirs),
        features: ranges_to_pb(&r.features),
    }
}

pub(crate) fn registration_from_pb(r: Option<pb::BrokerRegistration>) -> Result<BrokerRegistration, DecodeError> {
    let r = r.ok_or(DecodeError::Unknown("broker registration"))?;
    let endpoint = |e: pb::Endpoint| {
        Ok(Endpoint {
            listener: e.listener,
            host: e.host,
            port: u16::try_from(e.port).map_err(|_| DecodeError::Unknown("port"))?,
            security_protocol: int16(e.security_protocol, "security protocol")?,
        })
    };
    Ok(BrokerRegistration {
        id: r.id,
        incarnation: IncarnationId(sixteen(&r.incarnation, "incarnation")?),
        endpoints: r.endpoints.into_iter().map(endpoint).collect::<Result<_, DecodeError>>()?,
        rack: r.rack,
        dirs: dirs_from_bytes(&r.dirs)?,
        features: ranges_from_pb(r.features)?,
    })
}

fn partition_to_pb(p: &PartitionImage) -> pb::Partition {
    pb::Partition {
        replicas: p.replicas.to_vec(),
        dirs: dirs_to_bytes(&p.dirs),
        isr: p.isr.to_vec(),
        elr: p.elr.to_vec(),
        last_known_elr: p.last_known_elr.to_vec(),
        adding: p.adding.to_vec(),
        removing: p.removing.to_vec(),
        leader: p.leader,
        leader_epoch: p.leader_epoch,
        partition_epoch: p.partition_epoch,
        recovering: p.recovering,
    }
}

fn partition_from_pb(p: pb::Partition) -> Result<PartitionImage, DecodeError> {
    Ok(PartitionImage {
        replicas: Nodes::from_slice(&p.replicas),
        dirs: dirs_from_bytes::<Dirs>(&p.dirs)?,
        isr: Nodes::from_slice(&p.isr),
        elr: Nodes::from_slice(&p.elr),
        last_known_elr: Nodes::from_slice(&p.last_known_elr),
        adding: Nodes::from_slice(&p.adding),
        removing: Nodes::from_slice(&p.removing),
        leader: p.leader,
        leader_epoch: p.leader_epoch,
        partition_epoch: p.partition_epoch,
        recovering: p.recovering,
    })
}

fn delta_to_pb(topic: Vec<u8>, index: i32, delta: &PartitionDelta) -> pb::PartitionChange {
    let nodes = |nodes: &Option<Nodes>| nodes.as_ref().map(|n| pb::Nodes { ids: n.to_vec() });
    pb::PartitionChange {
        topic,
        index,
        replicas: nodes(&delta.replicas),
        dirs: delta.dirs.as_ref().map(|d| pb::Dirs { ids: dirs_to_bytes(d) }),
        isr: nodes(&delta.isr),
        elr: nodes(&delta.elr),
        last_known_elr: nodes(&delta.last_known_elr),
        adding: nodes(&delta.adding),
        removing: nodes(&delta.removing),
        leader: delta.leader,
        recovering: delta.recovering,
    }
}

fn delta_from_pb(r: pb::PartitionChange) -> Result<Record, DecodeError> {
    let nodes = |nodes: Option<pb::Nodes>| nodes.map(|n| Nodes::from_vec(n.ids));
    let delta = PartitionDelta {
        replicas: nodes(r.replicas),
        dirs: r.dirs.map(|d| dirs_from_bytes(&d.ids)).transpose()?,
        isr: nodes(r.isr),
        elr: nodes(r.elr),
        last_known_elr: nodes(r.last_known_elr),
        adding: nodes(r.adding),
        removing: nodes(r.removing),
        leader: r.leader,
        recovering: r.recovering,
    };
    Ok(Record::PartitionChange { topic: topic_id(&r.topic)?, index: r.index, delta: Box::new(delta) })
}

pub(crate) fn resource_to_pb(resource: &ConfigResource) -> pb::Resource {
    pb::Resource { kind: resource.kind.code().into(), name: resource.name.clone() }
}

pub(crate) fn resource_from_pb(resource: Option<pb::Resource>) -> Result<ConfigResource, DecodeError> {
    let resource = resource.ok_or(DecodeError::Unknown("resource"))?;
    let kind = i8::try_from(resource.kind).ok().and_then(ResourceKind::from_code);
    Ok(ConfigResource { kind: kind.ok_or(DecodeError::Unknown("kind of resource"))?, name: resource.name })
}
