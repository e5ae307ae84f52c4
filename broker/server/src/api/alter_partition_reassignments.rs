//! AlterPartitionReassignments (KIP-455; `ReplicationControlManager.alterPartitionReassignments`).

use std::future::Future;

use millrace_metadata::command::{Command, PartitionKey, Reassignment, Reply};
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_wire::kp::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use millrace_wire::kp::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use millrace_wire::kp::protocol::StrBytes;

use super::convert::error_fields;
use super::{Answer, Cx};

/// First version that echoes whether the replication factor may change.
const ALLOW_RF_CHANGE: i16 = 1;

/// Starts, changes or cancels reassignments; every partition has its own result.
pub fn handle(
    cx: Cx,
    request: AlterPartitionReassignmentsRequest,
) -> impl Future<Output = Answer<AlterPartitionReassignmentsResponse>> + Send + 'static {
    async move {
        let version = cx.version();
        if request.topics.is_empty() {
            // The controller is not even asked; the message then is empty rather than missing, as in Kafka.
            let mut response = response(&request, version, &[]);
            response.error_message = Some(StrBytes::default());
            return Answer::Send(response);
        }
        let allow_rf_change = request.allow_replication_factor_change;
        let command = Command::AlterPartitionReassignments { partitions: wishes(&request), allow_rf_change };
        Answer::Send(match cx.broker.submit_within(command, request.timeout_ms).await {
            Ok(Reply::AlterPartitionReassignments(results)) => response(&request, version, &results),
            Ok(_) => refuse(&request, version, ErrorCode::UnknownServerError),
            Err(error) => refuse(&request, version, error.code),
        })
    }
}

fn wishes(request: &AlterPartitionReassignmentsRequest) -> Vec<Reassignment> {
    let mut wishes = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            wishes.push(Reassignment {
                topic: topic.name.to_string(),
                partition: partition.partition_index,
                replicas: partition.replicas.as_ref().map(|nodes| nodes.iter().map(|id| id.0).collect()),
            });
        }
    }
    wishes
}

/// The results stand in the order of the request.
fn response(
    request: &AlterPartitionReassignmentsRequest,
    version: i16,
    results: &[(PartitionKey, Result<(), ApiError>)],
) -> AlterPartitionReassignmentsResponse {
    let mut response = AlterPartitionReassignmentsResponse::default();
    response.error_message = None;
    response.allow_replication_factor_change = version < ALLOW_RF_CHANGE || request.allow_replication_factor_change;
    let mut results = results.iter();
    for topic in &request.topics {
        let mut out = ReassignableTopicResponse::default();
        out.name = topic.name.clone();
        for wish in &topic.partitions {
            let result = results.next().map_or(&Ok(()), |(_, result)| result);
            out.partitions.push(partition(wish.partition_index, result));
        }
        response.responses.push(out);
    }
    response
}

fn partition(index: i32, result: &Result<(), ApiError>) -> ReassignablePartitionResponse {
    let mut out = ReassignablePartitionResponse::default();
    out.partition_index = index;
    (out.error_code, out.error_message) = error_fields(result);
    out
}

/// Answers the whole and every partition of the request with the error.
pub fn refuse(
    request: &AlterPartitionReassignmentsRequest,
    _version: i16,
    error: ErrorCode,
) -> AlterPartitionReassignmentsResponse {
    let failed = Err(ApiError::new(error, ""));
    let mut response = AlterPartitionReassignmentsResponse::default();
    response.error_code = error.code();
    response.error_message = None;
    for topic in &request.topics {
        let mut out = ReassignableTopicResponse::default();
        out.name = topic.name.clone();
        out.partitions = topic.partitions.iter().map(|p| partition(p.partition_index, &failed)).collect();
        response.responses.push(out);
    }
    response
}
