//! A controller from start to end.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_state::Sessions;
use millrace_store::{Kv, KvStore};
use openraft::Config;
use openraft::async_runtime::watch::WatchReceiver;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::compact::{ENTRIES_KEPT, Growth, RECORDS_MAX};
use crate::decider::{Ask, COMMANDS_MAX, Decider, found, leading_term};
use crate::identity::{self, Identity};
use crate::lease::Lease;
use crate::log::Log;
use crate::machine::{Machine, Outlet};
use crate::network::Alone;
use crate::options::{ControllerOptions, StartError};
use crate::quorum::{QuorumInfo, Voter};
use crate::raft::{Peer, Raft, RaftId, controller_id, raft_id};

/// Seconds until a start without a leader counts as failed.
const LEADER_WAIT_S: u64 = 30;
/// How long a shutdown waits for the store to close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A running controller.
pub struct Controller {
    raft: Raft,
    identity: Identity,
    asks: mpsc::Sender<Ask>,
    images: watch::Receiver<Arc<Image>>,
    tasks: Vec<JoinHandle<()>>,
    clock: crate::options::Clock,
    closed: oneshot::Receiver<()>,
}

struct Opened {
    identity: Identity,
    log: Log,
    machine: Machine,
    images: watch::Receiver<Arc<Image>>,
    growth: Arc<Growth>,
    rng: StdRng,
}

fn open(kv: Arc<dyn Kv>, options: &ControllerOptions, snapshot_after: usize) -> Result<Opened, StartError> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let identity = identity::load_or_create(&*kv, options, &mut rng)?;
    let unreadable =
        |e: io::Error| StartError::Unreadable { dir: options.dir.display().to_string(), what: e.to_string() };
    let (sender, images) = watch::channel(Arc::new(Image::default()));
    let growth = Arc::new(Growth::new(snapshot_after));
    let outlet = Outlet { images: sender, growth: Arc::clone(&growth) };
    let machine = Machine::open(Arc::clone(&kv), outlet).map_err(unreadable)?;
    let log = Log::open(kv).map_err(unreadable)?;
    Ok(Opened { identity, log, machine, images, growth, rng })
}

fn raft_config() -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "millrace".to_owned(),
        heartbeat_interval: 500,
        election_timeout_min: 2000,
        election_timeout_max: 4000,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        api_channel_size: Some(COMMANDS_MAX as u64),
        notification_channel_size: Some(4096),
        enable_pre_vote: Some(true),
        // A leader that restarts may have lost what it applied: it must be elected again.
        enable_leader_restore: Some(false),
        // At least the lease and one election: a leader without a quorum must stop renewing leases.
        quorum_loss_probe_interval: Some(8000),
        ..Config::default()
    };
    config.validate().map_err(|e| StartError::Raft(e.to_string()))
}

impl Controller {
    /// Starts the controller with its store in `options.dir`; returns when it leads and its image is ready.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is changed then.
    pub async fn start(options: ControllerOptions) -> Result<Controller, StartError> {
        let dir = options.dir.clone();
        let opened = tokio::task::spawn_blocking(move || KvStore::open(dir)).await;
        let kv = opened.map_err(|e| StartError::Raft(e.to_string()))??;
        Controller::start_on(Arc::new(kv), options, RECORDS_MAX).await
    }

    /// As [`Controller::start`], on a store that is open already.
    pub(crate) async fn start_on(
        kv: Arc<dyn Kv>,
        options: ControllerOptions,
        snapshot_after: usize,
    ) -> Result<Controller, StartError> {
        let for_open = options.clone();
        let (kv, closed) = Lease::new(kv);
        let opened = tokio::task::spawn_blocking(move || open(kv, &for_open, snapshot_after)).await;
        let Opened { identity, log, machine, images, growth, rng } =
            opened.map_err(|e| StartError::Raft(e.to_string()))??;
        let id = raft_id(identity.node_id, identity.dir);
        let pristine = log.is_pristine();
        let failed = |e: &dyn std::fmt::Display| StartError::Raft(e.to_string());
        let raft = Raft::new(id, Arc::new(raft_config()?), Alone, log, machine).await.map_err(|e| failed(&e))?;
        campaign(&raft, &identity, pristine).await?;
        lead(&raft, &images).await?;
        found(&raft, &images, &identity.cluster_id).await.map_err(|e| failed(&e))?;

        let (asks, queue) = mpsc::channel(COMMANDS_MAX);
        let decider = Decider {
            raft: raft.clone(),
            asks: queue,
            images: images.clone(),
            defaults: options.defaults.clone(),
            sessions: Sessions::new(options.broker_session_timeout_ms),
            rng,
            clock: Arc::clone(&options.clock),
        };
        let tasks = vec![tokio::spawn(decider.run()), tokio::spawn(compact(raft.clone(), growth))];
        Ok(Controller { raft, identity, asks, images, tasks, clock: options.clock, closed })
    }

