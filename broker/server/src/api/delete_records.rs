//! DeleteRecords (KIP-107; `ReplicaManager.deleteRecords`): moves log starts up.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_metadata::names::is_internal;
use millrace_replica::Partition;
use millrace_security::Operation;
use millrace_wire::kp::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use millrace_wire::kp::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::codes;
use super::convert::topic_name;
use super::{Answer, Cx};

/// Moves the log starts of all partitions, then waits until their live replicas have followed
/// (`DelayedDeleteRecords.scala`), at the most for the time that the request gives.
pub fn handle(
    cx: Cx,
    request: DeleteRecordsRequest,
) -> impl Future<Output = Answer<DeleteRecordsResponse>> + Send + 'static {
    async move {
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let image = cx.broker.image();
        let mut begun = Vec::new();
        for (name, partitions) in distinct(&request) {
            let allowed = cx.may_topic(Operation::Delete, name);
            let mut trimmed = Vec::with_capacity(partitions.len());
            for (index, offset) in partitions {
                let done = match allowed {
                    true => trim(&cx, &image, name, (index, offset)).await,
                    false => Err(ErrorCode::TopicAuthorizationFailed),
                };
                trimmed.push((index, done));
            }
            begun.push((name, trimmed));
        }
        let mut response = DeleteRecordsResponse::default();
        for (name, trimmed) in begun {
            let mut out = DeleteRecordsTopicResult::default();
            out.name = topic_name(name);
            for (index, done) in trimmed {
                out.partitions.push(match done {
                    Ok((partition, start)) => followed(index, &partition, start, deadline).await,
                    Err(error) => result(index, Err(error), -1),
                });
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

/// Returns the partition and its new log start.
async fn trim(
    cx: &Cx,
    image: &Image,
    topic: &str,
    (index, offset): (i32, i64),
) -> Result<(Arc<Partition>, i64), ErrorCode> {
    image.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = cx.broker.replicas.partition(topic, index).map_err(|error| codes::lookup(&error))?;
    let start = partition.delete_records(offset).await.map_err(|error| codes::delete_records(&error))?;
    Ok((partition, start))
}

/// Waits until the live replicas have followed.
async fn followed(index: i32, partition: &Partition, start: i64, deadline: Instant) -> DeleteRecordsPartitionResult {
    let done = partition.trimmed_everywhere(start, deadline.saturating_duration_since(Instant::now())).await;
    result(index, done.map_err(|error| codes::commit(&error)), partition.low_watermark())
}

fn result(index: i32, done: Result<(), ErrorCode>, low_watermark: i64) -> DeleteRecordsPartitionResult {
    let mut out = DeleteRecordsPartitionResult::default();
    out.partition_index = index;
    out.low_watermark = low_watermark;
    out.error_code = done.err().map_or(0, |error| error.code());
    out
}

/// Answers every partition of the request with the error.
pub fn refuse(request: &DeleteRecordsRequest, _version: i16, error: ErrorCode) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in &request.topics {
        let mut out = DeleteRecordsTopicResult::default();
        out.name = topic.name.clone();
        out.partitions = topic.partitions.iter().map(|p| result(p.partition_index, Err(error), -1)).collect();
        response.topics.push(out);
    }
    response
}
