//! ElectLeaders (KIP-183, KIP-460; `ReplicationControlManager.electLeaders`).

use std::collections::BTreeMap;
use std::future::Future;

use millrace_metadata::command::{Command, PartitionKey, Reply};
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_wire::kp::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use millrace_wire::kp::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::convert::{message_field, topic_name};
use super::{Answer, Cx};

/// Election types; version 0 knows only the first.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
/// First version with an error code for the whole answer.
const TOP_LEVEL_ERROR: i16 = 1;

/// Asks the controller for elections; every partition has its own result.
pub fn handle(
    cx: Cx,
    request: ElectLeadersRequest,
) -> impl Future<Output = Answer<ElectLeadersResponse>> + Send + 'static {
    async move {
        let version = cx.version();
        if !matches!(request.election_type, PREFERRED | UNCLEAN) {
            let message = format!("There is no election type {}", request.election_type);
            let error = ApiError::new(ErrorCode::InvalidRequest, message);
            return Answer::Send(refuse_with(&request, version, error));
        }
        let partitions = request
            .topic_partitions
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (topic.topic.to_string(), topic.partitions.clone())).collect());
        let unclean = request.election_type == UNCLEAN;
        let reply = cx.broker.submit_within(Command::ElectLeaders { unclean, partitions }, request.timeout_ms).await;
        Answer::Send(match reply {
            Ok(Reply::ElectLeaders(results)) => response(&cx, &request, &results),
            Ok(_) => refuse(&request, version, ErrorCode::UnknownServerError),
            Err(error) => refuse(&request, version, error.code),
        })
    }
}

fn response(
    cx: &Cx,
    request: &ElectLeadersRequest,
    results: &BTreeMap<PartitionKey, Result<(), ApiError>>,
) -> ElectLeadersResponse {
    let mut response = ElectLeadersResponse::default();
    match &request.topic_partitions {
        Some(topics) => {
            for topic in topics {
                let mut out = ReplicaElectionResult::default();
                out.topic = topic.topic.clone();
                for index in &topic.partitions {
                    let found = results.get(&(topic.topic.to_string(), *index));
                    out.partition_result.push(partition(*index, found.unwrap_or(&Ok(()))));
                }
                response.replica_election_results.push(out);
            }
        }
        // Every topic is named, also one without a partition that needed an election.
        None => {
            for topic in cx.broker.image().topics() {
                let mut out = ReplicaElectionResult::default();
                out.topic = topic_name(&topic.name);
                let first = (topic.name.to_string(), i32::MIN);
                let of_topic = results.range(first..).take_while(|((name, _), _)| **name == *topic.name);
                out.partition_result = of_topic.map(|((_, index), result)| partition(*index, result)).collect();
                response.replica_election_results.push(out);
            }
        }
    }
    response
}

fn partition(index: i32, result: &Result<(), ApiError>) -> PartitionResult {
    let mut out = PartitionResult::default();
    out.partition_id = index;
    // The message is told even when it is the code's own, as in Kafka.
    (out.error_code, out.error_message) = match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => (error.code.code(), message_field(error)),
    };
    out
}

/// Answers every partition of the request with the error, and the whole too where the version can say it.
pub fn refuse(request: &ElectLeadersRequest, version: i16, error: ErrorCode) -> ElectLeadersResponse {
    refuse_with(request, version, ApiError::new(error, ""))
}

fn refuse_with(request: &ElectLeadersRequest, version: i16, error: ApiError) -> ElectLeadersResponse {
    let mut response = ElectLeadersResponse::default();
    if version >= TOP_LEVEL_ERROR {
        response.error_code = error.code.code();
    }
    let failed = Err(error);
    for topic in request.topic_partitions.iter().flatten() {
        let mut out = ReplicaElectionResult::default();
        out.topic = topic.topic.clone();
        out.partition_result = topic.partitions.iter().map(|index| partition(*index, &failed)).collect();
        response.replica_election_results.push(out);
    }
    response
}
