//! The broker's settings as the rest of the program uses them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use millrace_controller::VoterAddress;
use millrace_metadata::config::{BrokerDefaults, list_items, parse_bool};

use super::listeners::Listener;
use super::quorum::Roles;
use super::replication::ReplicationConfig;

/// When a write counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushPolicy {
    Sync,
    Os,
}

/// Effective settings. Times in ms, sizes in bytes, unless a name says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    pub node_id: i32,
    pub roles: Roles,
    /// `controller.quorum.voters`; empty if the quorum is found through `quorum_bootstrap` or is this node alone.
    pub quorum_voters: Vec<VoterAddress>,
    /// `controller.quorum.bootstrap.servers`: host and port of each.
    pub quorum_bootstrap: Vec<(String, u16)>,
    /// Whether a new controller adds itself to the quorum that it finds.
    pub quorum_auto_join: bool,
    pub quorum_fetch_timeout_ms: u64,
    /// How long the first registration may take, from the start on; `None`: as long as it takes.
    pub registration_timeout_ms: Option<u64>,
    /// Where this node's own controller listens; empty without that role.
    pub controller_listeners: Vec<Listener>,
    /// Where others reach this node's controller, where it is pinned.
    pub controllers_advertised: Vec<Listener>,
    pub rack: Option<String>,
    pub log_dirs: Vec<PathBuf>,
    /// Where the controller keeps its log; the first log directory if not set.
    pub metadata_dir: PathBuf,
    /// Listeners for clients, in their order; those of the controller are not among them.
    pub listeners: Vec<Listener>,
    /// Addresses to tell clients, where they are pinned.
    pub advertised: Vec<Listener>,
    pub inter_broker_listener: String,
    /// `host:port` each.
    pub http_listeners: Vec<String>,
    pub flush_policy: FlushPolicy,
    pub memory_limit: u64,
    pub network: NetworkConfig,
    pub topics: TopicsConfig,
    pub groups: GroupsConfig,
    pub replication: ReplicationConfig,
    pub fetch_max_bytes: i32,
    pub fetch_session_slots: usize,
    pub request_partition_limit: i32,
    pub request_timeout_ms: i32,
    /// `controlled.shutdown.enable`: leaderships move away before this broker stops.
    pub controlled_shutdown: bool,
    /// `leader.imbalance.check.interval.seconds`; `None` without `auto.leader.rebalance.enable`.
    pub balance_leaders_ms: Option<i64>,
    pub unclean_election_interval_ms: i64,
    pub heartbeat_interval_ms: i32,
    pub session_timeout_ms: i32,
    pub retention_check_interval_ms: i64,
    pub producer_id_expiration_ms: i32,
    pub producer_id_check_interval_ms: i32,
    /// What topics get that do not say it themselves.
    pub topic_defaults: BrokerDefaults,
}

/// Sockets and requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    pub backlog: i32,
    /// `None`: as the system has it.
    pub send_buffer: Option<usize>,
    pub receive_buffer: Option<usize>,
    pub request_max_bytes: usize,
    /// Bytes of requests in memory at one time.
    pub queued_max_bytes: u64,
    /// `None`: never closed for idleness.
    pub max_idle_ms: Option<u64>,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    pub per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// Accepted connections per second.
    pub max_creation_rate: u32,
}

/// Creation and deletion of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicsConfig {
    pub auto_create: bool,
    pub delete_enable: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
}

/// The classic group protocol and the offsets topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupsConfig {
    pub min_session_timeout_ms: i32,
    pub max_session_timeout_ms: i32,
    pub initial_rebalance_delay_ms: i32,
    pub max_size: i32,
    pub offset_metadata_max_bytes: i32,
    pub offsets_commit_timeout_ms: i32,
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_interval_ms: i64,
    pub offsets_partitions: i32,
    pub offsets_replication_factor: i16,
    /// Whether somebody chose the replication factor; if not, it is lowered to the number of brokers.
    pub offsets_replication_pinned: bool,
    pub offsets_segment_bytes: i32,
}

