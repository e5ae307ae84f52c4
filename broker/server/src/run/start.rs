//! The order of start and stop.
//!
//! ```text
//! sockets bound ─▶ directories claimed ─▶ stores opened ┐
//!                                     └─▶ controller    ┴▶ replicas ─▶ image task ─▶ registered ─▶ groups loaded ─▶ accept
//! ```
//! A port that is taken or a directory that is not ours is found before anything is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_controller::{Controller, ControllerOptions};
use millrace_groups::{GroupCoordinator, GroupSettings, Parts};
use millrace_metadata::features;
use millrace_metadata::record::{BrokerRegistration, FeatureRange};
use millrace_metadata::{Image, IncarnationId};
use millrace_replica::{MaintenanceOptions, ReplicaManager, ReplicaOptions};
use millrace_security::Authorizer;
use millrace_state::Defaults;
use millrace_transactions::ProducerIds;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::endpoints;
use super::identity::{self, DataDirs};
use super::images::Follower;
use super::lifecycle::{Member, register};
use super::logging::Loggers;
use super::stores::{self, Opened};
use super::StartError;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{BrokerConfig, GroupsConfig, LiveConfig, Settings};
use crate::glue::{OffsetsPartitions, ProducerIdBlocks};
use crate::http::{Http, HttpState};
use crate::metrics::Metrics;
use crate::net::{AnswerMemory, BoundListener, ConnLimits, NetOptions, Server, Times};
use crate::sessions::FetchSessions;

/// Directory of the metadata log inside `metadata.log.dir`.
const METADATA: &str = "__cluster_metadata";
/// A connection that is never closed for idleness outlives this only if the broker does.
const IDLE_NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Share of `memory.limit` for answers that wait for slow readers.
const ANSWERS_SHARE: usize = 4;
/// Longest wait for committed offsets to be read; what is not read by then is answered with
/// `COORDINATOR_LOAD_IN_PROGRESS`.
const GROUPS_WAIT: Duration = Duration::from_secs(10);

/// A broker that serves clients.
pub struct Running {
    broker: Arc<Broker>,
    server: Arc<Server<Broker>>,
    http: Vec<Http>,
    ready: Arc<AtomicBool>,
    groups: GroupCoordinator,
    tasks: Vec<JoinHandle<()>>,
    addresses: String,
    data: DataDirs,
}

/// Everything between the bound sockets and the accepting server.
struct Parts_ {
    live: Arc<LiveConfig>,
    config: Arc<BrokerConfig>,
    controller: Arc<Controller>,
    replicas: Arc<ReplicaManager>,
    clean: bool,
}

/// Starts a broker; returns when clients can use it.
pub async fn start(
    settings: Settings,
    cluster_id: Option<String>,
    loggers: Arc<Loggers>,
) -> Result<Running, StartError> {
    let live = Arc::new(LiveConfig::new(settings)?);
    let config = live.current();
    warn_without_effect(&live);
    let net = net_options(&config);
    let bound = endpoints::bind(&config, &net).await?;
    let data = identity::open(&config.log_dirs, config.node_id, cluster_id.as_deref(), &mut rand::random)?;
    let parts = open_parts(live, config, &data).await?;
    serve(parts, data, bound, net, loggers).await
}

/// Opens the stores while the controller elects itself.
async fn open_parts(
    live: Arc<LiveConfig>,
    config: Arc<BrokerConfig>,
    data: &DataDirs,
) -> Result<Parts_, StartError> {
    let controller = Controller::start(controller_options(&config, data));
    let stores = async { tokio::task::block_in_place(|| stores::open(data, &config)) };
    let (stores, controller) = tokio::join!(stores, async { tokio::spawn(controller).await });
    let Opened { dirs, clean } = stores?;
    let controller = controller
        .map_err(|error| StartError::part("controller", error))?
        .map_err(|error| StartError::part("controller", error))?;
    let node_id = config.node_id;
    let replicas = tokio::task::spawn_blocking(move || ReplicaManager::start(ReplicaOptions { node_id, dirs })).await;
    let replicas = replicas.map_err(|error| StartError::part("partitions", error))?;
    Ok(Parts_ { live, config, controller: Arc::new(controller), replicas: Arc::new(replicas), clean })
}

