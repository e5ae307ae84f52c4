//! What DescribeConfigs tells of a resource (`ConfigHelper.scala`): values, where they come from, and the names under
//! which the same thing can be set.

use std::collections::BTreeMap;

use millrace_metadata::config::{ConfigDef, Dynamic, Kind, broker, group, list_items, parse_bool, topic};

use super::live::LiveConfig;
use super::settings::definition;

/// Where a value comes from, by Kafka's numbers (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Origin {
    Topic = 1,
    Broker = 2,
    Cluster = 3,
    Static = 4,
    Default = 5,
    Logger = 6,
    Group = 8,
}

/// A name and value that would take effect if the stronger ones were not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    pub value: Option<String>,
    pub origin: Origin,
}

/// One setting of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// `None` if nothing is set, or if the value must not be shown.
    pub value: Option<String>,
    pub origin: Origin,
    pub read_only: bool,
    pub sensitive: bool,
    /// `None` for settings that only a plug-in knows.
    pub kind: Option<Kind>,
    pub doc: Option<&'static str>,
    /// Strongest first; the value itself is among them.
    pub synonyms: Vec<Synonym>,
}

/// All settings of a topic with these values of its own.
pub fn topic(config: &LiveConfig, own: &BTreeMap<String, String>) -> Vec<Entry> {
    let shown = |def: &&ConfigDef| !def.internal || own.contains_key(def.name);
    topic::TABLE.iter().filter(shown).map(|def| topic_entry(config, own, def)).collect()
}

fn topic_entry(config: &LiveConfig, own: &BTreeMap<String, String>, def: &'static ConfigDef) -> Entry {
    let names = topic::synonyms(def.name);
    let mut synonyms = match names.first() {
        Some((strongest, _)) => broker_synonyms(config, strongest, false),
        None => Vec::new(),
    };
    let inherited = || names.iter().find_map(|(name, unit)| Some(topic::scale(&effective(config, name)?, *unit)));
    let value = own.get(def.name).cloned().or_else(inherited).or_else(|| def.default.map(str::to_owned));
    let value = value.map(|v| plain(def.kind, &v));
    if own.contains_key(def.name) {
        synonyms.insert(0, Synonym { name: def.name.to_owned(), value: value.clone(), origin: Origin::Topic });
    }
    entry(def, def.name, value, synonyms, false)
}

/// All settings of a group with these values of its own.
pub fn group(config: &LiveConfig, own: &BTreeMap<String, String>) -> Vec<Entry> {
    let describe = |def: &'static ConfigDef| {
        let mut synonyms = match group::synonym(def.name) {
            Some(name) => broker_synonyms(config, name, false),
            None => Vec::new(),
        };
        let inherited = || group::synonym(def.name).and_then(|name| effective_or_default(config, name));
        let value = own.get(def.name).cloned().or_else(inherited).or_else(|| def.default.map(str::to_owned));
        let value = value.map(|v| plain(def.kind, &v));
        let itself = |origin| Synonym { name: def.name.to_owned(), value: value.clone(), origin };
        if own.contains_key(def.name) {
            synonyms.insert(0, itself(Origin::Group));
        } else if synonyms.is_empty() {
            synonyms.push(itself(Origin::Default));
        }
        entry(def, def.name, value, synonyms, false)
    };
    group::TABLE.iter().map(describe).collect()
}

/// All settings of this broker, those included that only a plug-in knows.
pub fn broker(config: &LiveConfig) -> Vec<Entry> {
    let mut entries: Vec<Entry> = broker::all()
        .iter()
        .filter(|def| !def.internal && (!broker::dynamic_only(def.name) || effective(config, def.name).is_some()))
        .map(|def| {
            let value = effective_or_default(config, def.name).map(|v| plain(def.kind, &v));
            let synonyms = broker_synonyms(config, def.name, def.sensitive());
            entry(def, def.name, value, synonyms, def.dynamic == Dynamic::ReadOnly)
        })
        .collect();
    for (key, set) in config.settings().iter().filter(|(key, _)| broker::find(key).is_none()) {
        let def = definition(key);
        let synonyms = broker_synonyms(config, key, def.is_none_or(|def| def.sensitive()));
        entries.push(match def {
            Some(def) => entry(def, key, Some(plain(def.kind, &set.value)), synonyms, true),
            None => foreign(key, synonyms),
        });
    }
    entries
}

