//! Every setting of topics, brokers and groups that Kafka 4.3 knows: one table for each kind of resource, from which
//! validation, DescribeConfigs, start-up checks and documentation come.

pub mod check;
pub mod def;
pub mod topic;
pub mod topic_config;

pub use check::{Invalid, MAX_VALUE_CHARS, check_support, check_value, list_items, parse_bool};
pub use def::{Check, ConfigDef, Dynamic, Importance, Kind, Support};
pub use topic_config::{
    BrokerDefaults, CleanupPolicy, CompressionType, TimestampType, TopicConfig, check_together,
};

use crate::error::{ApiError, ErrorCode};

/// Finds a setting in a table that is sorted by name.
pub fn find(table: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    table.binary_search_by(|def| def.name.cmp(name)).ok().map(|i| &table[i])
}

/// Topics of the coordinators. They are created with compaction although nobody may choose it yet: their content is
/// small, and tools expect the setting.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Checks one topic setting: known, of its type, within its limits, served. Errors are `InvalidConfig`.
pub fn validate_topic(topic: &str, key: &str, value: &str) -> Result<(), ApiError> {
    let Some(def) = find(topic::TABLE, key) else {
        return Err(ApiError::new(ErrorCode::InvalidConfig, format!("Unknown topic config name: {key}")));
    };
    check(def, value, !is_internal_topic(topic)).map_err(|why| invalid(key, value, &why))
}

/// Checks the length, the type and the limits of a value and, if asked, whether Millrace serves it.
pub fn check(def: &ConfigDef, value: &str, served: bool) -> Result<(), Invalid> {
    if value.chars().count() > MAX_VALUE_CHARS {
        return Err(Invalid(format!("longer than {MAX_VALUE_CHARS} characters")));
    }
    check_value(def, value)?;
    if served { check_support(def, value) } else { Ok(()) }
}

fn invalid(key: &str, value: &str, why: &Invalid) -> ApiError {
    const SHOWN: usize = 80;
    let shown: String = value.chars().take(SHOWN).collect();
    ApiError::new(ErrorCode::InvalidConfig, format!("Invalid value {shown} for configuration {key}: {}", why.0))
}
