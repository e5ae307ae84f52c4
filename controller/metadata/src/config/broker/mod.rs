//! Broker settings, one table for each area.

pub mod controller;
pub mod groups;
pub mod log;
pub mod network;
pub mod other;
pub mod own;
pub mod replication;
pub mod security;
pub mod tiers;
pub mod transactions;

use std::sync::LazyLock;

use super::def::{Check, ConfigDef, Dynamic, Kind};

const fn def(name: &'static str, kind: Kind, default: &'static str, check: Check, doc: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, default, check, doc)
}

/// Settings that exist only as dynamic ones: a properties file does not carry them in Kafka.
const DYNAMIC_ONLY: &[&str] = &[
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

static ALL: LazyLock<Vec<&'static ConfigDef>> = LazyLock::new(|| {
    let tables = [
        controller::TABLE,
        groups::TABLE,
        log::TABLE,
        network::TABLE,
        other::TABLE,
        own::TABLE,
        replication::TABLE,
        security::TABLE,
        tiers::TABLE,
        transactions::TABLE,
    ];
    let mut all: Vec<&'static ConfigDef> = tables.into_iter().flatten().collect();
    all.sort_by_key(|def| def.name);
    all
});

/// Every broker setting, sorted by name.
pub fn all() -> &'static [&'static ConfigDef] {
    &ALL
}

/// The definition of a broker setting; not of one with a listener prefix, see [`base_name`].
pub fn find(name: &str) -> Option<&'static ConfigDef> {
    ALL.binary_search_by(|def| def.name.cmp(name)).ok().map(|i| ALL[i])
}

/// Whether the setting exists only as a dynamic one.
pub fn dynamic_only(name: &str) -> bool {
    DYNAMIC_ONLY.contains(&name)
}

/// Settings under a listener prefix that also carry a mechanism name before their own.
const MECHANISM_SETTINGS: &[&str] = &[
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
];

/// `listener.name.<listener>.<setting>`, also with a mechanism before the setting: the setting that it overrides.
pub fn base_name(name: &str) -> Option<&str> {
    let (_, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    Some(MECHANISM_SETTINGS.iter().find(|s| base.ends_with(**s)).copied().unwrap_or(base))
}

/// Names that give the same setting, strongest first, itself among them (`DynamicBrokerConfig.brokerConfigSynonyms`).
pub fn synonyms(name: &str) -> Vec<&str> {
    match name {
        "log.roll.ms" | "log.roll.hours" => vec!["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => {
            vec!["log.roll.jitter.ms", "log.roll.jitter.hours"]
        }
        "log.flush.interval.ms" => vec!["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            vec!["log.retention.ms", "log.retention.minutes", "log.retention.hours"]
        }
        _ => match base_name(name) {
            Some(base) => vec![name, base],
            None => vec![name],
        },
    }
}

/// Why a dynamic change of a setting is refused, if it is (`DynamicBrokerConfig.validateConfigs`).
pub fn refuse_dynamic(name: &str, one_broker: bool) -> Option<String> {
    const LISTENERS_LATER: &str = "settings of single listeners cannot be changed while the broker runs";
    if base_name(name).is_some() {
        return Some(format!("{name}: {LISTENERS_LATER}"));
    }
    let Some(def) = find(name) else {
        return Some(format!("{name} is not a broker setting"));
    };
    match def.dynamic {
        Dynamic::ReadOnly => {
            Some(format!("{name} cannot be changed while the broker runs; set it in its configuration"))
        }
        Dynamic::PerBroker if is_security(name) => {
            Some(format!("{name} can be changed only for one listener, with its listener.name. prefix"))
        }
        Dynamic::PerBroker if !one_broker => Some(format!("{name} can be changed only for a named broker")),
        Dynamic::PerBroker | Dynamic::ClusterWide => None,
    }
}

fn is_security(name: &str) -> bool {
    name.starts_with("ssl.") || name.starts_with("sasl.") || name == "principal.builder.class"
}
