//! A topic's settings with the place that each comes from, as CreateTopics answers them
//! (`KafkaConfigSchema.resolveEffectiveTopicConfig`).

use millrace_metadata::config::{Kind, topic};

use crate::config::LiveConfig;

/// Where a setting comes from, by Kafka's numbers (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Origin {
    /// Set for the topic.
    Topic = 1,
    /// Set dynamically for this broker.
    Broker = 2,
    /// Set dynamically for all brokers.
    Cluster = 3,
    /// Set in the broker's file, environment or arguments.
    Static = 4,
    /// Kafka's default.
    Default = 5,
}

/// One setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSetting {
    /// Its name.
    pub name: &'static str,
    /// Its value, `None` if it must not be shown.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether its value must not be shown.
    pub sensitive: bool,
}

/// Settings for tests alone, which Kafka does not show.
const INTERNAL: &str = "internal.";

/// All settings of a topic that has the given values of its own, sorted by name.
pub fn effective(config: &LiveConfig, own: &[(String, String)]) -> Vec<TopicSetting> {
    topic::TABLE
        .iter()
        .filter(|def| !def.name.starts_with(INTERNAL))
        .map(|def| {
            let set = own.iter().find(|(key, _)| key == def.name);
            let (value, origin) = match set {
                Some((_, value)) => (value.clone(), Origin::Topic),
                None => inherited(config, def.name)
                    .unwrap_or_else(|| (def.default.unwrap_or_default().to_owned(), Origin::Default)),
            };
            let sensitive = def.kind == Kind::Password;
            TopicSetting { name: def.name, value: (!sensitive).then_some(value), origin, sensitive }
        })
        .collect()
}

fn inherited(config: &LiveConfig, key: &str) -> Option<(String, Origin)> {
    topic::synonyms(key).iter().find_map(|(synonym, unit)| {
        let (value, origin) = if let Some(value) = config.of_broker(synonym) {
            (value, Origin::Broker)
        } else if let Some(value) = config.of_cluster(synonym) {
            (value, Origin::Cluster)
        } else {
            (config.settings().own(synonym)?.value.clone(), Origin::Static)
        };
        Some((topic::scale(&value, *unit), origin))
    })
}
