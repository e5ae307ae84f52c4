//! CreateTopics: the controller decides; the answer goes out when this broker serves the new partitions, so that the
//! client's next request finds them (`ControllerApis.createTopics`, `ReplicationControlManager.createTopics`).

use std::collections::HashSet;
use std::future::Future;

use millrace_metadata::command::{Command, CreatedTopic, NewTopic, Reply};
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_security::Operation;
use millrace_wire::kp::messages::create_topics_request::CreatableTopic;
use millrace_wire::kp::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use millrace_wire::kp::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::convert::{message_field, topic_name, uuid};
use super::{Answer, Cx};
use crate::topic_settings::{self, TopicSetting};

/// The controllers' own log, which no client may create.
const CLUSTER_METADATA: &str = "__cluster_metadata";
/// First version that answers with the topic's size and configuration.
const CONFIGS: i16 = 5;

/// Creates what may be created; every topic has its own result.
pub fn handle(
    cx: Cx,
    request: CreateTopicsRequest,
) -> impl Future<Output = Answer<CreateTopicsResponse>> + Send + 'static {
    async move {
        let (mut results, wanted) = sort_out(&cx, &request);
        if !wanted.is_empty() {
            let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
            let command = Command::CreateTopics { topics: wanted, validate_only: request.validate_only };
            match cx.broker.submit_within(command, request.timeout_ms).await {
                Ok(Reply::CreateTopics(created)) => {
                    for result in created {
                        results.push(match result {
                            Ok(topic) => succeeded(&cx, topic),
                            Err((name, error)) => failed(&name, &error),
                        });
                    }
                }
                Ok(_) => fail_all(&mut results, &names, &ErrorCode::UnknownServerError.into()),
                Err(error) => fail_all(&mut results, &names, &error),
            }
        }
        let mut response = CreateTopicsResponse::default();
        response.topics = results;
        Answer::Send(response)
    }
}

/// Refuses what need not be asked of the controller, and keeps the rest.
fn sort_out(cx: &Cx, request: &CreateTopicsRequest) -> (Vec<CreatableTopicResult>, Vec<NewTopic>) {
    let mut seen = HashSet::new();
    let twice: HashSet<&str> =
        request.topics.iter().map(|topic| &**topic.name).filter(|name| !seen.insert(*name)).collect();
    let (mut results, mut wanted, mut told) = (Vec::new(), Vec::new(), HashSet::new());
    let everything = cx.may_cluster(Operation::Create);
    for topic in &request.topics {
        let name: &str = &topic.name;
        let refused = if twice.contains(name) {
            Some(ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
        } else if name == CLUSTER_METADATA {
            let message = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
            Some(ApiError::new(ErrorCode::InvalidRequest, message))
        } else if !everything && !cx.may_topic(Operation::Create, name) {
            Some(ApiError::new(ErrorCode::TopicAuthorizationFailed, "Authorization failed."))
        } else {
            None
        };
        match refused {
            None => wanted.push(new_topic(topic)),
            Some(error) if told.insert(name) => results.push(failed(name, &error)),
            Some(_) => {}
        }
    }
    (results, wanted)
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|a| (a.partition_index, a.broker_ids.iter().map(|id| id.0).collect()))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_ref().map(|value| value.to_string())))
            .collect(),
    }
}

fn succeeded(cx: &Cx, topic: CreatedTopic) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default();
    result.name = topic_name(&topic.name);
    result.topic_id = uuid(topic.id);
    result.error_message = None;
    if cx.version() < CONFIGS {
        return result;
    }
    if !cx.may_topic(Operation::DescribeConfigs, &topic.name) {
        result.topic_config_error_code = ErrorCode::TopicAuthorizationFailed.code();
        return result;
    }
    result.num_partitions = topic.partitions;
    result.replication_factor = topic.replication_factor;
    let configs = topic_settings::effective(&cx.broker.config, &topic.configs).into_iter();
    result.configs = Some(configs.map(config).collect());
    result
}

fn config(setting: TopicSetting) -> CreatableTopicConfigs {
    let mut out = CreatableTopicConfigs::default();
    out.name = setting.name.into();
    out.value = setting.value.map(Into::into);
    out.config_source = setting.origin as i8;
    out.is_sensitive = setting.sensitive;
    out
}

fn failed(name: &str, error: &ApiError) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default();
    result.name = topic_name(name);
    result.error_code = error.code.code();
    result.error_message = message_field(error);
    result
}

fn fail_all(results: &mut Vec<CreatableTopicResult>, names: &[String], error: &ApiError) {
    results.extend(names.iter().map(|name| failed(name, error)));
}

/// Answers every topic of the request with the error.
pub fn refuse(request: &CreateTopicsRequest, _version: i16, error: ErrorCode) -> CreateTopicsResponse {
    let error = ApiError::new(error, "");
    let mut response = CreateTopicsResponse::default();
    response.topics = request.topics.iter().map(|topic| failed(&topic.name, &error)).collect();
    response
}
