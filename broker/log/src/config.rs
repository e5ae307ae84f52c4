//! How the log reads a topic's configuration.

use millrace_metadata::config::{CompressionType, TopicConfig};
use millrace_store::RetentionClass;

pub use millrace_metadata::config::TimestampType;

/// A codec with the level it compresses at, as `compression.type` and `compression.<codec>.level` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Level 1–9, or −1 for the library's default.
    Gzip(i32),
    Snappy,
    /// Level 1–17.
    Lz4(i32),
    Zstd(i32),
}

impl Compression {
    /// Id in the batch attributes.
    pub fn id(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip(_) => 1,
            Compression::Snappy => 2,
            Compression::Lz4(_) => 3,
            Compression::Zstd(_) => 4,
        }
    }

    /// The codec that batches of this topic are stored with; `None` keeps what the producer chose.
    pub fn of_topic(config: &TopicConfig) -> Option<Compression> {
        Some(match config.compression_type {
            CompressionType::Producer => return None,
            CompressionType::Uncompressed => Compression::None,
            CompressionType::Gzip => Compression::Gzip(config.gzip_level),
            CompressionType::Snappy => Compression::Snappy,
            CompressionType::Lz4 => Compression::Lz4(config.lz4_level),
            CompressionType::Zstd => Compression::Zstd(config.zstd_level),
        })
    }
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Which logs this topic's data shares files with: those that live about as long.
pub fn retention_class(config: &TopicConfig) -> RetentionClass {
    if config.cleanup_policy.compact {
        return RetentionClass::Compact;
    }
    if !config.cleanup_policy.delete || config.retention_ms < 0 {
        return RetentionClass::Forever;
    }
    match config.retention_ms {
        ..=HOUR_MS => RetentionClass::Hour,
        ms if ms <= 6 * HOUR_MS => RetentionClass::SixHours,
        ms if ms <= DAY_MS => RetentionClass::Day,
        ms if ms <= 7 * DAY_MS => RetentionClass::Week,
        ms if ms <= 31 * DAY_MS => RetentionClass::Month,
        _ => RetentionClass::Forever,
    }
}
