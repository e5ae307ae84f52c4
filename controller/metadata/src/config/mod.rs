//! Every setting of topics, brokers and groups that Kafka 4.3 knows: one table for each kind of resource, from which
//! validation, DescribeConfigs, start-up checks and documentation come.

pub mod broker;
pub mod check;
pub mod def;
pub mod group;
pub mod topic;
pub mod topic_config;

pub use check::{Invalid, MAX_VALUE_CHARS, check_support, check_value, list_items, parse_bool};
pub use def::{Check, ConfigDef, Dynamic, Importance, Kind, Support};
pub use topic_config::{BrokerDefaults, CleanupPolicy, CompressionType, TimestampType, TopicConfig, check_together};

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

/// Checks one group setting. Errors are `InvalidConfig`. The broker's bounds, see [`group::bounds`], come on top.
pub fn validate_group(key: &str, value: &str) -> Result<(), ApiError> {
    let Some(def) = find(group::TABLE, key) else {
        return Err(ApiError::new(ErrorCode::InvalidConfig, format!("Unknown group config name: {key}")));
    };
    check(def, value, true).map_err(|why| invalid(key, value, &why))
}

/// Checks a dynamic change of one broker setting, for one broker or for all. Errors are `InvalidRequest`, as Kafka
/// has it (KAFKA-13609).
pub fn validate_broker(key: &str, value: &str, one_broker: bool) -> Result<(), ApiError> {
    if let Some(why) = broker::refuse_dynamic(key, one_broker) {
        return Err(ApiError::new(ErrorCode::InvalidRequest, why));
    }
    let Some(def) = broker::find(key) else {
        return Ok(());
    };
    check(def, value, true).map_err(|why| {
        let error = invalid(key, value, &why);
        ApiError::new(ErrorCode::InvalidRequest, error.message)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Vec<&'static ConfigDef> {
        topic::TABLE.iter().chain(group::TABLE).chain(broker::all().iter().copied()).collect()
    }

    #[test]
    fn tables_are_sorted_and_have_no_twins() {
        for names in [
            topic::TABLE.iter().map(|d| d.name).collect::<Vec<_>>(),
            group::TABLE.iter().map(|d| d.name).collect(),
            broker::all().iter().map(|d| d.name).collect(),
        ] {
            assert!(names.windows(2).all(|w| w[0] < w[1]), "{names:?}");
        }
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        for def in tables() {
            if let Some(default) = def.default {
                assert_eq!(check(def, default, true), Ok(()), "{} = {default:?}", def.name);
            }
        }
    }

    #[test]
    fn every_setting_is_documented() {
        for def in tables() {
            assert!(def.doc.ends_with('.'), "{}", def.name);
        }
    }

    #[test]
    fn synonyms_exist() {
        for def in topic::TABLE {
            for (key, _) in topic::synonyms(def.name) {
                assert!(broker::find(key).is_some(), "{key}");
            }
        }
        for def in group::TABLE {
            let bounds = group::bounds(def.name);
            for key in [group::synonym(def.name), bounds.0, bounds.1].into_iter().flatten() {
                assert!(broker::find(key).is_some(), "{key}");
            }
        }
    }

    #[test]
    fn topic_defaults_agree_with_broker_defaults() {
        let from_table = BrokerDefaults::from_broker(|key| broker::find(key)?.default.map(str::to_owned));
        assert_eq!(from_table, BrokerDefaults::default());
        let own = TopicConfig::resolve(
            topic::TABLE.iter().filter_map(|d| Some((d.name, d.default?))),
            &BrokerDefaults::default(),
        );
        assert_eq!(own, TopicConfig::default());
    }

    #[test]
    fn values_are_checked_as_kafka_does() {
        let ok = |key, value| assert_eq!(validate_topic("t", key, value), Ok(()), "{key}={value}");
        let bad = |key, value| {
            let error = validate_topic("t", key, value).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidConfig, "{key}={value}");
        };
        ok("cleanup.policy", "");
        ok("cleanup.policy", "delete");
        bad("cleanup.policy", "compact");
        bad("cleanup.policy", "delete,delete");
        ok("retention.ms", " -1 ");
        bad("retention.ms", "-2");
        bad("retention.ms", "1h");
        bad("max.message.bytes", "2147483648");
        ok("compression.gzip.level", "-1");
        bad("compression.gzip.level", "0");
        ok("unclean.leader.election.enable", "TRUE");
        bad("unclean.leader.election.enable", "yes");
        ok("leader.replication.throttled.replicas", "0:1,1:2");
        ok("leader.replication.throttled.replicas", "*");
        bad("leader.replication.throttled.replicas", "*,0:1");
        bad("min.cleanable.dirty.ratio", "1.5");
        bad("nonsense", "1");
        assert_eq!(validate_topic("__consumer_offsets", "cleanup.policy", "compact"), Ok(()));
    }

    #[test]
    fn group_values() {
        for good in ["latest", "earliest", "by_duration:PT1H30M", "by_duration:P2DT0.5S", "by_duration:P1D"] {
            assert_eq!(validate_group("share.auto.offset.reset", good), Ok(()), "{good}");
        }
        for bad in ["", "none", "by_duration:", "by_duration:1h", "by_duration:P", "by_duration:PT", "by_duration:PT1"]
        {
            assert!(validate_group("share.auto.offset.reset", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dynamic_changes() {
        assert_eq!(validate_broker("log.retention.ms", "1000", false), Ok(()));
        assert!(validate_broker("num.partitions", "3", true).is_err());
        assert!(validate_broker("listener.name.a.ssl.keystore.location", "x", true).is_err());
        assert!(validate_broker("no.such.setting", "x", true).is_err());
    }

    #[test]
    fn topic_values_win_over_the_broker() {
        let broker = BrokerDefaults::from_broker(|key| match key {
            "log.retention.minutes" => Some("2".to_owned()),
            "message.max.bytes" => Some("77".to_owned()),
            _ => None,
        });
        let config = TopicConfig::resolve([("max.message.bytes", "99")], &broker);
        assert_eq!((config.retention_ms, config.max_message_bytes), (120_000, 99));
    }
}
