//! Settings of the group coordinator, named as Kafka names them (`GroupCoordinatorConfig.java`).

/// All times in milliseconds, all sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members of a group
    pub max_size: usize,
    /// `offset.metadata.max.bytes`; above [`MAX_STRING`] that one counts.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// `offsets.commit.timeout.ms`: how long an answer waits for its records.
    pub commit_timeout_ms: u64,
    /// What one batch of `__consumer_offsets` may hold; a larger group cannot be stored.
    pub max_batch_bytes: usize,
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            retention_check_interval_ms: 600_000,
            commit_timeout_ms: 5_000,
            max_batch_bytes: DEFAULT_MAX_BATCH_BYTES,
        }
    }
}

/// Kafka's default of `message.max.bytes`, which is the limit of a batch of `__consumer_offsets` too.
pub const DEFAULT_MAX_BATCH_BYTES: usize = 1_048_588;

/// The longest string that the records of `__consumer_offsets` can hold.
pub const MAX_STRING: usize = i16::MAX as usize;

/// How long a member whose first JoinGroup waits is kept without a sign of life: it cannot send heartbeats before it
/// has its id (`classicGroupNewMemberJoinTimeoutMs`).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

/// A shard's partition is rewritten when it holds more than this and …
pub const REWRITE_MIN_BYTES: u64 = 16 << 20;

/// … more than this many times what is live.
pub const REWRITE_FACTOR: u64 = 4;