/// What is set dynamically for all brokers.
pub fn cluster(config: &LiveConfig) -> Vec<Entry> {
    let describe = |(key, value): (String, String)| {
        let Some(def) = definition(&key) else {
            return foreign(&key, Vec::new());
        };
        let mut synonyms = broker_synonyms(config, &key, def.sensitive());
        synonyms.retain(|s| s.origin == Origin::Cluster);
        entry(def, &key, Some(value), synonyms, def.dynamic == Dynamic::ReadOnly)
    };
    config.cluster_values().into_iter().map(describe).collect()
}

fn entry(def: &ConfigDef, name: &str, value: Option<String>, synonyms: Vec<Synonym>, read_only: bool) -> Entry {
    Entry {
        name: name.to_owned(),
        value: value.filter(|_| !def.sensitive()),
        origin: synonyms.first().map_or(Origin::Default, |s| s.origin),
        read_only,
        sensitive: def.sensitive(),
        kind: Some(def.kind),
        doc: Some(def.doc),
        synonyms,
    }
}

/// What is not known to be harmless is not shown.
fn foreign(name: &str, synonyms: Vec<Synonym>) -> Entry {
    Entry {
        name: name.to_owned(),
        value: None,
        origin: synonyms.first().map_or(Origin::Static, |s| s.origin),
        read_only: true,
        sensitive: true,
        kind: None,
        doc: None,
        synonyms,
    }
}

/// All values of a broker setting and its other names, strongest first. Names that come before the setting's own are
/// left out, as Kafka does.
fn broker_synonyms(config: &LiveConfig, name: &str, hide: bool) -> Vec<Synonym> {
    let names = broker::synonyms(name);
    let fixed = |key: &str| broker::find(key).and_then(|def| def.default).map(str::to_owned);
    let own = |key: &str| config.settings().own(key).map(|set| set.value.clone());
    type Layer<'a> = (&'a dyn Fn(&str) -> Option<String>, Origin);
    let layers: [Layer<'_>; 4] = [
        (&|key| config.of_broker(key), Origin::Broker),
        (&|key| config.of_cluster(key), Origin::Cluster),
        (&own, Origin::Static),
        (&fixed, Origin::Default),
    ];
    let mut found = Vec::new();
    for (value, origin) in layers {
        for name in &names {
            if let Some(value) = value(name) {
                let value = (!hide).then_some(value);
                found.push(Synonym { name: (*name).to_owned(), value, origin });
            }
        }
    }
    let first = found.iter().position(|s| s.name == name).unwrap_or(found.len());
    found.split_off(first)
}

/// The strongest value that somebody set under this very name.
fn effective(config: &LiveConfig, key: &str) -> Option<String> {
    let own = || config.settings().own(key).map(|set| set.value.clone());
    config.of_broker(key).or_else(|| config.of_cluster(key)).or_else(own)
}

fn effective_or_default(config: &LiveConfig, key: &str) -> Option<String> {
    effective(config, key).or_else(|| broker::find(key)?.default.map(str::to_owned))
}

