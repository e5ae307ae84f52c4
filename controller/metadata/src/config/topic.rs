//! Topic settings of Kafka 4.3 (`TopicConfig.java`, `LogConfig.java`), with the broker settings that give their
//! defaults (`ServerTopicConfigSynonyms.java`).

use super::def::{Check, ConfigDef, Kind};

const NO_TIERS: &str = "tiered storage is not available in this version; leave it off";
const NO_COMPACTION: &str = "compaction is not available in this version; use delete";
const LONG_MAX: &str = "9223372036854775807";

/// Compression names of `compression.type`.
pub const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const fn def(name: &'static str, kind: Kind, default: &'static str, check: Check, doc: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, default, check, doc).cluster_wide()
}

/// Every topic setting, sorted by name.
pub static TABLE: &[ConfigDef] = &[
    def("cleanup.policy", Kind::List, "delete", Check::ListOf(&["compact", "delete"], true),
        "What happens to old data: delete drops it by age and size, compact keeps the latest record of each key; an empty list keeps everything.").only(&["delete"], NO_COMPACTION),
    def("compression.gzip.level", Kind::Int, "-1", Check::BetweenOr(1, 9, -1),
        "Level used when the broker compresses with gzip; -1 is the codec's own default."),
    def("compression.lz4.level", Kind::Int, "9", Check::Between(1, 17), "Level used when the broker compresses with lz4."),
    def("compression.type", Kind::String, "producer", Check::OneOf(COMPRESSIONS),
        "Codec that batches are stored with; producer keeps what the producer chose."),
    def("compression.zstd.level", Kind::Int, "3", Check::Between(-131_072, 22), "Level used when the broker compresses with zstd."),
    def("delete.retention.ms", Kind::Long, "86400000", Check::AtLeast(0),
        "How long delete markers stay readable in a compacted topic.").unused(),
    def("file.delete.delay.ms", Kind::Long, "60000", Check::AtLeast(0),
        "Delay before files of dropped data are removed. Storage gives space back on its own schedule.").unused(),
    def("flush.messages", Kind::Long, LONG_MAX, Check::AtLeast(1),
        "Records after which a flush is forced. Data is flushed before it is acknowledged unless flush.policy is os.").unused(),
    def("flush.ms", Kind::Long, LONG_MAX, Check::AtLeast(0),
        "Time after which a flush is forced. Data is flushed before it is acknowledged unless flush.policy is os.").unused(),
    def("follower.replication.throttled.replicas", Kind::List, "", Check::ThrottledReplicas,
        "Replicas whose incoming replication is throttled: partition:broker pairs, or * for all."),
    def("index.interval.bytes", Kind::Int, "4096", Check::AtLeast(0),
        "Bytes between index entries. Storage indexes every batch.").unused(),
    def("internal.segment.bytes", Kind::Int, "", Check::Any, "Segment size without a lower limit, for tests.").null().hidden(),
    def("leader.replication.throttled.replicas", Kind::List, "", Check::ThrottledReplicas,
        "Replicas whose outgoing replication is throttled: partition:broker pairs, or * for all."),
    def("local.retention.bytes", Kind::Long, "-2", Check::AtLeast(-2),
        "Size kept on local disks when older data is tiered; -2 means retention.bytes.").unused(),
    def("local.retention.ms", Kind::Long, "-2", Check::AtLeast(-2),
        "Age kept on local disks when older data is tiered; -2 means retention.ms.").unused(),
    def("max.compaction.lag.ms", Kind::Long, LONG_MAX, Check::AtLeast(1),
        "Longest time that a record of a compacted topic may stay uncompacted.").unused(),
    def("max.message.bytes", Kind::Int, "1048588", Check::AtLeast(0), "Largest record batch in bytes, as stored, that is accepted."),
    def("message.timestamp.after.max.ms", Kind::Long, "3600000", Check::AtLeast(0),
        "How far a record's timestamp may lie ahead of the broker's clock; not used with LogAppendTime."),
    def("message.timestamp.before.max.ms", Kind::Long, LONG_MAX, Check::AtLeast(0),
        "How far a record's timestamp may lie behind the broker's clock; not used with LogAppendTime."),
    def("message.timestamp.type", Kind::String, "CreateTime", Check::OneOf(&["CreateTime", "LogAppendTime"]),
        "Whose time stands in the records: the producer's, or that of the append."),
    def("min.cleanable.dirty.ratio", Kind::Double, "0.5", Check::Ratio(0.0, 1.0),
        "Share of uncompacted data at which a compacted topic is cleaned.").unused(),
    def("min.compaction.lag.ms", Kind::Long, "0", Check::AtLeast(0),
        "Shortest time that a record of a compacted topic stays uncompacted.").unused(),
    def("min.insync.replicas", Kind::Int, "1", Check::AtLeast(1),
        "In-sync replicas, the leader among them, that a write with acks=all needs."),
    def("preallocate", Kind::Bool, "false", Check::Any, "Reserves file space ahead. Storage manages its own files.").unused(),
    def("remote.log.copy.disable", Kind::Bool, "false", Check::Any,
        "Stops copying data of a tiered topic to remote storage.").only(&["false"], NO_TIERS),
    def("remote.log.delete.on.disable", Kind::Bool, "false", Check::Any,
        "Deletes remote data when tiering of a topic is turned off.").only(&["false"], NO_TIERS),
    def("remote.storage.enable", Kind::Bool, "false", Check::Any,
        "Moves older data of the topic to remote storage.").only(&["false"], NO_TIERS),
    def("retention.bytes", Kind::Long, "-1", Check::Any, "Size per partition above which the oldest data is dropped; -1 sets no limit."),
    def("retention.ms", Kind::Long, "604800000", Check::AtLeast(-1), "Age above which data is dropped; -1 sets no limit."),
    def("segment.bytes", Kind::Int, "1073741824", Check::AtLeast(1_048_576),
        "Largest unit in bytes that retention drops at once; also the limit of one batch."),
    def("segment.index.bytes", Kind::Int, "10485760", Check::AtLeast(4),
        "Size of an offset index file. Storage has no such files.").unused(),
    def("segment.jitter.ms", Kind::Long, "0", Check::AtLeast(0),
        "Random time taken off segment.ms, so that many partitions do not roll at once."),
    def("segment.ms", Kind::Long, "604800000", Check::AtLeast(1),
        "Time after which a new unit of retention is begun even if the old one is not full."),
    def("unclean.leader.election.enable", Kind::Bool, "false", Check::Any,
        "Lets a replica that is not in sync lead when no other is left, at the price of lost records."),
];

