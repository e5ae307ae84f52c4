//! DeleteTopics.

use std::collections::BTreeSet;

use millrace_metadata::command::{DeletedTopic, TopicRef};
use millrace_metadata::{ApiError, ErrorCode, Record};

use crate::Draft;

/// Deletes what can be deleted. A topic that is named twice, in whatever way, is answered once, with an error
/// (`ControllerApis.deleteTopics`).
pub(crate) fn topics(draft: &mut Draft, wanted: &[TopicRef]) -> Vec<Result<DeletedTopic, (TopicRef, ApiError)>> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    let resolve = |draft: &Draft, topic: &TopicRef| match topic {
        TopicRef::Name(name) => draft.image().topic(name).cloned(),
        TopicRef::Id(id) => draft.image().topic_by_id(id).cloned(),
    };
    for topic in wanted {
        // A topic that does not exist stands for itself.
        let key = resolve(draft, topic).map_or_else(|| topic.clone(), |t| TopicRef::Id(t.id));
        if !seen.insert(key.clone()) {
            twice.insert(key);
        }
    }
    let mut answered = BTreeSet::new();
    let mut results = Vec::with_capacity(wanted.len());
    let before = draft.clone();
    for topic in wanted {
        let found = resolve(&before, topic);
        let key = found.as_ref().map_or_else(|| topic.clone(), |t| TopicRef::Id(t.id));
        if !answered.insert(key.clone()) {
            continue;
        }
        results.push(match found {
            _ if twice.contains(&key) => {
                let text = "The request names this topic more than once.";
                Err((topic.clone(), ApiError::new(ErrorCode::InvalidRequest, text)))
            }
            Some(found) => {
                draft.push(Record::RemoveTopic { id: found.id });
                Ok(DeletedTopic { name: found.name.to_string(), id: found.id })
            }
            None => Err((topic.clone(), unknown(topic))),
        });
    }
    results
}

fn unknown(topic: &TopicRef) -> ApiError {
    match topic {
        TopicRef::Name(_) => ErrorCode::UnknownTopicOrPartition.into(),
        TopicRef::Id(id) if id.is_zero() => {
            ApiError::new(ErrorCode::InvalidRequest, "Neither a topic name nor a topic id was given.")
        }
        TopicRef::Id(_) => ErrorCode::UnknownTopicId.into(),
    }
}
