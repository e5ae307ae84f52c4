//! The order of start and stop.
//!
//! ```text
//! sockets bound ─▶ directories claimed ─▶ stores opened ┐
//!                                     └─▶ controllers   ┴▶ replicas ─▶ registered ─▶ image task ─▶ active ─▶ groups loaded ─▶ accept
//! stop: leaderships move away ─▶ quorum handed over ─▶ connections closed ─▶ logs closed ─▶ controller closed
//! ```
//! A port that is taken or a directory that is not ours is found before anything is written. Of a new cluster with
//! several controllers the id is known only when they have agreed on it: then the directories are formatted last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_controller::{Controller, ControllerLink, StartError as Refused};
use millrace_groups::{GroupCoordinator, Now, Parts};
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{DirId, Image};
use millrace_replica::{ReplicaManager, ReplicaOptions};
use millrace_security::Authorizer;
use millrace_transactions::ProducerIds;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StartError;
use super::endpoints::{self, http_refused};
use super::identity::{self, Claimed, DataDirs};
use super::images::Follower;
use super::lifecycle::{Member, Membership, Standing, Timing};
use super::logging::Loggers;
use super::options;
use super::stores::{self, Opened};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{BrokerConfig, LiveConfig};
use crate::glue::replication::{self, Meters, Replication};
use crate::glue::{Directories, OffsetsPartitions, ProducerIdBlocks};
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
    tasks: Tasks,
    membership: Membership,
    addresses: String,
    data: DataDirs,
}

/// Tasks that end with this, also when a start is given up.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// What stands before the broker joins the cluster.
struct Foundation {
    live: Arc<LiveConfig>,
    config: Arc<BrokerConfig>,
    controller: Arc<ControllerLink>,
    replicas: Arc<ReplicaManager>,
    clean: bool,
    limit: Option<Limit>,
}

/// `initial.broker.registration.timeout.ms`, from the start of the process on.
#[derive(Clone, Copy)]
struct Limit {
    ms: u64,
    until: tokio::time::Instant,
}

impl Limit {
    fn of(config: &BrokerConfig) -> Option<Limit> {
        let ms = config.registration_timeout_ms?;
        Some(Limit { ms, until: tokio::time::Instant::now() + Duration::from_millis(ms) })
    }
}

/// What leads to the registration, unless it takes too long.
async fn within<T>(limit: Option<Limit>, what: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    let Some(Limit { ms, until }) = limit else { return what.await };
    let late = |_| {
        let why = format!(
            "this broker was not registered within {ms} ms; start a majority of the controllers, correct their addresses, or raise initial.broker.registration.timeout.ms"
        );
        StartError::part("controller", why)
    };
    tokio::time::timeout_at(until, what).await.map_err(late)?
}

/// Starts a broker; returns when clients can use it.
pub async fn start(
    live: Arc<LiveConfig>,
    cluster_id: Option<String>,
    loggers: Arc<Loggers>,
) -> Result<Running, StartError> {
    let config = live.current();
    let limit = Limit::of(&config);
    let net = options::net_options(&config);
    let bound = endpoints::bind(&config, &net).await?;
    endpoints::probe_http(&config)?;
    let controller_socket = endpoints::bind_controller(&config)?;
    let claimed = identity::claim(&config.log_dirs, config.node_id, cluster_id.as_deref(), &mut rand::random)?;
    let (mut base, data) = within(limit, open_base(live, claimed, controller_socket)).await?;
    base.limit = limit;
    serve(base, data, bound, net, loggers).await
}

/// The way to the controllers: through one in this process, or over the network. Waits for them as long as it takes.
async fn reach(
    config: &BrokerConfig,
    cluster_id: Option<String>,
    socket: Option<std::net::TcpListener>,
) -> Result<ControllerLink, StartError> {
    let part = |error: &dyn std::fmt::Display| StartError::part("controller", error);
    if config.roles.controller {
        let starting = Controller::start(options::controller_options(config, cluster_id, socket));
        let controller = tokio::spawn(starting).await.map_err(|error| part(&error))?;
        return Ok(ControllerLink::local(controller.map_err(|error| part(&error))?));
    }
    ControllerLink::connect(options::remote_options(config, cluster_id)).await.map_err(|error| match error {
        Refused::WrongCluster { found, wanted, .. } => part(&format!(
            "the controllers belong to cluster {found}, and this broker to {wanted}; correct controller.quorum.bootstrap.servers or controller.quorum.voters, or choose other directories with log.dirs"
        )),
        error => part(&error),
    })
}