/// A value as Kafka prints it after reading it (`ConfigDef.convertToString`).
fn plain(kind: Kind, value: &str) -> String {
    let value = value.trim();
    match kind {
        Kind::Bool => parse_bool(value).map_or_else(|| value.to_owned(), |b| b.to_string()),
        Kind::Int | Kind::Short | Kind::Long => {
            value.parse::<i64>().map_or_else(|_| value.to_owned(), |n| n.to_string())
        }
        Kind::List => list_items(value).join(","),
        Kind::Double | Kind::String | Kind::Class | Kind::Password => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use millrace_metadata::{ConfigResource, Image, Record, ResourceKind};

    use super::*;
    use crate::config::Settings;

    fn live(overrides: &[&str], dynamic: &[(&str, &str, &str)]) -> LiveConfig {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        let live = LiveConfig::new(Settings::gather(None, std::iter::empty(), &overrides).unwrap()).unwrap();
        let mut image = Image::default();
        for (broker, key, value) in dynamic {
            let resource = ConfigResource::new(ResourceKind::Broker, *broker);
            image.apply(&Record::config(resource, *key, Some((*value).to_owned())));
        }
        live.update(&image);
        live
    }

    fn get(entries: Vec<Entry>, name: &str) -> Entry {
        entries.into_iter().find(|e| e.name == name).unwrap()
    }

    fn shape(entry: &Entry) -> Vec<(&str, Option<&str>, Origin)> {
        entry.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.origin)).collect()
    }

    /// As Kafka 4.3.1 answers for the same settings.
    #[test]
    fn topic_entries_follow_kafkas_order() {
        let live = live(
            &["log.retention.hours=24", "message.max.bytes=2000000"],
            &[
                ("", "log.retention.ms", "700000"),
                ("1", "log.segment.bytes", "2000000"),
                ("", "log.segment.bytes", "3000000"),
            ],
        );
        let own = BTreeMap::from([("retention.ms".to_owned(), "5000".to_owned())]);
        let entries = topic(&live, &own);
        let retention = get(entries.clone(), "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("5000"));
        assert_eq!(
            shape(&retention),
            [
                ("retention.ms", Some("5000"), Origin::Topic),
                ("log.retention.ms", Some("700000"), Origin::Cluster),
                ("log.retention.hours", Some("24"), Origin::Static),
                ("log.retention.hours", Some("168"), Origin::Default),
            ]
        );
        let segment = get(entries.clone(), "segment.bytes");
        assert_eq!((segment.value.as_deref(), segment.origin), (Some("2000000"), Origin::Broker));
        let jitter = get(entries.clone(), "segment.jitter.ms");
        assert_eq!((jitter.value.as_deref(), jitter.origin, jitter.synonyms.len()), (Some("0"), Origin::Default, 0));
        let size = get(entries.clone(), "max.message.bytes");
        assert_eq!((size.value.as_deref(), size.origin, size.read_only), (Some("2000000"), Origin::Static, false));
        assert!(!entries.iter().any(|e| e.name == "internal.segment.bytes"));
    }

    #[test]
    fn retention_in_hours_reaches_the_topic() {
        let live = live(&["log.retention.hours=24"], &[]);
        assert_eq!(get(topic(&live, &BTreeMap::new()), "retention.ms").value.as_deref(), Some("86400000"));
    }

    #[test]
    fn broker_entries_hide_secrets() {
        let live = live(&["ssl.key.password=abc", "confluent.key=x"], &[]);
        let entries = broker(&live);
        let secret = get(entries.clone(), "ssl.key.password");
        assert_eq!((secret.value.as_deref(), secret.sensitive), (None, true));
        assert_eq!(shape(&secret), [("ssl.key.password", None, Origin::Static)]);
        let foreign = get(entries.clone(), "confluent.key");
        assert_eq!(
            (foreign.value.as_deref(), foreign.sensitive, foreign.read_only, foreign.kind),
            (None, true, true, None)
        );
        let null = get(entries.clone(), "log.roll.ms");
        assert_eq!((null.value.as_deref(), null.read_only, null.synonyms.len()), (None, false, 0));
        assert!(!entries.iter().any(|e| e.name == "leader.replication.throttled.rate"));
    }

    #[test]
    fn cluster_entries_show_what_is_set() {
        let live = live(&[], &[("", "log.retention.ms", "700000"), ("1", "log.retention.ms", "1")]);
        let entries = cluster(&live);
        assert_eq!(entries.len(), 1);
        assert_eq!(shape(&entries[0]), [("log.retention.ms", Some("700000"), Origin::Cluster)]);
    }

    #[test]
    fn group_entries() {
        let live = live(&[], &[]);
        let own = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "50000".to_owned())]);
        let entries = group(&live, &own);
        assert_eq!(
            shape(&get(entries.clone(), "consumer.session.timeout.ms")),
            [
                ("consumer.session.timeout.ms", Some("50000"), Origin::Group),
                ("group.consumer.session.timeout.ms", Some("45000"), Origin::Default),
            ]
        );
        assert_eq!(
            shape(&get(entries, "share.isolation.level")),
            [("share.isolation.level", Some("read_uncommitted"), Origin::Default),]
        );
    }
}