/// How the value of a broker setting turns into the topic setting's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Same,
    MinutesToMs,
    HoursToMs,
}

/// Broker settings that give a topic setting its default, strongest first.
pub fn synonyms(topic_key: &str) -> &'static [(&'static str, Scale)] {
    use Scale::{HoursToMs, MinutesToMs, Same};
    match topic_key {
        "cleanup.policy" => &[("log.cleanup.policy", Same)],
        "compression.gzip.level" => &[("compression.gzip.level", Same)],
        "compression.lz4.level" => &[("compression.lz4.level", Same)],
        "compression.type" => &[("compression.type", Same)],
        "compression.zstd.level" => &[("compression.zstd.level", Same)],
        "delete.retention.ms" => &[("log.cleaner.delete.retention.ms", Same)],
        "file.delete.delay.ms" => &[("log.segment.delete.delay.ms", Same)],
        "flush.messages" => &[("log.flush.interval.messages", Same)],
        "flush.ms" => &[("log.flush.interval.ms", Same), ("log.flush.scheduler.interval.ms", Same)],
        "index.interval.bytes" => &[("log.index.interval.bytes", Same)],
        "local.retention.bytes" => &[("log.local.retention.bytes", Same)],
        "local.retention.ms" => &[("log.local.retention.ms", Same)],
        "max.compaction.lag.ms" => &[("log.cleaner.max.compaction.lag.ms", Same)],
        "max.message.bytes" => &[("message.max.bytes", Same)],
        "message.timestamp.after.max.ms" => &[("log.message.timestamp.after.max.ms", Same)],
        "message.timestamp.before.max.ms" => &[("log.message.timestamp.before.max.ms", Same)],
        "message.timestamp.type" => &[("log.message.timestamp.type", Same)],
        "min.cleanable.dirty.ratio" => &[("log.cleaner.min.cleanable.ratio", Same)],
        "min.compaction.lag.ms" => &[("log.cleaner.min.compaction.lag.ms", Same)],
        "min.insync.replicas" => &[("min.insync.replicas", Same)],
        "preallocate" => &[("log.preallocate", Same)],
        "retention.bytes" => &[("log.retention.bytes", Same)],
        "retention.ms" => {
            &[("log.retention.ms", Same), ("log.retention.minutes", MinutesToMs), ("log.retention.hours", HoursToMs)]
        }
        "segment.bytes" => &[("log.segment.bytes", Same)],
        "segment.index.bytes" => &[("log.index.size.max.bytes", Same)],
        "segment.jitter.ms" => &[("log.roll.jitter.ms", Same), ("log.roll.jitter.hours", HoursToMs)],
        "segment.ms" => &[("log.roll.ms", Same), ("log.roll.hours", HoursToMs)],
        "unclean.leader.election.enable" => &[("unclean.leader.election.enable", Same)],
        _ => &[],
    }
}

/// Converts a broker setting's value into the unit of the topic setting; a value that is no number stays as it is.
pub fn scale(value: &str, scale: Scale) -> String {
    let factor: i64 = match scale {
        Scale::Same => return value.to_owned(),
        Scale::MinutesToMs => 60_000,
        Scale::HoursToMs => 3_600_000,
    };
    match value.trim().parse::<i64>() {
        Ok(n) if n < 0 => n.to_string(),
        Ok(n) => n.saturating_mul(factor).to_string(),
        Err(_) => value.to_owned(),
    }
}
