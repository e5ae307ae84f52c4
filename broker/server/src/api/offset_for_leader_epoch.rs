//! OffsetForLeaderEpoch (KIP-101, KIP-320; `ReplicaManager.lastOffsetForLeaderEpoch`): where an epoch ends, so that
//! the asker finds out whether its own log was truncated.

use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_security::Operation;
use millrace_wire::kp::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use millrace_wire::kp::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use millrace_wire::kp::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::codes;
use super::{Answer, Cx};

/// Looks the ends up, one partition after the other.
pub fn handle(
    cx: Cx,
    request: OffsetForLeaderEpochRequest,
) -> impl Future<Output = Answer<OffsetForLeaderEpochResponse>> + Send + 'static {
    async move {
        let image = cx.broker.image();
        let everything = cx.may_cluster(Operation::ClusterAction);
        let mut response = OffsetForLeaderEpochResponse::default();
        for topic in &request.topics {
            let mut out = OffsetForLeaderTopicResult::default();
            out.topic = topic.topic.clone();
            let allowed = everything || cx.may_topic(Operation::Describe, &topic.topic);
            for asked in &topic.partitions {
                let found = match allowed {
                    true => find(&cx, &image, &topic.topic, asked).await,
                    false => Err(ErrorCode::TopicAuthorizationFailed),
                };
                out.partitions.push(result(asked.partition, found));
            }
            response.topics.push(out);
        }
        Answer::Send(response)
    }
}

/// Epoch and end offset, −1 each when the epoch is not known.
async fn find(cx: &Cx, image: &Image, topic: &str, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    image.partition(topic, asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = cx.broker.replicas.partition(topic, asked.partition).map_err(|error| codes::lookup(&error))?;
    let end = partition.end_offset_for_epoch(asked.current_leader_epoch, asked.leader_epoch).await;
    end.map(|end| (end.epoch, end.end)).map_err(|error| codes::read(&error))
}

fn result(index: i32, found: Result<(i32, i64), ErrorCode>) -> EpochEndOffset {
    let mut out = EpochEndOffset::default();
    out.partition = index;
    match found {
        Ok((epoch, end_offset)) => (out.leader_epoch, out.end_offset) = (epoch, end_offset),
        Err(error) => out.error_code = error.code(),
    }
    out
}

/// Answers every partition of the request with the error.
pub fn refuse(request: &OffsetForLeaderEpochRequest, _version: i16, error: ErrorCode) -> OffsetForLeaderEpochResponse {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in &request.topics {
        let mut out = OffsetForLeaderTopicResult::default();
        out.topic = topic.topic.clone();
        out.partitions = topic.partitions.iter().map(|p| result(p.partition, Err(error))).collect();
        response.topics.push(out);
    }
    response
}
