//! Metadata: topics, their partitions and leaders, and the brokers (`KafkaApis.handleTopicMetadataRequest`).
//!
//! Unlike Kafka, a topic that is created by the request is answered as it is then: the controller has decided and
//! this broker has applied it before the answer goes out, so there is no error for the client to retry.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::ids::{NodeId, TopicId};
use millrace_metadata::image::{Image, PartitionImage, TopicImage};
use millrace_metadata::names::is_internal;
use millrace_security::{Operation, OperationSet};
use millrace_wire::kp::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use millrace_wire::kp::messages::{BrokerId, MetadataRequest, MetadataResponse};

use super::convert::{broker_ids, text, topic_id, topic_name, uuid};
use super::{Answer, Cx};
use crate::topics::{Leader, Reachable, missing_topic_error};
use crate::{auto_create, nodes};

/// First version in which topics may be asked for by id (KIP-516).
const TOPIC_IDS: i16 = 12;
/// First version with an error for the whole answer.
const TOP_LEVEL_ERROR: i16 = 13;
/// First and last version with the cluster's authorized operations (KIP-430, KIP-700).
const CLUSTER_OPERATIONS: (i16, i16) = (8, 10);
/// First version that names a missing listener instead of a missing leader.
const LISTENER_NOT_FOUND: i16 = 6;

/// Answers from the image; topics that may be created are created first.
pub fn handle(cx: Cx, request: MetadataRequest) -> impl Future<Output = Answer<MetadataResponse>> + Send + 'static {
    async move {
        if let Some(error) = malformed(&request, cx.version()) {
            return Answer::Send(refuse(&request, cx.version(), error));
        }
        let wanted = Wanted::of(&request, cx.version());
        cx.broker.suspects.settled(&cx.broker.images, |image, node| wanted.is_led_by(image, node)).await;
        let mut topics = Vec::new();
        match &wanted {
            Wanted::All => all(&cx, &mut topics),
            Wanted::Names(names) => {
                let create = request.allow_auto_topic_creation && cx.broker.config.current().topics.auto_create;
                let uncreated = if create { create_missing(&cx, names).await } else { Uncreated::default() };
                by_name(&cx, names, &uncreated, &mut topics);
            }
            Wanted::Ids(ids) => by_id(&cx, ids, &mut topics),
        }
        if request.include_topic_authorized_operations {
            let known = topics.iter_mut().filter(|t| t.error_code != ErrorCode::TopicAuthorizationFailed.code());
            for topic in known {
                if let Some(name) = &topic.name {
                    topic.topic_authorized_operations = cx.topic_operations(name);
                }
            }
        }
        Answer::Send(frame(&cx, &request, topics))
    }
}

enum Wanted {
    All,
    Names(BTreeSet<String>),
    Ids(BTreeSet<TopicId>),
}

impl Wanted {
    fn of(request: &MetadataRequest, version: i16) -> Self {
        let Some(topics) = &request.topics else {
            return Wanted::All;
        };
        if topics.is_empty() && version == 0 {
            return Wanted::All;
        }
        let ids: BTreeSet<TopicId> =
            topics.iter().map(|topic| topic_id(topic.topic_id)).filter(|id| !id.is_zero()).collect();
        if !ids.is_empty() {
            return Wanted::Ids(ids);
        }
        Wanted::Names(topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.to_string()).collect())
    }
}

impl Wanted {
    /// Whether `node` leads a partition of these topics.
    fn is_led_by(&self, image: &Image, node: NodeId) -> bool {
        let leads = |topic: &Arc<TopicImage>| topic.partitions.iter().any(|partition| partition.leader == node);
        match self {
            Wanted::All => image.topics().any(leads),
            Wanted::Names(names) => names.iter().filter_map(|name| image.topic(name)).any(leads),
            Wanted::Ids(ids) => ids.iter().filter_map(|id| image.topic_by_id(id)).any(leads),
        }
    }
}

/// Versions 10 and 11 have ids and nullable names on the wire, but no meaning for them.
fn malformed(request: &MetadataRequest, version: i16) -> Option<ErrorCode> {
    let topics = request.topics.as_ref()?;
    let odd = topics.iter().any(|t| t.name.is_none() || !t.topic_id.is_nil());
    let nothing = topics.iter().any(|t| t.name.is_none() && t.topic_id.is_nil());
    ((odd && version < TOPIC_IDS) || nothing).then_some(ErrorCode::InvalidRequest)
}

fn all(cx: &Cx, topics: &mut Vec<MetadataResponseTopic>) {
    let image = cx.broker.image();
    topics.reserve(image.topic_count());
    for topic in image.topics() {
        if cx.may_topic(Operation::Describe, &topic.name) {
            topics.push(describe(cx, &image, topic));
        }
    }
}

fn by_name(cx: &Cx, names: &BTreeSet<String>, uncreated: &Uncreated, topics: &mut Vec<MetadataResponseTopic>) {
    let image = cx.broker.image();
    for name in names {
        let mut missing = if !cx.may_topic(Operation::Describe, name) {
            failed(Some(name), ErrorCode::TopicAuthorizationFailed)
        } else if uncreated.denied.contains(name) {
            let mut topic = failed(Some(name), ErrorCode::TopicAuthorizationFailed);
            topic.is_internal = is_internal(name);
            topic
        } else if let Some(topic) = image.topic(name) {
            topics.push(describe(cx, &image, topic));
            continue;
        } else {
            let told = uncreated.errors.iter().find(|(failed, _)| failed == name).map(|(_, error)| *error);
            let mut topic = failed(Some(name), told.unwrap_or_else(|| missing_topic_error(name)));
            topic.is_internal = is_internal(name);
            topic
        };
        missing.topic_id = uuid(TopicId::ZERO);
        topics.push(missing);
    }
}

