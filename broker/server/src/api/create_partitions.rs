//! CreatePartitions (`ControllerApis.createPartitions`, `ReplicationControlManager.createPartitions`).

use std::collections::HashSet;
use std::future::Future;

use millrace_metadata::command::{Command, MorePartitions, Reply};
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_security::Operation;
use millrace_wire::kp::messages::create_partitions_request::CreatePartitionsTopic;
use millrace_wire::kp::messages::create_partitions_response::CreatePartitionsTopicResult;
use millrace_wire::kp::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::convert::{specific_message, topic_name};
use super::{Answer, Cx};

/// Adds partitions; every topic has its own result.
pub fn handle(
    cx: Cx,
    request: CreatePartitionsRequest,
) -> impl Future<Output = Answer<CreatePartitionsResponse>> + Send + 'static {
    async move {
        let (mut results, wanted) = sort_out(&cx, &request);
        if !wanted.is_empty() {
            let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
            let command = Command::CreatePartitions { topics: wanted, validate_only: request.validate_only };
            let done = ApiError::new(ErrorCode::None, "");
            let fail_all = |error: ApiError| names.iter().map(|name| result(name, &error)).collect::<Vec<_>>();
            results.extend(match cx.broker.submit_within(command, request.timeout_ms).await {
                Ok(Reply::CreatePartitions(replies)) => replies
                    .into_iter()
                    .map(|reply| match reply {
                        Ok(name) => result(&name, &done),
                        Err((name, error)) => result(&name, &error),
                    })
                    .collect(),
                Ok(_) => fail_all(ErrorCode::UnknownServerError.into()),
                Err(error) => fail_all(error),
            });
        }
        let mut response = CreatePartitionsResponse::default();
        response.results = results;
        Answer::Send(response)
    }
}

fn sort_out(cx: &Cx, request: &CreatePartitionsRequest) -> (Vec<CreatePartitionsTopicResult>, Vec<MorePartitions>) {
    let mut seen = HashSet::new();
    let twice: HashSet<&str> =
        request.topics.iter().map(|topic| &**topic.name).filter(|name| !seen.insert(*name)).collect();
    let duplicate = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
    let denied = ApiError::new(ErrorCode::TopicAuthorizationFailed, "");
    let mut results: Vec<_> = twice.iter().map(|name| result(name, &duplicate)).collect();
    let mut wanted = Vec::new();
    for topic in request.topics.iter().filter(|topic| !twice.contains(&**topic.name)) {
        if cx.may_topic(Operation::Alter, &topic.name) {
            wanted.push(more(topic));
        } else {
            results.push(result(&topic.name, &denied));
        }
    }
    (results, wanted)
}

fn more(topic: &CreatePartitionsTopic) -> MorePartitions {
    let assignments = topic
        .assignments
        .as_ref()
        .map(|assignments| assignments.iter().map(|a| a.broker_ids.iter().map(|id| id.0).collect()).collect());
    MorePartitions { name: topic.name.to_string(), count: topic.count, assignments }
}

fn result(name: &str, error: &ApiError) -> CreatePartitionsTopicResult {
    let mut result = CreatePartitionsTopicResult::default();
    result.name = topic_name(name);
    result.error_code = error.code.code();
    result.error_message = specific_message(error);
    result
}

/// Answers every topic of the request with the error.
pub fn refuse(request: &CreatePartitionsRequest, _version: i16, error: ErrorCode) -> CreatePartitionsResponse {
    let error = ApiError::new(error, "");
    let mut response = CreatePartitionsResponse::default();
    response.results = request.topics.iter().map(|topic| result(&topic.name, &error)).collect();
    response
}