/// Typed access to effective values; every value passed its check before, so that a fallback is never used.
pub(super) struct Reader<'a> {
    pub value: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    pub fn text(&self, key: &str) -> String {
        (self.value)(key).map(|v| v.trim().to_owned()).unwrap_or_default()
    }

    pub fn optional(&self, key: &str) -> Option<String> {
        (self.value)(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    pub fn number<T: std::str::FromStr + Default>(&self, key: &str) -> T {
        self.text(key).parse().unwrap_or_default()
    }

    pub fn flag(&self, key: &str) -> bool {
        parse_bool(&self.text(key)).unwrap_or_default()
    }

    pub fn list(&self, key: &str) -> Vec<String> {
        list_items(&self.text(key)).into_iter().map(str::to_owned).collect()
    }

    /// A limit whose largest value means none.
    fn limit(&self, key: &str) -> usize {
        self.number::<u32>(key) as usize
    }
}

/// Share of `memory.limit` that requests may take when `queued.max.request.bytes` is not set.
const REQUEST_SHARE: u64 = 4;
const MINUTE_MS: i64 = 60_000;

pub(super) fn network(read: &Reader<'_>) -> Result<NetworkConfig, String> {
    let buffer = |key: &str| usize::try_from(read.number::<i64>(key)).ok();
    let queued = read.number::<i64>("queued.max.request.bytes");
    let memory: u64 = read.number("memory.limit");
    Ok(NetworkConfig {
        backlog: read.number("socket.listen.backlog.size"),
        send_buffer: buffer("socket.send.buffer.bytes"),
        receive_buffer: buffer("socket.receive.buffer.bytes"),
        request_max_bytes: read.limit("socket.request.max.bytes"),
        queued_max_bytes: u64::try_from(queued).ok().filter(|n| *n > 0).unwrap_or(memory / REQUEST_SHARE),
        max_idle_ms: u64::try_from(read.number::<i64>("connections.max.idle.ms")).ok(),
        max_connections: read.limit("max.connections"),
        max_connections_per_ip: read.limit("max.connections.per.ip"),
        per_ip_overrides: per_ip(&read.text("max.connections.per.ip.overrides"))?,
        max_creation_rate: read.number("max.connection.creation.rate"),
    })
}

fn per_ip(text: &str) -> Result<BTreeMap<IpAddr, usize>, String> {
    let mut map = BTreeMap::new();
    for item in list_items(text) {
        let parsed =
            item.rsplit_once(':').and_then(|(ip, count)| Some((ip.trim().parse().ok()?, count.trim().parse().ok()?)));
        let Some((ip, count)) = parsed else {
            return Err(format!(
                "max.connections.per.ip.overrides: {item} is not an address and a count, as 10.0.0.1:5"
            ));
        };
        map.insert(ip, count);
    }
    Ok(map)
}

pub(super) fn topics(read: &Reader<'_>) -> TopicsConfig {
    TopicsConfig {
        auto_create: read.flag("auto.create.topics.enable"),
        delete_enable: read.flag("delete.topic.enable"),
        num_partitions: read.number("num.partitions"),
        default_replication_factor: read.number("default.replication.factor"),
    }
}

pub(super) fn groups(read: &Reader<'_>, replication_pinned: bool) -> GroupsConfig {
    GroupsConfig {
        min_session_timeout_ms: read.number("group.min.session.timeout.ms"),
        max_session_timeout_ms: read.number("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms: read.number("group.initial.rebalance.delay.ms"),
        max_size: read.number("group.max.size"),
        offset_metadata_max_bytes: read.number("offset.metadata.max.bytes"),
        offsets_commit_timeout_ms: read.number("offsets.commit.timeout.ms"),
        offsets_retention_ms: read.number::<i64>("offsets.retention.minutes").saturating_mul(MINUTE_MS),
        offsets_retention_check_interval_ms: read.number("offsets.retention.check.interval.ms"),
        offsets_partitions: read.number("offsets.topic.num.partitions"),
        offsets_replication_factor: read.number("offsets.topic.replication.factor"),
        offsets_replication_pinned: replication_pinned,
        offsets_segment_bytes: read.number("offsets.topic.segment.bytes"),
    }
}
