//! A topic's settings as the log uses them: the topic's own values over the broker's defaults.

use super::check::{list_items, parse_bool};
use super::topic::{TABLE, scale, synonyms};

/// `compression.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// Keep what the producer sent.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CompressionType {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "producer" => Self::Producer,
            "uncompressed" => Self::Uncompressed,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// `cleanup.policy`; neither means that nothing is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// Effective settings of one topic. Times in ms, sizes in bytes; −1 is "no limit" where Kafka has it so.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    pub compression_type: CompressionType,
    /// −1: the codec's default.
    pub gzip_level: i32,
    pub lz4_level: i32,
    pub zstd_level: i32,
    pub delete_retention_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    /// Largest accepted batch, its 12 byte prefix included.
    pub max_message_bytes: i32,
    pub message_timestamp_type: TimestampType,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub min_insync_replicas: i32,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub unclean_leader_election_enable: bool,
}

impl Default for TopicConfig {
    /// Kafka's defaults for a broker without any setting.
    fn default() -> Self {
        TopicConfig {
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            compression_type: CompressionType::Producer,
            gzip_level: -1,
            lz4_level: 9,
            zstd_level: 3,
            delete_retention_ms: 86_400_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            max_compaction_lag_ms: i64::MAX,
            min_compaction_lag_ms: 0,
            min_cleanable_dirty_ratio: 0.5,
            max_message_bytes: 1_048_588,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_after_max_ms: 3_600_000,
            message_timestamp_before_max_ms: i64::MAX,
            min_insync_replicas: 1,
            retention_bytes: -1,
            retention_ms: 604_800_000,
            segment_bytes: 1_073_741_824,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            unclean_leader_election_enable: false,
        }
    }
}

/// What a topic without own settings gets on this broker or in this cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BrokerDefaults(pub TopicConfig);

impl BrokerDefaults {
    /// Takes the defaults from a broker's settings: `value` answers with the effective value of a broker setting that
    /// somebody set, and `None` for one that nobody did.
    pub fn from_broker(value: impl Fn(&str) -> Option<String>) -> Self {
        let mut config = TopicConfig::default();
        for def in TABLE {
            let found = synonyms(def.name).iter().find_map(|(key, unit)| value(key).map(|v| scale(&v, *unit)));
            if let Some(found) = found {
                config.set(def.name, &found);
            }
        }
        BrokerDefaults(config)
    }
}

impl TopicConfig {
    /// The topic's own values over the broker's defaults. A stored value that cannot be read counts as not set:
    /// it was checked before it was stored.
    pub fn resolve<K: AsRef<str>, V: AsRef<str>>(
        overrides: impl IntoIterator<Item = (K, V)>,
        broker: &BrokerDefaults,
    ) -> TopicConfig {
        let mut config = broker.0.clone();
        let mut internal_segment_bytes = None;
        for (key, value) in overrides {
            if key.as_ref() == "internal.segment.bytes" {
                internal_segment_bytes = value.as_ref().trim().parse().ok();
            } else {
                config.set(key.as_ref(), value.as_ref());
            }
        }
        config.segment_bytes = internal_segment_bytes.unwrap_or(config.segment_bytes);
        config
    }

    fn set(&mut self, key: &str, value: &str) {
        fn put<T: std::str::FromStr>(slot: &mut T, value: &str) {
            if let Ok(parsed) = value.trim().parse() {
                *slot = parsed;
            }
        }
        match key {
            "cleanup.policy" => {
                let items = list_items(value);
                self.cleanup_policy =
                    CleanupPolicy { delete: items.contains(&"delete"), compact: items.contains(&"compact") };
            }
            "compression.type" => {
                self.compression_type = CompressionType::parse(value.trim()).unwrap_or(self.compression_type);
            }
            "compression.gzip.level" => put(&mut self.gzip_level, value),
            "compression.lz4.level" => put(&mut self.lz4_level, value),
            "compression.zstd.level" => put(&mut self.zstd_level, value),
            "delete.retention.ms" => put(&mut self.delete_retention_ms, value),
            "flush.messages" => put(&mut self.flush_messages, value),
            "flush.ms" => put(&mut self.flush_ms, value),
            "max.compaction.lag.ms" => put(&mut self.max_compaction_lag_ms, value),
            "min.compaction.lag.ms" => put(&mut self.min_compaction_lag_ms, value),
            "min.cleanable.dirty.ratio" => put(&mut self.min_cleanable_dirty_ratio, value),
            "max.message.bytes" => put(&mut self.max_message_bytes, value),
            "message.timestamp.type" => match value.trim() {
                "CreateTime" => self.message_timestamp_type = TimestampType::CreateTime,
                "LogAppendTime" => self.message_timestamp_type = TimestampType::LogAppendTime,
                _ => {}
            },
            "message.timestamp.after.max.ms" => put(&mut self.message_timestamp_after_max_ms, value),
            "message.timestamp.before.max.ms" => put(&mut self.message_timestamp_before_max_ms, value),
            "min.insync.replicas" => put(&mut self.min_insync_replicas, value),
            "retention.bytes" => put(&mut self.retention_bytes, value),
            "retention.ms" => put(&mut self.retention_ms, value),
            "segment.bytes" => put(&mut self.segment_bytes, value),
            "segment.ms" => put(&mut self.segment_ms, value),
            "segment.jitter.ms" => put(&mut self.segment_jitter_ms, value),
            "unclean.leader.election.enable" => {
                self.unclean_leader_election_enable = parse_bool(value).unwrap_or(self.unclean_leader_election_enable);
            }
            _ => {}
        }
    }
}

/// Rules between several settings of one topic (`LogConfig.validate`). The error is the reason of the refusal.
pub fn check_together(config: &TopicConfig) -> Result<(), String> {
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(format!(
            "min.compaction.lag.ms ({}) must not be greater than max.compaction.lag.ms ({})",
            config.min_compaction_lag_ms, config.max_compaction_lag_ms
        ));
    }
    Ok(())
}
