//! DeleteRecords (KIP-107; `ReplicaManager.deleteRecords`): moves log starts up.

use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_metadata::names::is_internal;
use millrace_security::Operation;
use millrace_wire::kp::messages::delete_records_request::DeleteRecordsPartition;
use millrace_wire::kp::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use millrace_wire::kp::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::codes;
use super::{Answer, Cx};

/// Deletes, one partition after the other.
pub fn handle(
    cx: Cx,
    request: DeleteRecordsRequest,
) -> impl Future<Output = Answer<DeleteRecordsResponse>> + Send + 'static {
    async move {
        let image = cx.broker.image();
        let mut response = DeleteRecordsResponse::default();
        for topic in &request.topics {
            let mut out = DeleteRecordsTopicResult::default();
            out.name = topic.name.clone();
            let allowed = cx.may_topic(Operation::Delete, &topic.name);
            for asked in &topic.partitions {
                let done = match allowed {
                    true => delete(&cx, &image, &topic.name, asked).await,
                    false => Err(ErrorCode::TopicAuthorizationFailed),
                };
                out.partitions.push(result(asked.partition_index, done));
            }
            response.topics.push(out);
        }
        Answer::Send(response)
    }
}

/// Returns the new low watermark.
async fn delete(
    cx: &Cx,
    image: &Image,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<i64, ErrorCode> {
    let index = asked.partition_index;
    image
        .partition(topic, index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = cx
        .broker
        .replicas
        .partition(topic, index)
        .map_err(|error| codes::lookup(&error))?;
    partition
        .delete_records(asked.offset)
        .await
        .map_err(|error| codes::delete_records(&error))
}

fn result(index: i32, done: Result<i64, ErrorCode>) -> DeleteRecordsPartitionResult {
    let mut out = DeleteRecordsPartitionResult::default();
    out.partition_index = index;
    match done {
        Ok(low_watermark) => out.low_watermark = low_watermark,
        Err(error) => (out.low_watermark, out.error_code) = (-1, error.code()),
    }
    out
}

/// Answers every partition of the request with the error.
pub fn refuse(
    request: &DeleteRecordsRequest,
    _version: i16,
    error: ErrorCode,
) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in &request.topics {
        let mut out = DeleteRecordsTopicResult::default();
        out.name = topic.name.clone();
        out.partitions = topic
            .partitions
            .iter()
            .map(|p| result(p.partition_index, Err(error)))
            .collect();
        response.topics.push(out);
    }
    response
}