async fn serve(
    parts: Parts_,
    data: DataDirs,
    bound: Vec<BoundListener>,
    net: NetOptions,
    loggers: Arc<Loggers>,
) -> Result<Running, StartError> {
    let Parts_ { live, config, controller, replicas, clean } = parts;
    let clock = Clock;
    let groups = GroupCoordinator::start(Parts {
        settings: Arc::new(group_settings(&config)),
        partitions: config.groups.offsets_partitions,
        log: Arc::new(OffsetsPartitions::new(replicas.clone(), clock)),
        clock: Arc::new(move || clock.now_ms()),
        uuids: Box::new(|| Box::new(rand::random)),
    });
    let (images, images_seen) = watch::channel(Arc::new(Image::default()));
    let (served, served_seen) = watch::channel(0);
    let follower = Follower {
        node_id: config.node_id,
        config: live.clone(),
        replicas: replicas.clone(),
        groups: groups.clone(),
        images,
        served,
    };
    let epoch = register(&controller, registration(&config, &data, &bound), !clean).await?;
    let mut tasks = vec![tokio::spawn(follower.run(controller.images()))];
    let member = Member {
        node_id: config.node_id,
        epoch,
        controller: controller.clone(),
        replicas: replicas.clone(),
        served: served_seen.clone(),
    };
    let registered = controller.images().borrow().index;
    drop(served_seen.clone().wait_for(|served| *served >= registered).await);
    member.join().await?;
    let joined = controller.images().borrow().index;
    drop(served_seen.clone().wait_for(|served| *served >= joined).await);
    if tokio::time::timeout(GROUPS_WAIT, groups.loaded()).await.is_err() {
        tracing::warn!("some committed offsets are still being read");
    }
    tasks.push(tokio::spawn(member.stay(config.heartbeat_interval_ms.max(1) as u64)));
    tasks.push(tokio::spawn(maintain(replicas.clone(), live.clone(), clock)));
    let broker = Arc::new(Broker {
        node_id: config.node_id,
        cluster_id: data.cluster_id.clone(),
        config: live,
        producer_ids: ProducerIds::new(ProducerIdBlocks::new(controller.clone(), config.node_id, epoch)),
        controller,
        images: images_seen,
        served: served_seen,
        replicas,
        groups: groups.clone(),
        sessions: FetchSessions::new(config.fetch_session_slots, rand::random()),
        clock,
        loggers,
        metrics: Metrics::default(),
        answers: AnswerMemory::new(usize::try_from(config.memory_limit).unwrap_or(usize::MAX) / ANSWERS_SHARE),
        authorizer: Arc::new(Authorizer::allow_all()),
    });
    let ports: Vec<(String, u16)> = bound.iter().map(|b| (b.name().to_owned(), b.port())).collect();
    let server = Arc::new(Server::start(bound, net, broker.clone()));
    tasks.push(tokio::spawn(follow_settings(broker.config.clone(), server.clone(), groups.clone())));
    let ready = Arc::new(AtomicBool::new(true));
    let state = HttpState { broker: broker.clone(), server: server.clone(), ready: ready.clone() };
    let http = serve_http(&config, &state).await?;
    let addresses = endpoints::shown(&config, &ports);
    Ok(Running { broker, server, http, ready, groups, tasks, addresses, data })
}

async fn serve_http(config: &BrokerConfig, state: &HttpState) -> Result<Vec<Http>, StartError> {
    let mut started = Vec::with_capacity(config.http_listeners.len());
    for addr in &config.http_listeners {
        let http = Http::start(addr, state.clone()).await.map_err(|error| StartError::Listener {
            listener: addr.clone(),
            why: format!("cannot be listened on: {error}; set another address in http.listeners"),
        })?;
        tracing::info!(address = %http.local_addr(), "health and metrics");
        started.push(http);
    }
    Ok(started)
}

impl Running {
    /// The one line that tells users that the broker can be used.
    pub fn ready_line(&self) -> String {
        let dirs: Vec<String> = self.data.dirs.iter().map(|dir| dir.path.display().to_string()).collect();
        let brokers = self.broker.image().brokers().count();
        format!(
            "millrace-broker {} ready: {} (cluster {}, data {}, {brokers} broker{})",
            env!("CARGO_PKG_VERSION"),
            self.addresses,
            self.data.cluster_id,
            dirs.join(","),
            if brokers == 1 { "" } else { "s" },
        )
    }

