//! A controller from start to end.

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
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::compact::{ENTRIES_KEPT, Growth, RECORDS_MAX};
use crate::decider::{Asker, Decider};
use crate::formation::{campaign, found, initial_members, ready};
use crate::forward::forward;
use crate::identity::{self, Identity};
use crate::lease::Lease;
use crate::log::Log;
use crate::machine::{Machine, Outlet};
use crate::network::Network;
use crate::options::{ControllerOptions, StartError};
use crate::quorum::{QuorumInfo, Voter};
use crate::raft::{Raft, RaftId, controller_id, raft_id};
use crate::server::{Serving, serve};

/// How long a shutdown waits for the store to close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How long a leader that stops waits for another one.
const HAND_OVER_WAIT: Duration = Duration::from_secs(1);
/// Calls and notices that Raft itself may hold.
const RAFT_QUEUE: u64 = 4096;

/// A running controller.
pub struct Controller {
    raft: Raft,
    identity: Identity,
    asker: Asker,
    stop_serving: Option<oneshot::Sender<()>>,
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
        api_channel_size: Some(RAFT_QUEUE),
        notification_channel_size: Some(RAFT_QUEUE),
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
        let (kv, closed) = Lease::on(kv);
        let opened = tokio::task::spawn_blocking(move || open(kv, &for_open, snapshot_after)).await;
        let Opened { identity, log, machine, images, growth, rng } =
            opened.map_err(|e| StartError::Raft(e.to_string()))??;
        let id = raft_id(identity.node_id, identity.dir);
        let members = initial_members(&identity, &options)?;
        let alone = members.len() == 1;
        let pristine = log.is_pristine();
        let failed = |e: &dyn std::fmt::Display| StartError::Raft(e.to_string());
        let cluster: Arc<str> = Arc::from(identity.cluster_id.as_str());
        let network = Network { cluster: Arc::clone(&cluster) };
        let raft = Raft::new(id, Arc::new(raft_config()?), network, log, machine).await.map_err(|e| failed(&e))?;

        let (asker, asks) = Asker::new();
        let decider = Decider {
            raft: raft.clone(),
            asks,
            images: images.clone(),
            defaults: options.defaults.clone(),
            sessions: Sessions::new(options.broker_session_timeout_ms),
            rng,
            clock: Arc::clone(&options.clock),
        };
        let mut tasks = vec![tokio::spawn(decider.run()), tokio::spawn(compact(raft.clone(), growth))];
        let mut stop_serving = None;
        if let Some(listener) = &options.listener {
            let listener = listen(listener).map_err(|e| failed(&e))?;
            let (stop, stopped) = oneshot::channel();
            let serving = Serving { raft: raft.clone(), cluster, me: id, asker: asker.clone(), images: images.clone() };
            tasks.push(tokio::spawn(serve(serving, listener, stopped)));
            stop_serving = Some(stop);
        }
        let controller =
            Controller { raft, identity, asker, stop_serving, images, tasks, clock: options.clock, closed };
        match controller.form(members, pristine, alone).await {
            Ok(()) => Ok(controller),
            Err(error) => {
                controller.shutdown().await;
                Err(error)
            }
        }
    }

    async fn form(
        &self,
        members: std::collections::BTreeMap<RaftId, crate::raft::Peer>,
        pristine: bool,
        alone: bool,
    ) -> Result<(), StartError> {
        campaign(&self.raft, members, pristine).await?;
        let founding = found(self.raft.clone(), self.images.clone(), self.identity.cluster_id.clone());
        tokio::select! {
            // Founding ends when the image has the first records, as it must for being ready.
            done = ready(&self.raft, &self.images, alone) => done?,
            Err(error) = founding => return Err(StartError::Raft(error.to_string())),
        }
        let found = self.images.borrow().cluster_id.to_string();
        if found == self.identity.cluster_id {
            return Ok(());
        }
        let wanted = self.identity.cluster_id.clone();
        Err(StartError::WrongCluster { dir: "the quorum".to_owned(), found, wanted })
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
    /// `NOT_CONTROLLER` if no leader is known: nothing was done. `UNKNOWN_SERVER_ERROR` if the metadata log
    /// failed: what became of the command is unknown.
    pub async fn submit(&self, command: Command) -> Result<Reply, ApiError> {
        match self.asker.ask(command.clone()).await {
            // Nothing was done here: another controller may do it.
            Err(error) if error.code == ErrorCode::NotController => {
                forward(&self.raft, &self.identity.cluster_id, &mut self.images.clone(), &command).await
            }
            answer => answer,
        }
    }

    /// The state of the quorum, as this node knows it.
    pub fn quorum(&self) -> QuorumInfo {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let end = |index: Option<u64>| index.map_or(0, |i| i64::try_from(i).unwrap_or(i64::MAX - 1) + 1);
        let now = (self.clock)();
        // Raft's own figures come a moment after the image.
        let applied = end(metrics.last_applied.as_ref().map(|id| id.index()));
        let high_watermark = applied.max(end(Some(self.images.borrow().index)));
        let membership = metrics.membership_config.membership();
        let voter = |id: RaftId| {
            let me = id == metrics.id;
            let replicated = metrics.replication.as_ref().and_then(|r| r.get(&id)).and_then(|l| l.as_ref());
            let known = if me { end(metrics.last_log_index).max(high_watermark) } else { -1 };
            let log_end = replicated.map_or(known, |l| end(Some(l.index())).max(known));
            let time = if me { now } else { -1 };
            let dir = membership.get_node(&id).map(|p| p.dir).unwrap_or_default();
            Voter { id: controller_id(id), dir, log_end, last_fetch_ms: time, last_caught_up_ms: time }
        };
        QuorumInfo {
            leader: metrics.current_leader.map(controller_id),
            epoch: i32::try_from(metrics.current_term).unwrap_or(i32::MAX),
            high_watermark,
            voters: membership.voter_ids().map(voter).collect(),
            observers: membership.learner_ids().map(voter).collect(),
        }
    }

    /// A leader that stops hands its leadership to the voter that is the furthest, so that nobody waits for an
    /// election timeout.
    async fn hand_over(&self) {
        let mut metrics = self.raft.metrics();
        let heir = {
            let now = metrics.borrow_and_update();
            let voters: Vec<RaftId> = now.membership_config.membership().voter_ids().collect();
            let progress = now.replication.iter().flatten();
            let others = progress.filter(|(id, _)| **id != now.id && voters.contains(id));
            others.max_by_key(|(_, matched)| matched.as_ref().map(|id| id.index())).map(|(id, _)| *id)
        };
        let Some(heir) = heir else { return };
        let handed = async {
            self.raft.trigger().transfer_leader(heir).await.ok()?;
            while metrics.borrow_and_update().current_leader == Some(*self.raft.node_id()) {
                metrics.changed().await.ok()?;
            }
            Some(())
        };
        if tokio::time::timeout(HAND_OVER_WAIT, handed).await.is_err() {
            tracing::info!("no other controller took the leadership over in {HAND_OVER_WAIT:?}");
        }
    }

    /// Stops. What was answered is durable already, so there is nothing to lose.
    pub async fn shutdown(mut self) {
        self.hand_over().await;
        drop(self.asker);
        drop(self.stop_serving.take());
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

fn listen(listener: &std::net::TcpListener) -> io::Result<TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
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
