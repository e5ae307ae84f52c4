//! DeleteRecords (KIP-107; `ReplicaManager.deleteRecords`): moves log starts up.

use std::collections::BTreeMap;
use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_metadata::names::is_internal;
use millrace_security::Operation;
use millrace_wire::kp::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use millrace_wire::kp::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::codes;
use super::convert::topic_name;
use super::{Answer, Cx};

/// Deletes, one partition after the other.
pub fn handle(
    cx: Cx,
    request: DeleteRecordsRequest,
) -> impl Future<Output = Answer<DeleteRecordsResponse>> + Send + 'static {
    async move {
        let image = cx.broker.image();
        let mut response = DeleteRecordsResponse::default();
        for (name, partitions) in distinct(&request) {
            let mut out = DeleteRecordsTopicResult::default();
            out.name = topic_name(name);
            let allowed = cx.may_topic(Operation::Delete, name);
            for (index, offset) in partitions {
                let done = match allowed {
                    true => delete(&cx, &image, name, (index, offset)).await,
                    false => Err(ErrorCode::TopicAuthorizationFailed),
                };
                out.partitions.push(result(index, done));
            }
            response.topics.push(out);
        }
        Answer::Send(response)
    }
}

/// Each partition once, with the offset that is named last for it. A topic without partitions is not answered, as in
/// Kafka.
fn distinct(request: &DeleteRecordsRequest) -> BTreeMap<&str, BTreeMap<i32, i64>> {
    let mut topics: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions = topics.entry(&topic.name).or_default();
        partitions.extend(topic.partitions.iter().map(|p| (p.partition_index, p.offset)));
    }
    topics
}

/// Returns the new low watermark.
async fn delete(cx: &Cx, image: &Image, topic: &str, (index, offset): (i32, i64)) -> Result<i64, ErrorCode> {
    image.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = cx.broker.replicas.partition(topic, index).map_err(|error| codes::lookup(&error))?;
    partition.delete_records(offset).await.map_err(|error| codes::delete_records(&error))
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
pub fn refuse(request: &DeleteRecordsRequest, _version: i16, error: ErrorCode) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in &request.topics {
        let mut out = DeleteRecordsTopicResult::default();
        out.name = topic.name.clone();
        out.partitions = topic.partitions.iter().map(|p| result(p.partition_index, Err(error))).collect();
        response.topics.push(out);
    }
    response
}
