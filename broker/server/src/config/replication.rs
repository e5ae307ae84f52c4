//! Settings of replication: how followers fetch, when a replica counts as behind, throttles (KIP-73), and the choice of
//! a replica for consumers (KIP-392).

use super::typed::Reader;

/// Fetching from leaders, and being fetched from. Times in ms, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// Fetchers for each leader's broker (`num.replica.fetchers`).
    pub fetchers: usize,
    /// Of one partition in an answer.
    pub fetch_max_bytes: i32,
    /// Of all partitions of an answer together.
    pub response_max_bytes: i32,
    pub fetch_min_bytes: i32,
    pub fetch_wait_ms: u32,
    pub backoff_ms: u32,
    /// How often high watermarks are written down.
    pub checkpoint_interval_ms: u64,
    /// Silence, or lag, after which a replica is not in sync.
    pub lag_time_max_ms: i64,
    pub socket_timeout_ms: u32,
    /// `None` leaves it to the system.
    pub receive_buffer: Option<usize>,
    /// Sends consumers to a replica in their rack.
    pub rack_aware: bool,
    /// Bytes per second of replication to throttled followers of this broker's leaders; `None` for no limit.
    pub leader_rate: Option<u64>,
    /// Bytes per second of replication to throttled replicas on this broker; `None` for no limit.
    pub follower_rate: Option<u64>,
}

/// The two selectors that Kafka ships.
const LEADER_SELECTOR: &str = "org.apache.kafka.common.replica.LeaderSelector";
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

pub(super) fn replication(read: &Reader<'_>) -> Result<ReplicationConfig, String> {
    let rate = |key: &str| Some(read.number::<u64>(key)).filter(|rate| *rate < i64::MAX as u64);
    Ok(ReplicationConfig {
        fetchers: read.number("num.replica.fetchers"),
        fetch_max_bytes: read.number("replica.fetch.max.bytes"),
        response_max_bytes: read.number("replica.fetch.response.max.bytes"),
        fetch_min_bytes: read.number("replica.fetch.min.bytes"),
        fetch_wait_ms: read.number("replica.fetch.wait.max.ms"),
        backoff_ms: read.number("replica.fetch.backoff.ms"),
        checkpoint_interval_ms: read.number("replica.high.watermark.checkpoint.interval.ms"),
        lag_time_max_ms: read.number("replica.lag.time.max.ms"),
        socket_timeout_ms: read.number("replica.socket.timeout.ms"),
        receive_buffer: usize::try_from(read.number::<i64>("replica.socket.receive.buffer.bytes")).ok(),
        rack_aware: rack_aware(read)?,
        leader_rate: rate("leader.replication.throttled.rate"),
        follower_rate: rate("follower.replication.throttled.rate"),
    })
}

fn rack_aware(read: &Reader<'_>) -> Result<bool, String> {
    match read.text("replica.selector.class").as_str() {
        "" | LEADER_SELECTOR => Ok(false),
        RACK_AWARE_SELECTOR => Ok(true),
        other => Err(format!(
            "replica.selector.class={other}: classes cannot be loaded; use {RACK_AWARE_SELECTOR} or leave it out"
        )),
    }
}
