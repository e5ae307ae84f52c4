//! The order of start and stop.
//!
//! ```text
//! sockets bound ─▶ directories claimed ─▶ stores opened ┐
//!                                     └─▶ controller    ┴▶ replicas ─▶ image task ─▶ registered ─▶ groups loaded ─▶ accept
//! ```
//! A port that is taken or a directory that is not ours is found before anything is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_controller::{Controller, ControllerLink};
use millrace_groups::{GroupCoordinator, Now, Parts};
use millrace_metadata::Image;
use millrace_replica::{ReplicaManager, ReplicaOptions};
use millrace_security::Authorizer;
use millrace_transactions::ProducerIds;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StartError;
use super::endpoints::{self, http_refused};
use super::identity::{self, DataDirs};
use super::images::Follower;
use super::lifecycle::{Member, register};
use super::logging::Loggers;
use super::options;
use super::stores::{self, Opened};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{BrokerConfig, LiveConfig, Settings};
use crate::glue::replication::{self, Meters, Replication};
use crate::glue::{OffsetsPartitions, ProducerIdBlocks};
use crate::http::{Http, HttpState};
use crate::metrics::Metrics;
use crate::net::{AnswerMemory, BoundListener, NetOptions, Server};
use crate::sessions::FetchSessions;

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

/// What stands before the broker joins the cluster.
struct Foundation {
    live: Arc<LiveConfig>,
    config: Arc<BrokerConfig>,
    controller: Arc<ControllerLink>,
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
    let net = options::net_options(&config);
    let bound = endpoints::bind(&config, &net).await?;
    endpoints::probe_http(&config)?;
    let data = identity::open(&config.log_dirs, config.node_id, cluster_id.as_deref(), &mut rand::random)?;
    let base = open_base(live, config, &data).await?;
    serve(base, data, bound, net, loggers).await
}

/// Opens the stores while the controller elects itself.
async fn open_base(
    live: Arc<LiveConfig>,
    config: Arc<BrokerConfig>,
    data: &DataDirs,
) -> Result<Foundation, StartError> {
    let controller = Controller::start(options::controller_options(&config, data));
    let stores = async { tokio::task::block_in_place(|| stores::open(data, &config)) };
    let (stores, controller) = tokio::join!(stores, async { tokio::spawn(controller).await });
    let Opened { dirs, clean } = stores?;
    let controller = controller
        .map_err(|error| StartError::part("controller", error))?
        .map_err(|error| StartError::part("controller", error))?;
    let node_id = config.node_id;
    let replicas = tokio::task::spawn_blocking(move || ReplicaManager::start(ReplicaOptions { node_id, dirs })).await;
    let replicas = replicas.map_err(|error| StartError::part("partitions", error))?;
    Ok(Foundation {
        live,
        config,
        controller: Arc::new(ControllerLink::local(controller)),
        replicas: Arc::new(replicas),
        clean,
    })
}

/// Joins the cluster, and accepts connections once everything can be served.
async fn serve(
    base: Foundation,
    data: DataDirs,
    bound: Vec<BoundListener>,
    net: NetOptions,
    loggers: Arc<Loggers>,
) -> Result<Running, StartError> {
    let config = base.config.clone();
    let groups = start_groups(&base);
    replication::configure(&base.replicas, &config);
    let (images, images_seen) = watch::channel(Arc::new(Image::default()));
    let (served, served_seen) = watch::channel(0);
    let follower = Follower {
        config: base.live.clone(),
        replicas: base.replicas.clone(),
        groups: groups.clone(),
        images,
        served,
    };
    let epoch = register(&base.controller, options::registration(&config, &data, &bound), !base.clean).await?;
    let following = tokio::spawn(follower.run(base.controller.images()));
    let (_, epoch) = watch::channel(epoch);
    let member = Member {
        node_id: config.node_id,
        epoch: epoch.clone(),
        controller: base.controller.clone(),
        replicas: base.replicas.clone(),
        served: served_seen.clone(),
    };
    member.join().await?;
    if tokio::time::timeout(GROUPS_WAIT, groups.loaded()).await.is_err() {
        tracing::warn!("some committed offsets are still being read");
    }
    let addresses = endpoints::shown(&config, &bound);
    let metadata = Metadata { images: images_seen, served: served_seen };
    let broker = Arc::new(assemble(&base, metadata, epoch, groups.clone(), loggers));
    let server = Arc::new(Server::start(bound, net, broker.clone()));
    let tasks = vec![
        following,
        tokio::spawn(member.stay(config.heartbeat_interval_ms.max(1) as u64)),
        tokio::spawn(options::maintain(base.replicas.clone(), base.live.clone(), broker.clock)),
        tokio::spawn(Replication::of(&broker).run()),
        tokio::spawn(options::follow_settings(base.live.clone(), server.clone(), groups.clone())),
    ];
    let ready = Arc::new(AtomicBool::new(true));
    let state = HttpState { broker: broker.clone(), server: server.clone(), ready: ready.clone() };
    let http = serve_http(&config, &state).await?;
    Ok(Running { broker, server, http, ready, groups, tasks, addresses, data })
}

fn start_groups(base: &Foundation) -> GroupCoordinator {
    let clock = Clock;
    let begun = Instant::now();
    let steady_ms = move || i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    GroupCoordinator::start(Parts {
        settings: Arc::new(options::group_settings(&base.config)),
        partitions: base.config.groups.offsets_partitions,
        log: Arc::new(OffsetsPartitions::new(base.replicas.clone(), clock)),
        clock: Arc::new(move || Now { wall_ms: clock.now_ms(), steady_ms: steady_ms() }),
        uuids: Box::new(|| Box::new(rand::random)),
    })
}

/// What handlers see of the metadata.
struct Metadata {
    images: watch::Receiver<Arc<Image>>,
    served: watch::Receiver<u64>,
}

fn assemble(
    base: &Foundation,
    metadata: Metadata,
    epoch: watch::Receiver<i64>,
    groups: GroupCoordinator,
    loggers: Arc<Loggers>,
) -> Broker {
    let config = &base.config;
    let answers = usize::try_from(config.memory_limit).unwrap_or(usize::MAX) / ANSWERS_SHARE;
    Broker {
        node_id: config.node_id,
        cluster_id: base.controller.cluster_id().to_owned(),
        config: base.live.clone(),
        producer_ids: ProducerIds::new(ProducerIdBlocks::new(base.controller.clone(), config.node_id, epoch.clone())),
        epoch,
        controller: base.controller.clone(),
        images: metadata.images,
        served: metadata.served,
        replicas: base.replicas.clone(),
        groups,
        sessions: FetchSessions::new(config.fetch_session_slots, rand::random()),
        clock: Clock,
        loggers,
        metrics: Metrics::default(),
        meters: Arc::new(Meters::default()),
        answers: AnswerMemory::new(answers),
        authorizer: Arc::new(Authorizer::allow_all()),
    }
}

async fn serve_http(config: &BrokerConfig, state: &HttpState) -> Result<Vec<Http>, StartError> {
    let mut started = Vec::with_capacity(config.http_listeners.len());
    for addr in &config.http_listeners {
        let http = Http::start(addr, state.clone()).await.map_err(|error| http_refused(addr, &error))?;
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
