//! DeleteTopics, by name or id (`ControllerApis.deleteTopics`).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use millrace_metadata::command::{Command, Reply, TopicRef};
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_metadata::ids::TopicId;
use millrace_metadata::image::Image;
use millrace_security::Operation;
use millrace_wire::kp::messages::delete_topics_response::DeletableTopicResult;
use millrace_wire::kp::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::convert::{message_field, topic_id, topic_name, uuid};
use super::{Answer, Cx};

/// First version that knows TOPIC_DELETION_DISABLED.
const DELETION_DISABLED: i16 = 3;
/// First version that names topics by id as well.
const TOPIC_IDS: i16 = 6;

/// Deletes what may be deleted; every topic has its own result.
pub fn handle(
    cx: Cx,
    request: DeleteTopicsRequest,
) -> impl Future<Output = Answer<DeleteTopicsResponse>> + Send + 'static {
    async move {
        if !cx.broker.config.current().topics.delete_enable {
            let error = match cx.version() {
                old if old < DELETION_DISABLED => ErrorCode::InvalidRequest,
                _ => ErrorCode::TopicDeletionDisabled,
            };
            return Answer::Send(refuse(&request, cx.version(), error));
        }
        let mut results = Vec::new();
        let victims = resolve(&cx, &cx.broker.image(), named(&request, &mut results), &mut results);
        if !victims.is_empty() {
            delete(&cx, victims, request.timeout_ms, &mut results).await;
        }
        let mut response = DeleteTopicsResponse::default();
        response.responses = results;
        Answer::Send(response)
    }
}

/// Names and ids that the request gives exactly once.
struct Named {
    names: BTreeSet<String>,
    ids: BTreeSet<TopicId>,
    /// Given more than once: they are refused, and so is a name that stands for one of them.
    twice: BTreeSet<TopicId>,
}

