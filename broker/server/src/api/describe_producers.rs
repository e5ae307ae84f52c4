//! DescribeProducers (KIP-664; `Partition.activeProducerState`): who writes to a partition.

use std::future::Future;

use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_metadata::image::Image;
use millrace_metadata::names::validate_topic_name;
use millrace_replica::ProducerInfo;
use millrace_security::Operation;
use millrace_wire::kp::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use millrace_wire::kp::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::codes;
use super::convert::message_field;
use super::{Answer, Cx};

/// Lists the producers, one partition after the other.
pub fn handle(
    cx: Cx,
    request: DescribeProducersRequest,
) -> impl Future<Output = Answer<DescribeProducersResponse>> + Send + 'static {
    async move {
        let image = cx.broker.image();
        let mut response = DescribeProducersResponse::default();
        for topic in &request.topics {
            let mut out = TopicResponse::default();
            out.name = topic.name.clone();
            let refused = refused(&cx, &image, &topic.name);
            for index in &topic.partition_indexes {
                out.partitions.push(match &refused {
                    Some(error) => failed(*index, error),
                    None => match list(&cx, &image, &topic.name, *index).await {
                        Ok(producers) => found(*index, &producers),
                        Err(error) => failed(*index, &ApiError::new(error, "")),
                    },
                });
            }
            response.topics.push(out);
        }
        Answer::Send(response)
    }
}

fn refused(cx: &Cx, image: &Image, topic: &str) -> Option<ApiError> {
    if let Err(error) = validate_topic_name(topic) {
        return Some(error);
    }
    if !cx.may_topic(Operation::Read, topic) {
        return Some(ErrorCode::TopicAuthorizationFailed.into());
    }
    image.topic(topic).is_none().then(|| ErrorCode::UnknownTopicOrPartition.into())
}

async fn list(cx: &Cx, image: &Image, topic: &str, index: i32) -> Result<Vec<ProducerInfo>, ErrorCode> {
    image.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = cx.broker.replicas.partition(topic, index).map_err(|error| codes::lookup(&error))?;
    partition.producers().await.map_err(|error| codes::read(&error))
}

fn found(index: i32, producers: &[ProducerInfo]) -> PartitionResponse {
    let mut out = PartitionResponse::default();
    out.partition_index = index;
    out.active_producers = producers
        .iter()
        .map(|producer| {
            let mut state = ProducerState::default();
            state.producer_id = ProducerId(producer.id);
            state.producer_epoch = i32::from(producer.epoch);
            state.last_sequence = producer.last_sequence;
            state.last_timestamp = producer.last_timestamp;
            state.coordinator_epoch = producer.coordinator_epoch;
            state.current_txn_start_offset = producer.txn_start_offset;
            state
        })
        .collect();
    out
}

fn failed(index: i32, error: &ApiError) -> PartitionResponse {
    let mut out = PartitionResponse::default();
    out.partition_index = index;
    out.error_code = error.code.code();
    out.error_message = message_field(error);
    out
}

/// Answers every partition of the request with the error.
pub fn refuse(request: &DescribeProducersRequest, _version: i16, error: ErrorCode) -> DescribeProducersResponse {
    let error = ApiError::new(error, "");
    let mut response = DescribeProducersResponse::default();
    for topic in &request.topics {
        let mut out = TopicResponse::default();
        out.name = topic.name.clone();
        out.partitions = topic.partition_indexes.iter().map(|index| failed(*index, &error)).collect();
        response.topics.push(out);
    }
    response
}
