//! From settings to a [`BrokerConfig`], with the rules that join several settings.

use std::path::PathBuf;

use millrace_metadata::config::{BrokerDefaults, broker, check_together};

use super::error::ConfigError;
use super::listeners::{self, Listener, Protocol, is_address};
use super::quorum::{self, Roles};
use super::replication::replication;
use super::settings::Settings;
use super::typed::{self, BrokerConfig, FlushPolicy, Reader};

/// Dynamic values that stand over the static ones; answers with the strongest.
pub type Dynamic<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Builds the effective configuration. Errors name the settings that do not go together and the remedy.
pub fn build(settings: &Settings, dynamic: Dynamic<'_>) -> Result<BrokerConfig, ConfigError> {
    let set = |key: &str| dynamic(key).or_else(|| settings.own(key).map(|s| s.value.clone()));
    let value = |key: &str| set(key).or_else(|| broker::find(key)?.default.map(str::to_owned));
    let read = Reader { value: &value };
    assemble(settings, &read, &set).map_err(ConfigError::Together)
}

fn assemble(settings: &Settings, read: &Reader<'_>, set: Dynamic<'_>) -> Result<BrokerConfig, String> {
    let node_id = node_id(settings, read)?;
    let controllers: Vec<String> =
        read.list("controller.listener.names").iter().map(|n| n.to_ascii_uppercase()).collect();
    let roles = quorum::roles(read);
    let quorum = quorum::quorum(read, node_id, roles)?;
    let Endpoints { clients: listeners, advertised, controllers: controller_listeners, controllers_advertised } =
        endpoints(settings, read, &controllers, roles)?;
    quorum::reachable(&quorum, roles, &controller_listeners)?;
    ranges(read)?;
    let topic_defaults = BrokerDefaults::from_broker(set);
    check_together(&topic_defaults.0).map_err(|why| format!("broker defaults for topics: {why}"))?;
    let log_dirs = log_dirs(read);
    Ok(BrokerConfig {
        node_id,
        roles,
        quorum_voters: quorum.voters,
        quorum_bootstrap: quorum.bootstrap,
        quorum_auto_join: read.flag("controller.quorum.auto.join.enable"),
        quorum_fetch_timeout_ms: read.number("controller.quorum.fetch.timeout.ms"),
        registration_timeout_ms: read.optional("initial.broker.registration.timeout.ms").and_then(|v| v.parse().ok()),
        controller_listeners,
        controllers_advertised,
        rack: read.optional("broker.rack"),
        metadata_dir: read.optional("metadata.log.dir").map_or_else(|| log_dirs[0].clone(), PathBuf::from),
        log_dirs,
        inter_broker_listener: inter_broker(settings, read, &listeners)?,
        listeners,
        advertised,
        http_listeners: http(read, roles)?,
        flush_policy: if read.text("flush.policy") == "os" { FlushPolicy::Os } else { FlushPolicy::Sync },
        memory_limit: read.number("memory.limit"),
        network: typed::network(read)?,
        topics: typed::topics(read),
        groups: typed::groups(read, set("offsets.topic.replication.factor").is_some()),
        replication: replication(read)?,
        fetch_max_bytes: read.number("fetch.max.bytes"),
        fetch_session_slots: read.number("max.incremental.fetch.session.cache.slots"),
        request_partition_limit: read.number("max.request.partition.size.limit"),
        request_timeout_ms: read.number("request.timeout.ms"),
        controlled_shutdown: read.flag("controlled.shutdown.enable"),
        balance_leaders_ms: read
            .flag("auto.leader.rebalance.enable")
            .then(|| read.number::<i64>("leader.imbalance.check.interval.seconds").saturating_mul(1000)),
        unclean_election_interval_ms: read.number("unclean.leader.election.interval.ms"),
        heartbeat_interval_ms: read.number("broker.heartbeat.interval.ms"),
        session_timeout_ms: read.number("broker.session.timeout.ms"),
        retention_check_interval_ms: read.number("log.retention.check.interval.ms"),
        producer_id_expiration_ms: read.number("producer.id.expiration.ms"),
        producer_id_check_interval_ms: read.number("producer.id.expiration.check.interval.ms"),
        topic_defaults,
    })
}

fn node_id(settings: &Settings, read: &Reader<'_>) -> Result<i32, String> {
    let old: i32 = read.number("broker.id");
    let new: i32 = read.number("node.id");
    if settings.own("broker.id").is_none() || old < 0 {
        return Ok(new);
    }
    if settings.own("node.id").is_some() && old != new {
        return Err(format!(
            "node.id={new} and broker.id={old} contradict each other; keep node.id and remove broker.id"
        ));
    }
    Ok(old)
}

/// One directory at least; `log.dirs` wins over `log.dir`.
fn log_dirs(read: &Reader<'_>) -> Vec<PathBuf> {
    let mut dirs = read.list("log.dirs");
    if dirs.is_empty() {
        dirs = read.list("log.dir");
    }
    dirs.into_iter().map(PathBuf::from).collect()
}

/// Listeners and what to tell others about them.
struct Endpoints {
    clients: Vec<Listener>,
    advertised: Vec<Listener>,
    controllers: Vec<Listener>,
    controllers_advertised: Vec<Listener>,
}