    /// Why the broker cannot go on, as soon as it cannot: all its data directories failed.
    pub async fn failed(&self) -> String {
        const LOOK: Duration = Duration::from_millis(500);
        loop {
            let dirs = self.broker.replicas.dirs();
            if dirs.iter().all(|dir| dir.is_offline()) {
                let why = |dir: &Arc<millrace_replica::LogDir>| dir.failure().map(|e| e.to_string());
                return dirs.iter().filter_map(why).collect::<Vec<_>>().join("; ");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Answers what is in flight, flushes, and leaves the marks of a clean stop.
    pub async fn stop(self) -> Result<(), StartError> {
        self.ready.store(false, Ordering::Release);
        self.server.shutdown().await;
        self.http.into_iter().for_each(Http::shutdown);
        self.groups.shutdown();
        for task in self.tasks {
            task.abort();
            // Cancelled is what it shall be.
            drop(task.await);
        }
        let replicas = self.broker.replicas.clone();
        let closed = tokio::task::spawn_blocking(move || replicas.close()).await;
        let controller = self.broker.controller.clone();
        drop((self.broker, self.server));
        // A connection that would not end may still hold the broker. What the controller answered is durable anyway.
        if let Some(controller) = Arc::into_inner(controller) {
            controller.shutdown().await;
        }
        let part = |error: &dyn std::fmt::Display| StartError::part("data directories", error);
        closed.map_err(|error| part(&error))?.map_err(|error| part(&error))
    }
}

fn warn_without_effect(live: &LiveConfig) {
    let unused = live.settings().without_effect();
    if !unused.is_empty() {
        tracing::warn!("settings that are known and have no effect here: {}", unused.join(", "));
    }
}

fn net_options(config: &BrokerConfig) -> NetOptions {
    let net = &config.network;
    NetOptions {
        max_request_bytes: net.request_max_bytes,
        limits: conn_limits(config),
        times: Times { idle: net.max_idle_ms.map_or(IDLE_NEVER, Duration::from_millis), ..Times::default() },
        send_buffer: net.send_buffer,
        receive_buffer: net.receive_buffer,
        backlog: u32::try_from(net.backlog).unwrap_or_default(),
        request_memory: usize::try_from(net.queued_max_bytes).unwrap_or(usize::MAX),
        ..NetOptions::default()
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
async fn follow_settings(live: Arc<LiveConfig>, server: Arc<Server<Broker>>, groups: GroupCoordinator) {
    let mut changes = live.subscribe();
    while changes.changed().await.is_ok() {
        let config = changes.borrow_and_update().clone();
        server.set_limits(conn_limits(&config));
        groups.configure(Arc::new(group_settings(&config)));
    }
}

fn controller_options(config: &BrokerConfig, data: &DataDirs) -> ControllerOptions {
    let first = data.dirs.first().map(|dir| dir.id);
    ControllerOptions {
        dir_id: first,
        cluster_id: Some(data.cluster_id.clone()),
        defaults: Defaults {
            num_partitions: config.topics.num_partitions,
            replication_factor: config.topics.default_replication_factor,
            topic: config.topic_defaults.clone(),
        },
        broker_session_timeout_ms: i64::from(config.session_timeout_ms),
        ..ControllerOptions::new(config.node_id, config.metadata_dir.join(METADATA))
    }
}

fn registration(config: &BrokerConfig, data: &DataDirs, bound: &[BoundListener]) -> BrokerRegistration {
    let range = |f: &features::Feature| FeatureRange { name: f.name.to_owned(), min: f.min, max: f.max };
    BrokerRegistration {
        id: config.node_id,
        incarnation: IncarnationId::from_random(rand::random()),
        endpoints: endpoints::registered(config, bound),
        rack: config.rack.clone(),
        dirs: data.dirs.iter().map(|dir| dir.id).collect(),
        features: features::TABLE.iter().map(range).collect(),
    }
}

fn group_settings(config: &BrokerConfig) -> GroupSettings {
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
        ..GroupSettings::default()
    }
}

async fn maintain(replicas: Arc<ReplicaManager>, live: Arc<LiveConfig>, clock: Clock) {
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
