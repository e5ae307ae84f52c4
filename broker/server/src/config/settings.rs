//! What was set, and where: the file, then the environment, then `--override`; the later one wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_metadata::config::{self, ConfigDef, Support, broker};

use super::environment::{self, EnvSetting};
use super::error::ConfigError;
use super::properties;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Override,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{} line {line}", path.display()),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Override => f.write_str("--override"),
        }
    }
}

/// One value that somebody set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub source: Source,
}

/// Everything that was set before the start, checked one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
}

/// Prefixes under which plug-ins and tools keep settings of their own. Kafka hands them on unread.
const PLUGIN_PREFIXES: &[&str] = &[
    "client.quota.callback.",
    "confluent.",
    "cruise.control.",
    "kafka.metrics.",
    "kafka.csv.metrics.",
    "kafka.graphite.metrics.",
    "metrics.jmx.",
    "rlmm.config.",
    "rsm.config.",
    "strimzi.",
];

/// Settings of Kafka's own authorizer: not in its table, and without effect as long as no authorizer is set.
const AUTHORIZER_SETTINGS: &[&str] = &["allow.everyone.if.no.acl.found", "super.users"];

/// Settings that Kafka had once; version 4 passes over them.
const RETIRED: &[&str] = &[
    "auto.include.jmx.reporter",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "controlled.shutdown.max.retries",
    "controlled.shutdown.retry.backoff.ms",
    "delegation.token.master.key",
    "eligible.leader.replicas.enable",
    "group.coordinator.new.enable",
    "inter.broker.protocol.version",
    "leader.imbalance.per.broker.percentage",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "reserved.broker.max.id",
];
const RETIRED_PREFIXES: &[&str] = &["password.encoder.", "zookeeper."];

/// A name this near to a known one (Jaro-Winkler) is suggested.
const NEAR: f64 = 0.8;

impl Settings {
    /// Gathers and checks the settings. `overrides` are `key=value` texts.
    pub fn gather(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
        overrides: &[String],
    ) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        if let Some(path) = file {
            settings.read_file(path)?;
        }
        for EnvSetting { variable, key, value } in environment::settings(variables) {
            settings.set(key, value, Source::Environment(variable));
        }
        for text in overrides {
            let Some((key, value)) = text.split_once('=') else {
                let why = format!("--override {text}: write it as key=value");
                return Err(ConfigError::Together(why));
            };
            settings.set(key.trim().to_owned(), value.trim().to_owned(), Source::Override);
        }
        settings.check()?;
        Ok(settings)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let bytes =
            std::fs::read(path).map_err(|error| ConfigError::File { path: path.to_owned(), why: error.to_string() })?;
        let text = String::from_utf8_lossy(&bytes);
        let entries = properties::parse(&text).map_err(|why| ConfigError::Syntax { path: path.to_owned(), why })?;
        for entry in entries {
            let source = Source::File { path: path.to_owned(), line: entry.line };
            self.set(entry.key, entry.value.trim().to_owned(), source);
        }
        Ok(())
    }

    fn set(&mut self, key: String, value: String, source: Source) {
        self.values.insert(key, Setting { value, source });
    }

    /// What was set under this very name.
    pub fn own(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)
    }

    /// Everything that was set, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// Known settings that were set but change nothing, sorted; for the one warning at start.
    pub fn without_effect(&self) -> Vec<&str> {
        let unused = |key: &str| match definition(key) {
            Some(def) => def.support == Support::KnownUnused && self.differs_from_default(def, key),
            None => true,
        };
        self.iter().map(|(key, _)| key).filter(|key| unused(key)).collect()
    }

    fn differs_from_default(&self, def: &ConfigDef, key: &str) -> bool {
        self.own(key).is_some_and(|set| Some(set.value.trim()) != def.default)
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (key, setting) in self.iter() {
            let from = setting.source.to_string();
            let Some(def) = definition(key) else {
                if is_passed_over(key) {
                    continue;
                }
                return Err(ConfigError::Unknown { key: key.to_owned(), from, hint: hint(key) });
            };
            if broker::dynamic_only(key) {
                let hint = "; it can only be set while the broker runs, with kafka-configs.sh".to_owned();
                return Err(ConfigError::Unknown { key: key.to_owned(), from, hint });
            }
            config::check(def, &setting.value, true).map_err(|why| ConfigError::Value {
                key: key.to_owned(),
                value: if def.sensitive() { "[hidden]".to_owned() } else { setting.value.clone() },
                from,
                why: why.0,
            })?;
        }
        Ok(())
    }
}

/// The definition of a setting, with or without a listener prefix.
pub fn definition(key: &str) -> Option<&'static ConfigDef> {
    broker::find(broker::base_name(key).unwrap_or(key))
}

fn is_passed_over(key: &str) -> bool {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
    starts(PLUGIN_PREFIXES) || starts(RETIRED_PREFIXES) || RETIRED.contains(&key) || AUTHORIZER_SETTINGS.contains(&key)
}

fn hint(key: &str) -> String {
    let score = |def: &&'static ConfigDef| strsim::jaro_winkler(key, def.name);
    let best = broker::all().iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)));
    match best.filter(|def| score(def) >= NEAR) {
        Some(def) => format!("; did you mean {}?", def.name),
        None => "; remove it or correct its name (--print-config lists all settings)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(overrides: &[&str]) -> Result<Settings, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        Settings::gather(None, std::iter::empty(), &overrides)
    }

    #[test]
    fn override_beats_environment_beats_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.properties");
        std::fs::write(&path, "num.partitions=2\nnode.id=7\nlog.retention.hours=1\n").unwrap();
        let env = [("KAFKA_NUM_PARTITIONS", "3"), ("KAFKA_NODE_ID", "8")];
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = Settings::gather(Some(&path), env, &["node.id=9".to_owned()]).unwrap();
        let value = |key| settings.own(key).unwrap().value.clone();
        assert_eq!((value("log.retention.hours"), value("num.partitions"), value("node.id")), {
            ("1".to_owned(), "3".to_owned(), "9".to_owned())
        });
        assert_eq!(settings.own("node.id").unwrap().source, Source::Override);
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let error = gather(&["log.retention.hour=1"]).unwrap_err().to_string();
        assert!(error.contains("did you mean log.retention.hours?"), "{error}");
        assert!(gather(&["xyzzy=1"]).unwrap_err().to_string().contains("xyzzy"));
    }

    #[test]
    fn plugin_and_retired_settings_pass_with_a_warning() {
        let settings = gather(&[
            "confluent.support.metrics.enable=false",
            "zookeeper.connect=zk:2181",
            "super.users=User:admin",
            "log.cleaner.threads=2",
            "log.cleaner.enable=true",
            "num.partitions=4",
        ])
        .unwrap();
        let expected = ["confluent.support.metrics.enable", "log.cleaner.threads", "super.users", "zookeeper.connect"];
        assert_eq!(settings.without_effect(), expected);
    }

    #[test]
    fn bad_values_name_setting_value_and_limit() {
        let error = gather(&["num.partitions=0"]).unwrap_err().to_string();
        assert_eq!(error, "num.partitions=0 (--override): must be at least 1");
        let error = gather(&["log.cleanup.policy=compact"]).unwrap_err().to_string();
        assert!(error.contains("compaction is not available"), "{error}");
        assert!(gather(&["remote.log.storage.system.enable=true"]).is_err());
        assert!(gather(&["leader.replication.throttled.rate=5"]).is_err());
        assert!(gather(&["num.partitions"]).is_err());
    }
}
