//! What each room is started with, out of the broker's settings; and how it hears of changes.

use std::sync::Arc;
use std::time::Duration;

use millrace_controller::{ControllerOptions, DutyOptions, RemoteOptions};
use millrace_groups::{GroupCoordinator, GroupSettings};
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{IncarnationId, features};
use millrace_replica::{MaintenanceOptions, ReplicaManager};
use millrace_state::Defaults;

use super::endpoints;
use super::identity::DataDirs;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{BrokerConfig, GroupsConfig, LiveConfig};
use crate::net::{BoundListener, ConnLimits, NetOptions, Server, Times};

/// Directory of the metadata log inside `metadata.log.dir`.
const METADATA: &str = "__cluster_metadata";
/// A connection that is never closed for idleness outlives this only if the broker does.
const IDLE_NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The network layer.
pub fn net_options(config: &BrokerConfig) -> NetOptions {
    let net = &config.network;
    NetOptions {
        max_request_bytes: net.request_max_bytes,
        limits: conn_limits(config),
        times: Times { idle: net.max_idle_ms.map_or(IDLE_NEVER, Duration::from_millis), ..Times::default() },
        send_buffer: net.send_buffer,
        receive_buffer: net.receive_buffer,
        backlog: u32::try_from(net.backlog).unwrap_or_default(),
        request_memory: usize::try_from(net.queued_max_bytes).unwrap_or(usize::MAX),
    }
}

fn conn_limits(config: &BrokerConfig) -> ConnLimits {
    let net = &config.network;
    ConnLimits {
        total: net.max_connections,
        per_ip: net.max_connections_per_ip,
        overrides: net.per_ip_overrides.clone(),
        per_second: net.max_creation_rate,
    }
}

/// Hands changed settings to the parts that do not ask for them each time.
pub async fn follow_settings(live: Arc<LiveConfig>, server: Arc<Server<Broker>>, groups: GroupCoordinator) {
    let mut changes = live.subscribe();
    while changes.changed().await.is_ok() {
        let config = changes.borrow_and_update().clone();
        server.set_limits(conn_limits(&config));
        groups.configure(Arc::new(group_settings(&config)));
    }
}

/// The controller of this node. `cluster_id`: the one to belong to, if it is known already.
pub fn controller_options(
    config: &BrokerConfig,
    cluster_id: Option<String>,
    listener: Option<std::net::TcpListener>,
) -> ControllerOptions {
    ControllerOptions {
        cluster_id,
        defaults: Defaults {
            num_partitions: config.topics.num_partitions,
            replication_factor: config.topics.default_replication_factor,
            topic: config.topic_defaults.clone(),
            ..Defaults::default()
        },
        voters: config.quorum_voters.clone(),
        bootstrap: config.quorum_bootstrap.clone(),
        auto_join: config.quorum_auto_join,
        advertised: endpoints::advertised_controller(config),
        listener: listener.map(Arc::new),
        fetch_timeout_ms: config.quorum_fetch_timeout_ms,
        broker_session_timeout_ms: i64::from(config.session_timeout_ms),
        duties: DutyOptions {
            balance_every_ms: config.balance_leaders_ms,
            unclean_every_ms: config.unclean_election_interval_ms,
            ..DutyOptions::default()
        },
        ..ControllerOptions::new(config.node_id, config.metadata_dir.join(METADATA))
    }
}

/// How a broker without a controller of its own finds them.
pub fn remote_options(config: &BrokerConfig, cluster_id: Option<String>) -> RemoteOptions {
    let voters = config.quorum_voters.iter().map(|voter| (voter.host.clone(), voter.port));
    let servers = config.quorum_bootstrap.iter().cloned().chain(voters).collect();
    RemoteOptions { servers, cluster_id, features: features::TABLE }
}

/// Whether this node's controller has no others to agree with.
pub fn is_alone(config: &BrokerConfig) -> bool {
    let roles = config.roles;
    roles.controller && config.quorum_bootstrap.is_empty() && config.quorum_voters.len() <= 1
}

/// What this broker tells the controller of itself.
pub fn registration(config: &BrokerConfig, data: &DataDirs, bound: &[BoundListener]) -> BrokerRegistration {
    BrokerRegistration {
        id: config.node_id,
        incarnation: IncarnationId::from_random(rand::random()),
        endpoints: endpoints::registered(config, bound),
        rack: config.rack.clone(),
        dirs: data.dirs.iter().map(|dir| dir.id).collect(),
        features: features::ranges(features::TABLE),
    }
}

/// The group coordinator.
pub fn group_settings(config: &BrokerConfig) -> GroupSettings {
    let GroupsConfig {
        min_session_timeout_ms,
        max_session_timeout_ms,
        initial_rebalance_delay_ms,
        max_size,
        offset_metadata_max_bytes,
        offsets_commit_timeout_ms,
        offsets_retention_ms,
        offsets_retention_check_interval_ms,
        ..
    } = config.groups;
    GroupSettings {
        min_session_timeout_ms,
        max_session_timeout_ms,
        initial_rebalance_delay_ms,
        max_size: usize::try_from(max_size).unwrap_or_default(),
        offset_metadata_max_bytes: usize::try_from(offset_metadata_max_bytes).unwrap_or_default(),
        offsets_retention_ms,
        retention_check_interval_ms: offsets_retention_check_interval_ms,
        commit_timeout_ms: u64::try_from(offsets_commit_timeout_ms).unwrap_or_default(),
        max_batch_bytes: usize::try_from(config.topic_defaults.0.max_message_bytes).unwrap_or_default(),
    }
}

/// Retention, expiry of producers and the like, until the future is dropped.
pub async fn maintain(replicas: Arc<ReplicaManager>, live: Arc<LiveConfig>, clock: Clock) {
    let options = move || {
        let config = live.current();
        MaintenanceOptions {
            retention_check_interval_ms: config.retention_check_interval_ms.max(1) as u64,
            producer_expiry_check_interval_ms: config.producer_id_check_interval_ms.max(1) as u64,
            producer_expiration_ms: i64::from(config.producer_id_expiration_ms),
            ..MaintenanceOptions::default()
        }
    };
    replicas.maintain(move || clock.now_ms(), options).await;
}
