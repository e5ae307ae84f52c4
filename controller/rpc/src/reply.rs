//! Replies to protobuf and back.

use millrace_metadata::command::{
    CreatedTopic, DeletedTopic, HeartbeatState, IsrState, PartitionKey, ProducerIdBlock, Registered, TopicResult,
};
use millrace_metadata::record::Nodes;
use millrace_metadata::{ApiError, ErrorCode, Reply, TopicId};

use crate::command::{topic_ref, topic_ref_from_pb};
use crate::ids::topic_id;
use crate::pb::reply::Kind;
use crate::record::{int16, resource_from_pb, resource_to_pb};
use crate::{DecodeError, pb};

/// An error as protobuf.
pub fn error_to_pb(error: &ApiError) -> pb::Error {
    pb::Error { code: error.code.code().into(), message: error.message.clone() }
}

pub fn error_from_pb(error: pb::Error) -> Result<ApiError, DecodeError> {
    let code = i16::try_from(error.code).ok().and_then(ErrorCode::from_code);
    Ok(ApiError { code: code.ok_or(DecodeError::Unknown("error code"))?, message: error.message })
}

fn failure<T>(result: &Result<T, ApiError>) -> Option<pb::Error> {
    result.as_ref().err().map(error_to_pb)
}

/// The value, unless there is an error.
fn outcome<T>(
    error: Option<pb::Error>,
    value: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<Result<T, ApiError>, DecodeError> {
    match error {
        Some(error) => Ok(Err(error_from_pb(error)?)),
        None => Ok(Ok(value()?)),
    }
}

fn unit(error: Option<pb::Error>) -> Result<Result<(), ApiError>, DecodeError> {
    outcome(error, || Ok(()))
}

fn partition_to_pb((topic, partition): &(TopicId, i32)) -> Option<pb::TopicIdPartition> {
    Some(pb::TopicIdPartition { topic: topic.0.to_vec(), partition: *partition })
}

fn partition_from_pb(partition: Option<pb::TopicIdPartition>) -> Result<(TopicId, i32), DecodeError> {
    let partition = partition.ok_or(DecodeError::Unknown("partition"))?;
    Ok((topic_id(&partition.topic)?, partition.partition))
}

fn partition_result((key, result): (&PartitionKey, &Result<(), ApiError>)) -> pb::PartitionResult {
    pb::PartitionResult { topic: key.0.clone(), partition: key.1, error: failure(result) }
}

fn partition_result_from_pb(p: pb::PartitionResult) -> Result<(PartitionKey, Result<(), ApiError>), DecodeError> {
    Ok(((p.topic, p.partition), unit(p.error)?))
}

pub fn reply_to_pb(reply: &Reply) -> pb::Reply {
    let kind = match reply {
        Reply::CreateTopics(topics) => {
            Kind::CreateTopics(pb::CreateTopicsReply { topics: topics.iter().map(created).collect() })
        }
        Reply::DeleteTopics(topics) => {
            let one = |t: &Result<DeletedTopic, _>| match t {
                Ok(t) => pb::DeletedTopic { topic: None, error: None, name: t.name.clone(), id: t.id.0.to_vec() },
                Err((topic, error)) => pb::DeletedTopic {
                    topic: Some(topic_ref(topic)),
                    error: Some(error_to_pb(error)),
                    ..pb::DeletedTopic::default()
                },
            };
            Kind::DeleteTopics(pb::DeleteTopicsReply { topics: topics.iter().map(one).collect() })
        }
        Reply::CreatePartitions(topics) => {
            let one = |t: &TopicResult<String>| match t {
                Ok(name) => pb::NamedOutcome { name: name.clone(), error: None },
                Err((name, error)) => pb::NamedOutcome { name: name.clone(), error: Some(error_to_pb(error)) },
            };
            Kind::CreatePartitions(pb::CreatePartitionsReply { topics: topics.iter().map(one).collect() })
        }
        Reply::AlterConfigs(resources) => {
            let resources = resources.iter().map(|(resource, result)| pb::ResourceOutcome {
                resource: Some(resource_to_pb(resource)),
                error: failure(result),
            });
            Kind::AlterConfigs(pb::AlterConfigsReply { resources: resources.collect() })
        }
        Reply::ElectLeaders(results) => {
            Kind::ElectLeaders(pb::PartitionResults { partitions: results.iter().map(partition_result).collect() })
        }
        Reply::AlterPartitionReassignments(results) => Kind::AlterReassignments(pb::PartitionResults {
            partitions: results.iter().map(|(key, result)| partition_result((key, result))).collect(),
        }),
        Reply::UpdateFeatures(result) => Kind::UpdateFeatures(pb::Outcome { error: failure(result) }),
        Reply::AllocateProducerIds(result) => {
            let (first, len) = result.as_ref().map_or((0, 0), |b| (b.first, b.len));
            Kind::AllocateProducerIds(pb::ProducerIdBlock { error: failure(result), first, len })
        }
        Reply::RegisterBroker(result) => {
            let epoch = result.as_ref().map_or(0, |r| r.epoch);
            Kind::RegisterBroker(pb::Registered { error: failure(result), epoch })
        }
        Reply::BrokerHeartbeat(result) => {
            let state = result.as_ref().ok();
            Kind::Heartbeat(pb::HeartbeatReply {
                error: failure(result),
                caught_up: state.is_some_and(|s| s.caught_up),
                fenced: state.is_some_and(|s| s.fenced),
                should_shutdown: state.is_some_and(|s| s.should_shutdown),
            })
        }
        Reply::UnregisterBroker(result) => Kind::UnregisterBroker(pb::Outcome { error: failure(result) }),
        Reply::FenceBroker(result) => Kind::FenceBroker(pb::Outcome { error: failure(result) }),
        Reply::RegisterController(result) => Kind::RegisterController(pb::Outcome { error: failure(result) }),
        Reply::AlterPartition(result) => Kind::AlterPartition(pb::AlterPartitionReply {
            error: failure(result),
            partitions: result.iter().flatten().map(isr_state).collect(),
        }),
        Reply::AssignReplicasToDirs(result) => {
            let one = |(partition, result): &(_, Result<(), ApiError>)| pb::DirOutcome {
                partition: partition_to_pb(partition),
                error: failure(result),
            };
            Kind::AssignDirs(pb::AssignDirsReply {
                error: failure(result),
                partitions: result.iter().flatten().map(one).collect(),
            })
        }
    };
    pb::Reply { kind: Some(kind) }
}

fn created(topic: &TopicResult<CreatedTopic>) -> pb::CreatedTopic {
    match topic {
        Ok(t) => pb::CreatedTopic {
            name: t.name.clone(),
            error: None,
            id: t.id.0.to_vec(),
            partitions: t.partitions,
            replication_factor: t.replication_factor.into(),
            configs: t.configs.iter().map(|(k, v)| pb::KeyValue { key: k.clone(), value: Some(v.clone()) }).collect(),
        },
        Err((name, error)) => {
            pb::CreatedTopic { name: name.clone(), error: Some(error_to_pb(error)), ..pb::CreatedTopic::default() }
        }
    }
}

fn isr_state((partition, result): &((TopicId, i32), Result<IsrState, ApiError>)) -> pb::IsrState {
    let partition = partition_to_pb(partition);
    match result {
        Ok(s) => pb::IsrState {
            partition,
            error: None,
            leader: s.leader,
            leader_epoch: s.leader_epoch,
            isr: s.isr.to_vec(),
            recovering: s.recovering,
            partition_epoch: s.partition_epoch,
        },
        Err(error) => pb::IsrState { partition, error: Some(error_to_pb(error)), ..pb::IsrState::default() },
    }
}

pub fn reply_from_pb(reply: pb::Reply) -> Result<Reply, DecodeError> {
    Ok(match reply.kind.ok_or(DecodeError::Unknown("kind of reply"))? {
        Kind::CreateTopics(r) => Reply::CreateTopics(try_map(r.topics, created_from_pb)?),
        Kind::DeleteTopics(r) => Reply::DeleteTopics(try_map(r.topics, deleted_from_pb)?),
        Kind::CreatePartitions(r) => Reply::CreatePartitions(try_map(r.topics, |t| {
            Ok(match unit(t.error)? {
                Ok(()) => Ok(t.name),
                Err(error) => Err((t.name, error)),
            })
        })?),
        Kind::AlterConfigs(r) => {
            Reply::AlterConfigs(try_map(r.resources, |o| Ok((resource_from_pb(o.resource)?, unit(o.error)?)))?)
        }
        Kind::ElectLeaders(r) => {
            Reply::ElectLeaders(r.partitions.into_iter().map(partition_result_from_pb).collect::<Result<_, _>>()?)
        }
        Kind::AlterReassignments(r) => {
            Reply::AlterPartitionReassignments(try_map(r.partitions, partition_result_from_pb)?)
        }
        Kind::UpdateFeatures(r) => Reply::UpdateFeatures(unit(r.error)?),
        Kind::AllocateProducerIds(r) => {
            Reply::AllocateProducerIds(outcome(r.error, || Ok(ProducerIdBlock { first: r.first, len: r.len }))?)
        }
        Kind::RegisterBroker(r) => Reply::RegisterBroker(outcome(r.error, || Ok(Registered { epoch: r.epoch }))?),
        Kind::Heartbeat(r) => Reply::BrokerHeartbeat(outcome(r.error, || {
            Ok(HeartbeatState { caught_up: r.caught_up, fenced: r.fenced, should_shutdown: r.should_shutdown })
        })?),
        Kind::UnregisterBroker(r) => Reply::UnregisterBroker(unit(r.error)?),
        Kind::FenceBroker(r) => Reply::FenceBroker(unit(r.error)?),
        Kind::RegisterController(r) => Reply::RegisterController(unit(r.error)?),
        Kind::AlterPartition(r) => {
            Reply::AlterPartition(outcome(r.error, || try_map(r.partitions, isr_state_from_pb))?)
        }
        Kind::AssignDirs(r) => Reply::AssignReplicasToDirs(outcome(r.error, || {
            try_map(r.partitions, |p| Ok((partition_from_pb(p.partition)?, unit(p.error)?)))
        })?),
    })
}

fn try_map<T, U>(items: Vec<T>, each: impl FnMut(T) -> Result<U, DecodeError>) -> Result<Vec<U>, DecodeError> {
    items.into_iter().map(each).collect()
}

fn created_from_pb(t: pb::CreatedTopic) -> Result<TopicResult<CreatedTopic>, DecodeError> {
    if let Some(error) = t.error {
        return Ok(Err((t.name, error_from_pb(error)?)));
    }
    Ok(Ok(CreatedTopic {
        name: t.name,
        id: topic_id(&t.id)?,
        partitions: t.partitions,
        replication_factor: int16(t.replication_factor, "replication factor")?,
        configs: t.configs.into_iter().map(|c| (c.key, c.value.unwrap_or_default())).collect(),
    }))
}

fn deleted_from_pb(
    t: pb::DeletedTopic,
) -> Result<Result<DeletedTopic, (millrace_metadata::command::TopicRef, ApiError)>, DecodeError> {
    match t.error {
        Some(error) => {
            let topic = topic_ref_from_pb(t.topic.ok_or(DecodeError::Unknown("topic"))?)?;
            Ok(Err((topic, error_from_pb(error)?)))
        }
        None => Ok(Ok(DeletedTopic { name: t.name, id: topic_id(&t.id)? })),
    }
}

type IsrOutcome = ((TopicId, i32), Result<IsrState, ApiError>);

fn isr_state_from_pb(s: pb::IsrState) -> Result<IsrOutcome, DecodeError> {
    let partition = partition_from_pb(s.partition)?;
    let state = outcome(s.error, || {
        Ok(IsrState {
            leader: s.leader,
            leader_epoch: s.leader_epoch,
            isr: Nodes::from_vec(s.isr),
            recovering: s.recovering,
            partition_epoch: s.partition_epoch,
        })
    })?;
    Ok((partition, state))
}
