//! Names of topics: what is allowed, which ones are the cluster's own.

use crate::error::{ApiError, ErrorCode};
use crate::limits::TOPIC_NAME_MAX;

/// Holds the committed offsets and the members of consumer groups.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Holds the state of transactions.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Holds the state of share groups.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";

/// Whether clients see the topic as internal.
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Checks a topic's name as Kafka does (`clients/…/common/internals/Topic.java`).
///
/// # Errors
/// `INVALID_TOPIC_EXCEPTION` with the rule that is broken.
pub fn validate_topic_name(name: &str) -> Result<(), ApiError> {
    let bad = |what: String| Err(ApiError::new(ErrorCode::InvalidTopicException, what));
    if name.is_empty() {
        return bad("Topic name is invalid: it must not be empty.".to_owned());
    }
    if name == "." || name == ".." {
        return bad(format!("Topic name is invalid: '{name}' is not allowed."));
    }
    if name.len() > TOPIC_NAME_MAX {
        return bad(format!("Topic name is invalid: it is longer than {TOPIC_NAME_MAX} characters."));
    }
    if !name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-')) {
        return bad(format!(
            "Topic name is invalid: '{name}' contains characters other than ASCII letters, digits, '.', '_' and '-'."
        ));
    }
    Ok(())
}

/// Whether a name can collide with another one in metric names, where `.` and `_` are the same.
pub fn has_collision_chars(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// Names with equal keys collide.
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "A.b_c-9", &"x".repeat(249), "..."] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert_eq!(validate_topic_name(bad).unwrap_err().code, ErrorCode::InvalidTopicException, "{bad}");
        }
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert_ne!(collision_key("a-b"), collision_key("a_b"));
    }
}