fn by_id(cx: &Cx, ids: &BTreeSet<TopicId>, topics: &mut Vec<MetadataResponseTopic>) {
    let image = cx.broker.image();
    for id in ids {
        let mut topic = match image.topic_by_id(id) {
            None => failed(None, ErrorCode::UnknownTopicId),
            // An id is no secret, the name behind it is.
            Some(topic) if !cx.may_topic(Operation::Describe, &topic.name) => {
                failed(None, ErrorCode::TopicAuthorizationFailed)
            }
            Some(topic) => describe(cx, &image, topic),
        };
        topic.topic_id = uuid(*id);
        topics.push(topic);
    }
}

/// What became of the topics that the request might have created.
#[derive(Default)]
struct Uncreated {
    denied: BTreeSet<String>,
    errors: Vec<(String, ErrorCode)>,
}

async fn create_missing(cx: &Cx, names: &BTreeSet<String>) -> Uncreated {
    let image = cx.broker.image();
    let missing: Vec<&String> = names.iter().filter(|name| image.topic(name).is_none()).collect();
    drop(image);
    if missing.is_empty() {
        return Uncreated::default();
    }
    let everything = cx.may_cluster(Operation::Create);
    let mut uncreated = Uncreated::default();
    let mut wanted = Vec::new();
    for name in missing {
        if !cx.may_topic(Operation::Describe, name) {
            continue;
        }
        if everything || cx.may_topic(Operation::Create, name) {
            wanted.push(name.clone());
        } else {
            uncreated.denied.insert(name.clone());
        }
    }
    uncreated.errors = auto_create::create(&cx.broker, wanted).await;
    uncreated
}

fn describe(cx: &Cx, image: &Image, topic: &TopicImage) -> MetadataResponseTopic {
    let reachable = Reachable::new(image, &cx.conn.listener);
    let mut out = MetadataResponseTopic::default();
    out.name = Some(topic_name(&topic.name));
    out.topic_id = uuid(topic.id);
    out.is_internal = is_internal(&topic.name);
    out.partitions = Vec::with_capacity(topic.partitions.len());
    for (index, partition) in topic.partitions.iter().enumerate() {
        out.partitions.push(describe_partition(cx.version(), &reachable, index as i32, partition));
    }
    out
}

fn describe_partition(
    version: i16,
    reachable: &Reachable<'_>,
    index: i32,
    partition: &PartitionImage,
) -> MetadataResponsePartition {
    let mut out = MetadataResponsePartition::default();
    out.partition_index = index;
    out.leader_epoch = partition.leader_epoch;
    out.offline_replicas = broker_ids(&reachable.offline_replicas(partition));
    // Version 0 leaves unreachable replicas out and says that something is missing.
    let mut hidden = false;
    let mut shown = |nodes| {
        let alive = if version == 0 {
            reachable.alive(nodes)
        } else {
            return broker_ids(nodes);
        };
        hidden |= alive.len() < nodes.len();
        broker_ids(&alive)
    };
    out.replica_nodes = shown(&partition.replicas);
    out.isr_nodes = shown(&partition.isr);
    let (leader, error) = match reachable.leader(partition) {
        Leader::Known(leader) if hidden => (leader, ErrorCode::ReplicaNotAvailable),
        Leader::Known(leader) => (leader, ErrorCode::None),
        Leader::NoListener if version >= LISTENER_NOT_FOUND => (-1, ErrorCode::ListenerNotFound),
        Leader::NoListener | Leader::Missing => (-1, ErrorCode::LeaderNotAvailable),
    };
    out.leader_id = BrokerId(leader);
    out.error_code = error.code();
    out
}

fn failed(name: Option<&str>, error: ErrorCode) -> MetadataResponseTopic {
    let mut topic = MetadataResponseTopic::default();
    topic.name = name.map(topic_name);
    topic.error_code = error.code();
    topic
}

fn frame(cx: &Cx, request: &MetadataRequest, topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
    let image = cx.broker.image();
    let nodes = nodes::live(cx, &image);
    let mut response = MetadataResponse::default();
    // Any live broker takes requests for the controller.
    response.controller_id = BrokerId(nodes.first().map_or(-1, |node| node.id));
    response.cluster_id = Some(text(&cx.broker.cluster_id));
    response.brokers = nodes
        .into_iter()
        .map(|node| {
            let mut broker = MetadataResponseBroker::default();
            broker.node_id = BrokerId(node.id);
            broker.host = node.host.into();
            broker.port = node.port;
            broker.rack = node.rack.map(Into::into);
            broker
        })
        .collect();
    response.topics = topics;
    let (first, last) = CLUSTER_OPERATIONS;
    let told = request.include_cluster_authorized_operations && (first..=last).contains(&cx.version());
    response.cluster_authorized_operations = if told { cx.cluster_operations() } else { OperationSet::NOT_REQUESTED };
    response
}

/// Answers every topic of the request with the error.
pub fn refuse(request: &MetadataRequest, version: i16, error: ErrorCode) -> MetadataResponse {
    let mut response = MetadataResponse::default();
    if version >= TOP_LEVEL_ERROR {
        response.error_code = error.code();
    }
    for topic in request.topics.iter().flatten() {
        let name = topic.name.as_ref().map_or("", |name| name);
        let mut refused = failed(Some(name), error);
        refused.topic_id = topic.topic_id;
        response.topics.push(refused);
    }
    response
}
