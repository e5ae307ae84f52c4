//! Small translations between the crate's field types and ours.

use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_metadata::ids::{NodeId, TopicId};
use millrace_wire::kp::messages::{BrokerId, TopicName};
use millrace_wire::kp::protocol::StrBytes;
use uuid::Uuid;

/// A text for the wire.
pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// A nullable text from the wire, copied.
pub fn owned(value: &Option<StrBytes>) -> Option<String> {
    value.as_ref().map(|text| text.to_string())
}

/// A topic's name for the wire.
pub fn topic_name(value: &str) -> TopicName {
    TopicName(text(value))
}

/// An id for the wire.
pub fn uuid(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}

/// An id from the wire.
pub fn topic_id(id: Uuid) -> TopicId {
    TopicId(*id.as_bytes())
}

/// Nodes for the wire.
pub fn broker_ids(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|id| BrokerId(*id)).collect()
}

/// The error of a result as the wire has it: code, and message if there is one.
pub fn error_fields(result: &Result<(), ApiError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => (error.code.code(), specific_message(error)),
    }
}

/// The message of an error, `None` when it says no more than the code does: Kafka leaves those out of most answers.
pub fn specific_message(error: &ApiError) -> Option<StrBytes> {
    message_field(error).filter(|message| **message != *error.code.default_message())
}

/// The message of an error, `None` when it has none.
pub fn message_field(error: &ApiError) -> Option<StrBytes> {
    (!error.message.is_empty()).then(|| text(&error.message))
}