    pub fn cluster_id(&self) -> &str {
        &self.identity.cluster_id
    }

    /// The latest image, and word of each new one. A watcher that is slow skips images and misses no facts.
    pub fn images(&self) -> watch::Receiver<Arc<Image>> {
        self.images.clone()
    }

    /// Has the command decided. The answer comes when its effect is agreed and the local image shows it.
    ///
    /// # Errors
    /// `NOT_CONTROLLER` if another controller leads: nothing was done. `UNKNOWN_SERVER_ERROR` if the metadata log
    /// failed: what became of the command is unknown.
    pub async fn submit(&self, command: Command) -> Result<Reply, ApiError> {
        let (answer, reply) = oneshot::channel();
        let closed = || ApiError::new(ErrorCode::UnknownServerError, "the controller is shutting down");
        self.asks.send(Ask { command, answer }).await.map_err(|_| closed())?;
        reply.await.map_err(|_| closed())?
    }

    /// The state of the quorum, as this node knows it.
    pub fn quorum(&self) -> QuorumInfo {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let end = |index: Option<u64>| index.map_or(0, |i| i64::try_from(i).unwrap_or(i64::MAX - 1) + 1);
        let now = (self.clock)();
        let membership = metrics.membership_config.membership();
        let voter = |id: RaftId| {
            let me = id == metrics.id;
            let replicated = metrics.replication.as_ref().and_then(|r| r.get(&id)).and_then(|l| l.as_ref());
            let log_end = if me { end(metrics.last_log_index) } else { replicated.map_or(-1, |l| end(Some(l.index()))) };
            let time = if me { now } else { -1 };
            let dir = membership.get_node(&id).map(|p| p.dir).unwrap_or_default();
            Voter { id: controller_id(id), dir, log_end, last_fetch_ms: time, last_caught_up_ms: time }
        };
        QuorumInfo {
            leader: metrics.current_leader.map(controller_id),
            epoch: i32::try_from(metrics.current_term).unwrap_or(i32::MAX),
            high_watermark: end(metrics.last_applied.as_ref().map(|id| id.index())),
            voters: membership.voter_ids().map(voter).collect(),
            observers: membership.learner_ids().map(voter).collect(),
        }
    }

    /// Stops. What was answered is durable already, so there is nothing to lose.
    pub async fn shutdown(self) {
        drop(self.asks);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the metadata log did not stop cleanly");
        }
        for task in self.tasks {
            task.abort();
            // Cancelled is what it shall be.
            drop(task.await);
        }
        drop(self.raft);
        // Until the last reader has let go, the directory is locked.
        if tokio::time::timeout(CLOSE_WAIT, self.closed).await.is_err() {
            tracing::warn!("the metadata log is still in use after {CLOSE_WAIT:?}");
        }
    }
}

/// A single voter need not wait for a timeout: nobody else can be leader.
async fn campaign(raft: &Raft, identity: &Identity, pristine: bool) -> Result<(), StartError> {
    if pristine {
        let peer = Peer { controller: identity.node_id, dir: identity.dir, ..Peer::default() };
        let members = BTreeMap::from([(raft_id(identity.node_id, identity.dir), peer)]);
        raft.initialize(members).await.map_err(|e| StartError::Raft(e.to_string()))
    } else {
        raft.trigger().elect(false).await.map_err(|e| StartError::Raft(e.to_string()))
    }
}

/// Waits until this node leads and has applied the first entry of its term, and with it all before.
async fn lead(raft: &Raft, images: &watch::Receiver<Arc<Image>>) -> Result<(), StartError> {
    let mut metrics = raft.metrics();
    let mut images = images.clone();
    let ready = async {
        loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return Err(StartError::Raft(fatal.to_string()));
            }
            let term = images.borrow_and_update().term;
            if term > 0 && leading_term(raft) == Some(term) {
                return Ok(());
            }
            tokio::select! {
                changed = metrics.changed() => changed.map_err(|e| StartError::Raft(e.to_string()))?,
                changed = images.changed() => changed.map_err(|e| StartError::Raft(e.to_string()))?,
            }
        }
    };
    let limit = Duration::from_secs(LEADER_WAIT_S);
    tokio::time::timeout(limit, ready).await.map_err(|_| StartError::NoLeader(LEADER_WAIT_S))?
}

async fn compact(raft: Raft, growth: Arc<Growth>) {
    loop {
        growth.full().await;
        if let Err(error) = raft.trigger().snapshot().await {
            tracing::warn!(%error, "no snapshot of the metadata");
            return;
        }
    }
}

#[cfg(test)]
impl Controller {
    pub(crate) fn first_log_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().purged.as_ref().map_or(0, |id| id.index() + 1)
    }
}