fn endpoints(
    settings: &Settings,
    read: &Reader<'_>,
    controllers: &[String],
    roles: Roles,
) -> Result<Endpoints, String> {
    let named = |key: &str, why: String| format!("{key}={}: {why}", read.text(key));
    let map_key = "listener.security.protocol.map";
    let map = listeners::parse_map(&read.text(map_key), settings.own(map_key).is_some(), controllers)
        .map_err(|why| named(map_key, why))?;
    let all = listeners::parse(&read.text("listeners"), &map, true).map_err(|why| named("listeners", why))?;
    let is_controller = |l: &Listener| controllers.contains(&l.name);
    let advertised = listeners::parse(&read.text("advertised.listeners"), &map, false)
        .map_err(|why| named("advertised.listeners", why))?;
    for listener in &advertised {
        if matches!(listener.host.as_str(), "" | "0.0.0.0" | "::") {
            let why = format!(
                "{} cannot be reached at \"{}\"; name a host or leave the setting out",
                listener.name, listener.host
            );
            return Err(named("advertised.listeners", why));
        }
        if !all.iter().any(|l| l.name == listener.name) {
            return Err(named("advertised.listeners", format!("there is no listener {} in listeners", listener.name)));
        }
    }
    let (controller, clients): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_controller);
    quorum::listeners(controllers, &controller, &clients, roles).map_err(|(key, why)| named(key, why))?;
    if let Some(listener) = all.iter().find(|l| l.protocol != Protocol::Plaintext) {
        let why = format!(
            "listener {} uses TLS or SASL, which is not available in this version; use PLAINTEXT",
            listener.name
        );
        return Err(named("listeners", why));
    }
    let (controllers_advertised, advertised) = advertised.into_iter().partition(is_controller);
    Ok(Endpoints { clients, advertised, controllers: controller, controllers_advertised })
}

fn inter_broker(settings: &Settings, read: &Reader<'_>, listeners: &[Listener]) -> Result<String, String> {
    let Some(name) = read.optional("inter.broker.listener.name") else {
        return Ok(listeners.first().map(|l| l.name.clone()).unwrap_or_default());
    };
    if settings.own("security.inter.broker.protocol").is_some() {
        return Err("inter.broker.listener.name and security.inter.broker.protocol exclude each other; keep the first"
            .to_owned());
    }
    let name = name.to_ascii_uppercase();
    // A controller alone has no listener for brokers, whatever the shared file names.
    if listeners.is_empty() || listeners.iter().any(|l| l.name == name) {
        Ok(name)
    } else {
        Err(format!("inter.broker.listener.name={name}: there is no such listener for clients in listeners"))
    }
}

fn http(read: &Reader<'_>, roles: Roles) -> Result<Vec<String>, String> {
    let listeners = read.list("http.listeners");
    if !roles.broker
        && let Some(address) = listeners.first()
    {
        return Err(format!(
            "http.listeners={address}: process.roles=controller serves no health and metrics; remove http.listeners"
        ));
    }
    match listeners.iter().find(|l| !is_address(l)) {
        Some(bad) => Err(format!("http.listeners: {bad} is not host:port")),
        None => Ok(listeners),
    }
}

/// Pairs of settings of which the first must not be greater than the second (`KafkaConfig.validateValues`,
/// `GroupCoordinatorConfig`).
const ORDERED: &[(&str, &str)] = &[
    ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ("replica.fetch.wait.max.ms", "replica.socket.timeout.ms"),
    ("replica.fetch.wait.max.ms", "replica.lag.time.max.ms"),
    ("add.partitions.to.txn.retry.backoff.ms", "add.partitions.to.txn.retry.backoff.max.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.share.min.session.timeout.ms", "group.share.session.timeout.ms"),
    ("group.share.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("group.share.min.record.lock.duration.ms", "group.share.record.lock.duration.ms"),
    ("group.share.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"),
    ("group.streams.min.session.timeout.ms", "group.streams.session.timeout.ms"),
    ("group.streams.session.timeout.ms", "group.streams.max.session.timeout.ms"),
];

fn ranges(read: &Reader<'_>) -> Result<(), String> {
    for (low, high) in ORDERED {
        let (a, b): (i64, i64) = (read.number(low), read.number(high));
        if a > b {
            return Err(format!("{low}={a} must not be greater than {high}={b}"));
        }
    }
    for key in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        let value = read.optional(key).and_then(|v| v.parse::<i64>().ok());
        if value.is_some_and(|v| v == 0 || v < -1) {
            return Err(format!("{key}={}: must be -1 for no limit, or at least 1", value.unwrap_or_default()));
        }
    }
    let (beat, session): (i64, i64) =
        (read.number("broker.heartbeat.interval.ms"), read.number("broker.session.timeout.ms"));
    if beat < 1 || beat * 2 > session {
        return Err(format!(
            "broker.heartbeat.interval.ms={beat} must be between 1 and half of broker.session.timeout.ms={session}"
        ));
    }
    let (queued, largest): (i64, i64) =
        (read.number("queued.max.request.bytes"), read.number("socket.request.max.bytes"));
    if queued > 0 && queued < largest {
        return Err(format!(
            "queued.max.request.bytes={queued} must not be less than socket.request.max.bytes={largest}; use -1 to derive it"
        ));
    }
    let protocols = read.list("group.coordinator.rebalance.protocols");
    if !protocols.iter().any(|p| p == "classic") {
        return Err("group.coordinator.rebalance.protocols: the classic protocol cannot be left out".to_owned());
    }
    Ok(())
}