fn named(request: &DeleteTopicsRequest, results: &mut Vec<DeletableTopicResult>) -> Named {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids: BTreeMap<TopicId, usize> = BTreeMap::new();
    for name in &request.topic_names {
        *names.entry(name.to_string()).or_default() += 1;
    }
    for topic in &request.topics {
        let id = topic_id(topic.topic_id);
        let wrong = |message| ApiError::new(ErrorCode::InvalidRequest, message);
        match (&topic.name, id.is_zero()) {
            (None, true) => results.push(result(None, id, &wrong("Neither topic name nor id were specified."))),
            (None, false) => *ids.entry(id).or_default() += 1,
            (Some(name), true) => *names.entry(name.to_string()).or_default() += 1,
            (Some(name), false) => {
                let error = wrong("You may not specify both topic name and topic id.");
                results.push(result(Some(name), id, &error));
            }
        }
    }
    let mut out = Named { names: BTreeSet::new(), ids: BTreeSet::new(), twice: BTreeSet::new() };
    for (name, count) in names {
        if count == 1 {
            out.names.insert(name);
        } else {
            let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            results.push(result(Some(&name), TopicId::ZERO, &error));
        }
    }
    for (id, count) in ids {
        if count == 1 {
            out.ids.insert(id);
        } else {
            out.twice.insert(id);
            results.push(result(None, id, &ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic id.")));
        }
    }
    out
}

/// Finds the topics, and answers for those that are missing or forbidden.
fn resolve(
    cx: &Cx,
    image: &Image,
    mut named: Named,
    results: &mut Vec<DeletableTopicResult>,
) -> BTreeMap<TopicId, String> {
    let everything = cx.may_cluster(Operation::Delete);
    let may = |operation, name: &str| everything || cx.may_topic(operation, name);
    let denied = ApiError::from(ErrorCode::TopicAuthorizationFailed);
    let mut victims = BTreeMap::new();
    for id in named.ids {
        match image.topic_name(&id) {
            None => results.push(result(None, id, &ErrorCode::UnknownTopicId.into())),
            Some(name) if may(Operation::Delete, name) => {
                victims.insert(id, name.to_owned());
            }
            // An id is no secret, the name behind it is.
            Some(name) if may(Operation::Describe, name) => results.push(result(Some(name), id, &denied)),
            Some(_) => results.push(result(None, id, &denied)),
        }
    }
    for name in named.names {
        if !may(Operation::Describe, &name) {
            results.push(result(Some(&name), TopicId::ZERO, &denied));
            continue;
        }
        let Some(id) = image.topic_id(&name) else {
            let error = ErrorCode::UnknownTopicOrPartition.into();
            results.push(result(Some(&name), TopicId::ZERO, &error));
            continue;
        };
        if !may(Operation::Delete, &name) {
            results.push(result(Some(&name), TopicId::ZERO, &denied));
        } else if named.twice.contains(&id) || victims.contains_key(&id) {
            victims.remove(&id);
            named.twice.insert(id);
            let message = "The provided topic name maps to an ID that was already supplied.";
            results.push(result(Some(&name), id, &ApiError::new(ErrorCode::InvalidRequest, message)));
        } else {
            victims.insert(id, name);
        }
    }
    victims
}

async fn delete(cx: &Cx, victims: BTreeMap<TopicId, String>, timeout_ms: i32, results: &mut Vec<DeletableTopicResult>) {
    let topics = victims.keys().map(|id| TopicRef::Id(*id)).collect();
    let fail_all = |results: &mut Vec<DeletableTopicResult>, error: &ApiError| {
        results.extend(victims.iter().map(|(id, name)| result(Some(name), *id, error)));
    };
    match cx.broker.submit_within(Command::DeleteTopics { topics }, timeout_ms).await {
        Ok(Reply::DeleteTopics(replies)) => {
            for reply in replies {
                results.push(match reply {
                    Ok(topic) => result(Some(&topic.name), topic.id, &ApiError::new(ErrorCode::None, "")),
                    Err((TopicRef::Id(id), error)) => result(victims.get(&id).map(String::as_str), id, &error),
                    Err((TopicRef::Name(name), error)) => result(Some(&name), TopicId::ZERO, &error),
                });
            }
        }
        Ok(_) => fail_all(results, &ErrorCode::UnknownServerError.into()),
        Err(error) => fail_all(results, &error),
    }
}

fn result(name: Option<&str>, id: TopicId, error: &ApiError) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default();
    result.name = name.map(topic_name);
    result.topic_id = uuid(id);
    result.error_code = error.code.code();
    result.error_message = message_field(error);
    result
}

/// Answers every topic of the request with the error.
pub fn refuse(request: &DeleteTopicsRequest, version: i16, error: ErrorCode) -> DeleteTopicsResponse {
    let error = ApiError::new(error, "");
    let mut response = DeleteTopicsResponse::default();
    if version < TOPIC_IDS {
        response.responses = request.topic_names.iter().map(|name| result(Some(name), TopicId::ZERO, &error)).collect();
    } else {
        let one = |name: Option<&str>, id| result(name, topic_id(id), &error);
        response.responses =
            request.topics.iter().map(|topic| one(topic.name.as_ref().map(|name| &***name), topic.topic_id)).collect();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_wire::kp::messages::delete_topics_request::DeleteTopicState;

    fn state(name: Option<&str>, id: u8) -> DeleteTopicState {
        let mut state = DeleteTopicState::default();
        state.name = name.map(topic_name);
        state.topic_id = uuid(TopicId([id; 16]));
        state
    }

    #[test]
    fn names_and_ids_must_be_given_once_and_not_both() {
        let mut request = DeleteTopicsRequest::default();
        request.topics = vec![
            state(Some("a"), 0),
            state(Some("b"), 0),
            state(Some("b"), 0),
            state(None, 1),
            state(None, 2),
            state(None, 2),
            state(None, 0),
            state(Some("c"), 3),
        ];
        let mut results = Vec::new();
        let named = named(&request, &mut results);
        assert_eq!(named.names, BTreeSet::from(["a".to_owned()]));
        assert_eq!(named.ids, BTreeSet::from([TopicId([1; 16])]));
        assert_eq!(named.twice, BTreeSet::from([TopicId([2; 16])]));
        assert_eq!(results.len(), 4);
        assert!(results.iter().all(|r| r.error_code == ErrorCode::InvalidRequest.code()));
    }
}
