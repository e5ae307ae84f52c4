//! The configuration while the broker runs: the static settings under the dynamic ones of the cluster and of this
//! broker, which the image carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use millrace_metadata::Image;
use millrace_metadata::config::{Dynamic, TopicConfig, broker};
use tokio::sync::watch;

use super::build::build;
use super::error::ConfigError;
use super::settings::Settings;
use super::typed::BrokerConfig;

type Values = Arc<BTreeMap<String, String>>;

/// Dynamic values: of this broker, and of all brokers.
#[derive(Debug, Clone, Default)]
struct Dynamics {
    broker: Values,
    cluster: Values,
}

/// Static and dynamic configuration, and who wants to know when it changes.
#[derive(Debug)]
pub struct LiveConfig {
    settings: Settings,
    node_id: i32,
    dynamics: ArcSwap<Dynamics>,
    current: ArcSwap<BrokerConfig>,
    changes: watch::Sender<Arc<BrokerConfig>>,
}

impl LiveConfig {
    /// Starts with the static settings alone.
    pub fn new(settings: Settings) -> Result<LiveConfig, ConfigError> {
        let config = Arc::new(build(&settings, &|_| None)?);
        Ok(LiveConfig {
            node_id: config.node_id,
            settings,
            dynamics: ArcSwap::default(),
            current: ArcSwap::new(config.clone()),
            changes: watch::Sender::new(config),
        })
    }

    /// The effective settings now.
    pub fn current(&self) -> Arc<BrokerConfig> {
        self.current.load_full()
    }

    /// Told of every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<BrokerConfig>> {
        self.changes.subscribe()
    }

    /// The settings that were given at start.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the dynamic settings of an image over. Called for every image, from one task; cheap when nothing changed.
    /// Returns whether the effective settings changed.
    pub fn update(&self, image: &Image) -> bool {
        let old = self.dynamics.load_full();
        let same = |a: &Values, b: Option<&Values>| b.map_or(a.is_empty(), |b| Arc::ptr_eq(a, b));
        let (broker, cluster) = (image.broker_config(self.node_id), image.cluster_config());
        if same(&old.broker, broker) && same(&old.cluster, cluster) {
            return false;
        }
        let dynamics =
            Dynamics { broker: broker.cloned().unwrap_or_default(), cluster: cluster.cloned().unwrap_or_default() };
        let config = match build(&self.settings, &|key| dynamic_value(&dynamics, key)) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                // Each value was checked when it was set; together with this broker's own file they may still clash.
                tracing::warn!(%error, "the dynamic configuration does not fit this broker's; the former one stays in effect");
                self.dynamics.store(Arc::new(dynamics));
                return false;
            }
        };
        self.dynamics.store(Arc::new(dynamics));
        let changed = *config != *self.current.load_full();
        self.current.store(config.clone());
        self.changes.send_replace(config);
        changed
    }

    /// Whether a change of dynamic settings would be accepted: `changed` holds all values that would be set then.
    pub fn try_change(&self, changed: &BTreeMap<String, String>, one_broker: bool) -> Result<(), ConfigError> {
        let mut dynamics = (*self.dynamics.load_full()).clone();
        if one_broker {
            dynamics.broker = Arc::new(changed.clone());
        } else {
            dynamics.cluster = Arc::new(changed.clone());
        }
        build(&self.settings, &|key| dynamic_value(&dynamics, key)).map(|_| ())
    }

    /// Effective settings of one topic.
    pub fn topic_config(&self, image: &Image, topic: &str) -> TopicConfig {
        let defaults = &self.current.load().topic_defaults;
        match image.topic_config(topic) {
            Some(own) => TopicConfig::resolve(own.iter(), defaults),
            None => defaults.0.clone(),
        }
    }

    /// The value set dynamically for this very broker.
    pub fn of_broker(&self, key: &str) -> Option<String> {
        self.dynamics.load().broker.get(key).cloned()
    }

    /// The value set dynamically for all brokers.
    pub fn of_cluster(&self, key: &str) -> Option<String> {
        self.dynamics.load().cluster.get(key).cloned()
    }

    /// The effective value of a broker setting that is a number.
    pub fn broker_number(&self, key: &str) -> Option<i64> {
        let own = || self.settings.own(key).map(|set| set.value.clone());
        let fixed = || broker::find(key)?.default.map(str::to_owned);
        let value = dynamic_value(&self.dynamics.load(), key).or_else(own).or_else(fixed)?;
        value.trim().parse().ok()
    }

    /// All values set dynamically for all brokers.
    pub fn cluster_values(&self) -> BTreeMap<String, String> {
        (*self.dynamics.load().cluster).clone()
    }

    /// All values set dynamically for this broker.
    pub fn broker_values(&self) -> BTreeMap<String, String> {
        (*self.dynamics.load().broker).clone()
    }
}

/// A value that was stored for a setting that cannot change at run time (by another version) is not used.
fn dynamic_value(dynamics: &Dynamics, key: &str) -> Option<String> {
    let def = broker::find(key)?;
    if def.dynamic == Dynamic::ReadOnly {
        return None;
    }
    dynamics.broker.get(key).or_else(|| dynamics.cluster.get(key)).cloned()
}
