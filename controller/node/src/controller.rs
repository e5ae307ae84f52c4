//! A controller from start to end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{ApiError, Command, Image, Reply};
use millrace_state::Sessions;
use millrace_store::{Kv, KvStore};
use openraft::Config;
use openraft::async_runtime::watch::WatchReceiver;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use crate::active::Active;
use crate::attend::Reception;
use crate::compact::{ENTRIES_KEPT, Growth, RECORDS_MAX};
use crate::decider::{Asker, Decider, leading_term};
use crate::duties::Duties;
use crate::feed::Feed;
use crate::formation::{campaign, found, initial_members, ready};
use crate::identity::{self, Identity};
use crate::lease::Lease;
use crate::log::Log;
use crate::machine::{Machine, Outlet};
use crate::network::Network;
use crate::options::{ControllerOptions, StartError};
use crate::presence::{Presence, Steady};
use crate::quorum::{QuorumInfo, quorum_info};
use crate::raft::{Raft, RaftId, raft_id};
use crate::server::{Serving, serve};
use crate::standing::{Standing, follow};
use crate::watch::{Teller, WATCHERS_MAX};

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
    active: Active,
    stop_serving: Option<watch::Sender<()>>,
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
    feed: Arc<Feed>,
    rng: StdRng,
}

fn open(kv: Arc<dyn Kv>, options: &ControllerOptions, snapshot_after: usize) -> Result<Opened, StartError> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let identity = identity::load_or_create(&*kv, options, &mut rng)?;
    let unreadable =
        |e: io::Error| StartError::Unreadable { dir: options.dir.display().to_string(), what: e.to_string() };
    let (sender, images) = watch::channel(Arc::new(Image::default()));
    let growth = Arc::new(Growth::new(snapshot_after));
    let feed = Arc::new(Feed::default());
    let outlet = Outlet { images: sender, growth: Arc::clone(&growth), feed: Arc::clone(&feed) };
    let machine = Machine::open(Arc::clone(&kv), outlet).map_err(unreadable)?;
    let log = Log::open(kv).map_err(unreadable)?;
    Ok(Opened { identity, log, machine, images, growth, feed, rng })
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
        let Opened { identity, log, machine, images, growth, feed, rng } =
            opened.map_err(|e| StartError::Raft(e.to_string()))??;
        let id = raft_id(identity.node_id, identity.dir);
        let members = initial_members(&identity, &options)?;
        let alone = members.len() == 1;
        let pristine = log.is_pristine();
        let failed = |e: &dyn std::fmt::Display| StartError::Raft(e.to_string());
        let cluster: Arc<str> = Arc::from(identity.cluster_id.as_str());
        let network = Network { cluster: Arc::clone(&cluster) };
        let raft = Raft::new(id, Arc::new(raft_config()?), network, log, machine).await.map_err(|e| failed(&e))?;

        let (asker, asks) = Asker::new(id);
        let clock = Steady::new();
        let presence = Arc::new(Presence::new(clock, options.duties.suspicion_grace_ms));
        let decider = Decider {
            raft: raft.clone(),
            asks,
            images: images.clone(),
            defaults: options.defaults.clone(),
            sessions: Sessions::new(options.broker_session_timeout_ms),
            presence: Arc::clone(&presence),
            duties: Duties::new(options.duties),
            rng,
            clock,
            led: 0,
            leads: false,
        };
        let (standing, standings) = watch::channel(Standing::default());
        let mut tasks = vec![tokio::spawn(decider.run()), tokio::spawn(compact(raft.clone(), growth))];
        tasks.push(tokio::spawn(follow(raft.clone(), standing)));
        let mut stop_serving = None;
        if let Some(listener) = &options.listener {
            let listener = listen(listener).map_err(|e| failed(&e))?;
            let (stop, stopping) = watch::channel(());
            let teller = Teller {
                cluster: Arc::clone(&cluster),
                feed,
                images: images.clone(),
                standings: standings.clone(),
                stopping: stopping.clone(),
                room: Arc::new(Semaphore::new(WATCHERS_MAX)),
            };
            let reception =
                Reception { asker: asker.clone(), presence, images: images.clone(), stopping: stopping.clone() };
            let serving = Serving {
                raft: raft.clone(),
                cluster: Arc::clone(&cluster),
                me: id,
                reception,
                teller,
                images: images.clone(),
                clock: Arc::clone(&options.clock),
            };
            tasks.push(tokio::spawn(serve(serving, listener, stopping)));
            stop_serving = Some(stop);
        }
        let active = Active::new(cluster, standings, images.clone(), Some(asker), Arc::default());
        let controller =
            Controller { raft, identity, active, stop_serving, images, tasks, clock: options.clock, closed };
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
    /// `NOT_CONTROLLER` if nobody led for a while: nothing was done. `REQUEST_TIMED_OUT` if the active controller was
    /// lost meanwhile, `UNKNOWN_SERVER_ERROR` if the metadata log failed: what became of the command is unknown.
    pub async fn submit(&self, command: Command) -> Result<Reply, ApiError> {
        self.active.submit(command).await
    }

    /// The state of the quorum, as this node knows it.
    pub fn quorum(&self) -> QuorumInfo {
        quorum_info(&self.raft, &self.images, (self.clock)())
    }

    /// Whether this node is the active controller, as far as it knows.
    pub fn leads(&self) -> bool {
        leading_term(&self.raft).is_some()
    }

    /// The way to the active controller.
    pub(crate) fn active(&self) -> &Active {
        &self.active
    }

    /// A leader that stops hands its leadership to the voter that is the furthest, so that nobody waits for an
    /// election timeout.
    pub(crate) async fn hand_over(&self) {
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
        drop(self.stop_serving.take());
        drop(self.active);
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
