//! DescribeTopicPartitions (KIP-966): topics page by page, with eligible leader replicas
//! (`DescribeTopicPartitionsRequestHandler`).

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::ops::Bound;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::{Image, PartitionImage, TopicImage};
use millrace_metadata::names::is_internal;
use millrace_security::Operation;
use millrace_wire::kp::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use millrace_wire::kp::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::convert::{broker_ids, topic_name, uuid};
use super::{Answer, Cx};
use crate::topics::{Leader, Reachable, missing_topic_error};

/// Answers one page; the cursor says where the next begins.
pub fn handle(
    cx: Cx,
    request: DescribeTopicPartitionsRequest,
) -> impl Future<Output = Answer<DescribeTopicPartitionsResponse>> + Send + 'static {
    ready(Answer::Send(match start(&request) {
        Ok(start) => page(&cx, &request, start),
        Err(error) => refuse(&request, cx.version(), error),
    }))
}

/// Where the page begins: the first name, and the first partition if that very topic exists.
struct Start<'a> {
    topic: &'a str,
    partition: i32,
}

fn start(request: &DescribeTopicPartitionsRequest) -> Result<Start<'_>, ErrorCode> {
    let Some(cursor) = &request.cursor else {
        return Ok(Start { topic: "", partition: 0 });
    };
    let listed = request.topics.is_empty() || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
    if !listed || cursor.partition_index < 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(Start { topic: &cursor.topic_name, partition: cursor.partition_index })
}

fn page(cx: &Cx, request: &DescribeTopicPartitionsRequest, start: Start<'_>) -> DescribeTopicPartitionsResponse {
    let image = cx.broker.image();
    let limit = request.response_partition_limit.min(cx.broker.config.current().request_partition_limit).max(1);
    let mut page =
        Page { cx, image: &image, room: limit as usize, response: DescribeTopicPartitionsResponse::default() };
    let first = |name: &str| {
        if name == start.topic { start.partition } else { 0 }
    };
    let mut denied = Vec::new();
    if request.topics.is_empty() {
        for topic in image.topics_from(start.topic) {
            if cx.may_topic(Operation::Describe, &topic.name) && !page.topic(topic, first(&topic.name)) {
                break;
            }
        }
    } else {
        let names: BTreeSet<&str> = request.topics.iter().map(|topic| &**topic.name).collect();
        let mut full = false;
        for name in names.range::<str, _>((Bound::Included(start.topic), Bound::Unbounded)) {
            if !cx.may_topic(Operation::Describe, name) {
                denied.push(failed(name, ErrorCode::TopicAuthorizationFailed));
            } else if !full {
                full = !match image.topic(name) {
                    Some(topic) => page.topic(topic, first(name)),
                    None => page.missing(name),
                };
            }
        }
    }
    let mut response = page.response;
    for topic in &mut response.topics {
        if let Some(name) = &topic.name {
            topic.topic_authorized_operations = cx.topic_operations(name);
        }
    }
    response.topics.append(&mut denied);
    response
}

/// A page that fills up. Its methods say whether more may follow.
struct Page<'a> {
    cx: &'a Cx,
    image: &'a Image,
    room: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page<'_> {
    fn topic(&mut self, topic: &TopicImage, first: i32) -> bool {
        if self.room == 0 {
            return self.stop(&topic.name, 0);
        }
        let reachable = Reachable::new(self.image, &self.cx.conn.listener);
        let mut out = DescribeTopicPartitionsResponseTopic::default();
        out.name = Some(topic_name(&topic.name));
        out.topic_id = uuid(topic.id);
        out.is_internal = is_internal(&topic.name);
        let first = (first.max(0) as usize).min(topic.partitions.len());
        let last = topic.partitions.len().min(first + self.room);
        for (at, partition) in topic.partitions[first..last].iter().enumerate() {
            out.partitions.push(describe(&reachable, (first + at) as i32, partition));
        }
        self.room -= last - first;
        self.response.topics.push(out);
        last == topic.partitions.len() || self.stop(&topic.name, last as i32)
    }

    fn missing(&mut self, name: &str) -> bool {
        if self.room == 0 {
            return self.stop(name, 0);
        }
        let mut out = failed(name, missing_topic_error(name));
        out.is_internal = is_internal(name);
        self.response.topics.push(out);
        true
    }

    fn stop(&mut self, topic: &str, partition: i32) -> bool {
        let mut cursor = Cursor::default();
        cursor.topic_name = topic_name(topic);
        cursor.partition_index = partition;
        self.response.next_cursor = Some(cursor);
        false
    }
}

fn describe(
    reachable: &Reachable<'_>,
    index: i32,
    partition: &PartitionImage,
) -> DescribeTopicPartitionsResponsePartition {
    let mut out = DescribeTopicPartitionsResponsePartition::default();
    out.partition_index = index;
    out.leader_id = BrokerId(match reachable.leader(partition) {
        Leader::Known(leader) => leader,
        Leader::Missing | Leader::NoListener => -1,
    });
    out.leader_epoch = partition.leader_epoch;
    out.replica_nodes = broker_ids(&partition.replicas);
    out.isr_nodes = broker_ids(&partition.isr);
    out.offline_replicas = broker_ids(&reachable.offline_replicas(partition));
    out.eligible_leader_replicas = Some(broker_ids(&partition.elr));
    out.last_known_elr = Some(broker_ids(&partition.last_known_elr));
    out
}

fn failed(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    let mut topic = DescribeTopicPartitionsResponseTopic::default();
    topic.name = Some(topic_name(name));
    topic.error_code = error.code();
    topic
}

/// Answers every topic of the request with the error.
pub fn refuse(
    request: &DescribeTopicPartitionsRequest,
    _version: i16,
    error: ErrorCode,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    response.topics = request.topics.iter().map(|topic| failed(&topic.name, error)).collect();
    response
}
