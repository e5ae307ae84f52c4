//! OffsetDelete (KIP-496; `KafkaApis.handleOffsetDeleteRequest`).

use std::future::Future;

use futures::future::{Either, ready};
use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_security::Operation;
use millrace_wire::kp::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use millrace_wire::kp::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};
use millrace_wire::kp::protocol::StrBytes;

use super::{Answer, Cx};

/// Deletes at once; the answer waits until it is stored.
pub fn handle(
    cx: Cx,
    request: OffsetDeleteRequest,
) -> impl Future<Output = Answer<OffsetDeleteResponse>> + Send + 'static {
    if !cx.may_group(Operation::Delete, &request.group_id) {
        let refused = refuse(&request, cx.version(), ErrorCode::GroupAuthorizationFailed);
        return Either::Left(ready(Answer::Send(refused)));
    }
    let (mut topics, deletions) = split(&cx, &cx.broker.image(), &request);
    let deleted = cx.broker.groups.delete_offsets(&request.group_id, deletions);
    Either::Right(async move {
        Answer::Send(match deleted.await {
            Ok(results) => {
                for result in results {
                    let name = TopicName(StrBytes::from_string(result.name));
                    for (index, error) in result.partitions {
                        add(&mut topics, &name, index, error);
                    }
                }
                OffsetDeleteResponse::default().with_topics(topics)
            }
            Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
        })
    })
}

/// Answers with the error.
pub fn refuse(_request: &OffsetDeleteRequest, _version: i16, error: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse::default().with_error_code(error.code())
}

type Deletions = Vec<(String, Vec<i32>)>;

/// What cannot be deleted, as it is answered, and what can.
fn split(cx: &Cx, image: &Image, request: &OffsetDeleteRequest) -> (Vec<OffsetDeleteResponseTopic>, Deletions) {
    let mut refused = Vec::new();
    let mut deletions = Vec::new();
    for topic in &request.topics {
        let allowed = cx.may_topic(Operation::Read, &topic.name);
        let known = image.topic(&topic.name);
        let mut indexes = Vec::new();
        for index in topic.partitions.iter().map(|partition| partition.partition_index) {
            match known {
                _ if !allowed => add(&mut refused, &topic.name, index, ErrorCode::TopicAuthorizationFailed),
                Some(known) if known.partition(index).is_some() => indexes.push(index),
                Some(_) | None => add(&mut refused, &topic.name, index, ErrorCode::UnknownTopicOrPartition),
            }
        }
        if !indexes.is_empty() {
            deletions.push((topic.name.to_string(), indexes));
        }
    }
    (refused, deletions)
}

/// Adds a partition to its topic, which is among the last ones if it is there.
fn add(topics: &mut Vec<OffsetDeleteResponseTopic>, name: &TopicName, index: i32, error: ErrorCode) {
    let partition = OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(error.code());
    match topics.iter_mut().rev().find(|topic| topic.name == *name) {
        Some(topic) => topic.partitions.push(partition),
        None => {
            let topic = OffsetDeleteResponseTopic::default().with_name(name.clone()).with_partitions(vec![partition]);
            topics.push(topic);
        }
    }
}