/// Opens the stores while the controllers elect one of them, if it is known which cluster this is; else they say it
/// first.
async fn open_base(
    live: Arc<LiveConfig>,
    claimed: Claimed,
    socket: Option<std::net::TcpListener>,
) -> Result<(Foundation, DataDirs), StartError> {
    let config = live.current();
    let new = || options::is_alone(&config).then(|| DirId::from_random(rand::random()).to_string());
    let (controller, opened, data) = match claimed.cluster_id.clone().or_else(new) {
        Some(cluster_id) => {
            let data = claimed.format(&cluster_id)?;
            let stores = async { tokio::task::block_in_place(|| stores::open(&data, &config)) };
            let (stores, link) = tokio::join!(stores, reach(&config, Some(cluster_id), socket));
            (link?, stores?, data)
        }
        None => {
            let link = reach(&config, None, socket).await?;
            let data = claimed.format(link.cluster_id())?;
            let opened = tokio::task::block_in_place(|| stores::open(&data, &config))?;
            (link, opened, data)
        }
    };
    let Opened { dirs, clean } = opened;
    let node_id = config.node_id;
    let replicas = tokio::task::spawn_blocking(move || ReplicaManager::start(ReplicaOptions { node_id, dirs })).await;
    let replicas = Arc::new(replicas.map_err(|error| StartError::part("partitions", error))?);
    Ok((Foundation { live, config, controller: Arc::new(controller), replicas, clean, limit: None }, data))
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
    let follower =
        Follower { config: base.live.clone(), replicas: base.replicas.clone(), groups: groups.clone(), images, served };
    let (member, mut membership) = member(&base, options::registration(&config, &data, &bound), served_seen.clone());
    within(base.limit, member.register(!base.clean)).await?;
    let mut tasks = Tasks(vec![tokio::spawn(follower.run(base.controller.images())), tokio::spawn(member.stay())]);
    membership.joined(&base.controller, &served_seen).await;
    if tokio::time::timeout(GROUPS_WAIT, groups.loaded()).await.is_err() {
        tracing::warn!("some committed offsets are still being read");
    }
    let addresses = endpoints::shown(&config, &bound);
    let metadata = Metadata { images: images_seen, served: served_seen };
    let broker = Arc::new(assemble(&base, metadata, membership.epoch.clone(), groups.clone(), loggers));
    let server = Arc::new(Server::start(bound, net, broker.clone()));
    tasks.0.extend([
        tokio::spawn(options::maintain(base.replicas.clone(), base.live.clone(), broker.clock)),
        tokio::spawn(Replication::of(&broker).run()),
        tokio::spawn(Directories::of(&broker).run()),
        tokio::spawn(options::follow_settings(base.live.clone(), server.clone(), groups.clone())),
    ]);
    let ready = Arc::new(AtomicBool::new(true));
    let state = HttpState { broker: broker.clone(), server: server.clone(), ready: ready.clone() };
    let http = serve_http(&config, &state).await?;
    Ok(Running { broker, server, http, ready, groups, tasks, membership, addresses, data })
}

/// The two sides of this broker's membership.
fn member(base: &Foundation, registration: BrokerRegistration, served: watch::Receiver<u64>) -> (Member, Membership) {
    let (epoch, epochs) = watch::channel(-1);
    let (standing, standings) = watch::channel(Standing::Fenced);
    let (heard, hearing) = watch::channel(tokio::time::Instant::now());
    let (leave, leaving) = watch::channel(false);
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or_default().max(1));
    let timing =
        Timing { heartbeat: ms(base.config.heartbeat_interval_ms), session: ms(base.config.session_timeout_ms) };
    let (controller, replicas) = (base.controller.clone(), base.replicas.clone());
    let member = Member { controller, replicas, served, registration, timing, epoch, standing, heard, leaving };
    (member, Membership { epoch: epochs, standing: standings, heard: hearing, leave })
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
        throttles: Arc::default(),
        suspects: Arc::default(),
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
    /// What it consists of.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

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

    /// Why the broker cannot go on, as soon as it cannot: all its data directories failed, or the metadata log of the
    /// controller in this process. Others take over once it is gone, and a supervisor can start it again.
    pub async fn failed(&self) -> StartError {
        tokio::select! {
            why = self.directories_failed() => {
                StartError::part("data directories", format!("{why}; there is no directory left to serve"))
            }
            why = self.broker.controller.failed() => {
                let text = format!("the metadata log failed: {why}; correct the cause and start again");
                StartError::part("controller", text)
            }
        }
    }

    async fn directories_failed(&self) -> String {
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
    pub async fn stop(mut self) -> Result<(), StartError> {
        self.ready.store(false, Ordering::Release);
        if self.broker.config.current().controlled_shutdown {
            self.membership.leave(&self.broker.controller).await;
        }
        self.broker.controller.hand_over().await;
        self.server.shutdown().await;
        self.http.into_iter().for_each(Http::shutdown);
        self.groups.shutdown();
        for task in std::mem::take(&mut self.tasks.0) {
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
