//! Topics that are created because somebody asked for them (`auto.create.topics.enable`).

use millrace_metadata::command::{Command, NewTopic, Reply};
use millrace_metadata::error::ErrorCode;
use millrace_metadata::names::{is_internal, validate_topic_name};

use crate::broker::Broker;

/// Creates the topics with the broker's defaults, and returns when this broker serves them. Topics that could not be
/// created are returned with the error for the client; one that somebody else has just created is no error.
pub async fn create(broker: &Broker, names: Vec<String>) -> Vec<(String, ErrorCode)> {
    let mut errors = Vec::new();
    let mut topics = Vec::new();
    for name in names {
        if validate_topic_name(&name).is_err() {
            errors.push((name, ErrorCode::InvalidTopicException));
        } else if is_internal(&name) {
            // Coordinators create their own topics, with settings of their own.
            errors.push((name, ErrorCode::UnknownTopicOrPartition));
        } else {
            topics.push(NewTopic::new(name, -1, -1));
        }
    }
    if topics.is_empty() {
        return errors;
    }
    let asked: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    match broker.submit_and_serve(Command::CreateTopics { topics, validate_only: false }).await {
        Ok(Reply::CreateTopics(results)) => {
            for result in results {
                match result {
                    Ok(_) => {}
                    Err((_, error)) if error.code == ErrorCode::TopicAlreadyExists => {}
                    Err((name, error)) => errors.push((name, error.code)),
                }
            }
        }
        // The controller did not answer in time or does not lead: the client asks again.
        Ok(_) | Err(_) => errors.extend(asked.into_iter().map(|name| (name, ErrorCode::UnknownTopicOrPartition))),
    }
    errors
}
