//! A controller from start to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_metadata::features::{self, Feature, too_new};
use millrace_metadata::record::ControllerRegistration;
use millrace_metadata::{ApiError, Command, DirId, Image, Reply};
use millrace_state::{Sessions, bootstrap};
use millrace_store::{Kv, KvStore};
use openraft::Config;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::active::Active;
use crate::attach::Attach;
use crate::attend::Reception;
use crate::census::{Census, stay_registered};
use crate::change::{Change, Kind, NewVoter, VoterId, change};
use crate::compact::{ENTRIES_KEPT, Growth, RECORDS_MAX};
use crate::contacts::{Contacts, Places};
use crate::decider::{Ask, Asker, Decider, leading_term};
use crate::describe::add_observers;
use crate::duties::Duties;
use crate::feed::Feed;
use crate::formation::{Entry, campaign, found, hand_over, ready, single};
use crate::founding::agree;
use crate::identity::{self, Identity};
use crate::lease::Lease;
use crate::log::Log;
use crate::machine::{Machine, Outlet};
use crate::membership::Members;
use crate::network::Network;
use crate::options::{ControllerOptions, StartError};
use crate::peers::{Address, addresses, identify_all};
use crate::presence::{Presence, Steady};
use crate::pulse::Pulse;
use crate::quorum::{QuorumInfo, quorum_info};
use crate::raft::{Peer, Raft, raft_id};
use crate::server::{Serving, serve};
use crate::standing::{Standing, died, follow};
use crate::timing::Timing;
use crate::watch::{Teller, WATCHERS_MAX};

/// How long a shutdown waits for the store to close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Calls and notices that Raft itself may hold.
const RAFT_QUEUE: u64 = 4096;

/// How long a whole snapshot may be under way.
const SNAPSHOT_MS: u64 = 60_000;

/// A running controller.
pub struct Controller {
    raft: Raft,
    identity: Identity,
    active: Active,
    stop_serving: Option<watch::Sender<()>>,
    images: watch::Receiver<Arc<Image>>,
    tasks: Vec<JoinHandle<()>>,
    members: Members,
    contacts: Arc<Contacts>,
    presence: Arc<Presence>,
    features: &'static [Feature],
    handed_over: AtomicBool,
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

fn raft_config(timing: Timing) -> Result<Config, StartError> {
    let (shortest, longest) = timing.election_ms;
    let config = Config {
        cluster_name: "millrace".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: shortest,
        election_timeout_max: longest,
        install_snapshot_timeout: SNAPSHOT_MS,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        api_channel_size: Some(RAFT_QUEUE),
        notification_channel_size: Some(RAFT_QUEUE),
        enable_pre_vote: Some(true),
        // A leader that restarts may have lost what it applied: it must be elected again.
        enable_leader_restore: Some(false),
        // At least the lease and one election: a leader without a quorum must stop renewing leases.
        quorum_loss_probe_interval: Some(2 * longest),
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
        let store = Arc::clone(&kv);
        let opened = tokio::task::spawn_blocking(move || open(kv, &for_open, snapshot_after)).await;
        let mut opened = opened.map_err(|e| StartError::Raft(e.to_string()))??;
        let entry = enter(&store, &options, &mut opened).await?;
        drop(store);
        let others = if options.is_alone() { Vec::new() } else { addresses(&options) };
        let (controller, hopeless) = Controller::assemble(opened, options, closed).await?;
        match controller.form(entry, &others, hopeless).await {
            Ok(()) => Ok(controller),
            Err(error) => {
                controller.shutdown().await;
                Err(error)
            }
        }
    }

    /// Puts the parts together; what comes from others is served from now on.
    async fn assemble(
        opened: Opened,
        options: ControllerOptions,
        closed: oneshot::Receiver<()>,
    ) -> Result<(Controller, oneshot::Receiver<StartError>), StartError> {
        let Opened { identity, log, machine, images, growth, feed, rng } = opened;
        let id = raft_id(identity.node_id, identity.dir);
        let failed = |e: &dyn std::fmt::Display| StartError::Raft(e.to_string());
        let cluster: Arc<str> = Arc::from(identity.cluster_id.as_str());
        let contacts = Arc::new(Contacts::new(Arc::clone(&options.clock)));
        let places = places(&options);
        let network = Network {
            cluster: Arc::clone(&cluster),
            places: places.clone(),
            contacts: Arc::clone(&contacts),
            log: log.clone(),
        };
        let logged = log.clone();
        let timing = Timing::of_fetch_timeout(options.fetch_timeout_ms);
        let raft =
            Raft::new(id, Arc::new(raft_config(timing)?), network, log, machine).await.map_err(|e| failed(&e))?;
        let members = Members::new(raft.clone(), Arc::clone(&cluster), images.clone());
        let features = options.defaults.features;

        let (asker, asks) = Asker::new(id, Census { raft: raft.clone(), places: Arc::new(places.clone()) });
        let clock = Steady::new();
        let presence = Arc::new(Presence::new(clock, options.duties.suspicion_grace_ms));
        let decider = decider(&options, &raft, (asks, images.clone()), (&presence, &contacts), (rng, clock));
        let (standing, standings) = watch::channel(Standing::default());
        let mut tasks = vec![tokio::spawn(decider.run()), tokio::spawn(compact(raft.clone(), growth))];
        tasks.push(tokio::spawn(follow(raft.clone(), standing)));
        let mut stop_serving = None;
        if let Some(listener) = &options.listener {
            let listener = listen(listener).map_err(|e| failed(&e))?;
            let (stop, stopping) = watch::channel(());
            let teller = teller(&cluster, (feed, images.clone()), standings.clone(), stopping.clone());
            let reception = Reception {
                asker: asker.clone(),
                presence: Arc::clone(&presence),
                images: images.clone(),
                stopping: stopping.clone(),
            };
            let serving = Serving {
                raft: raft.clone(),
                cluster: Arc::clone(&cluster),
                me: id,
                reception,
                teller,
                images: images.clone(),
                dir: identity.dir,
                contacts: Arc::clone(&contacts),
                members: members.clone(),
                places: places.clone(),
                log: logged.clone(),
                features,
                lease: timing.lease(),
                stopping: stopping.clone(),
            };
            tasks.push(tokio::spawn(serve(serving, listener, stopping)));
            stop_serving = Some(stop);
        }
        let (hopeless, is_hopeless) = oneshot::channel();
        tasks.push(tokio::spawn(attach(&options, &identity, &members, (&contacts, hopeless)).run()));
        tasks.push(tokio::spawn(pulse(&raft, (&cluster, &standings), (places, logged)).run()));
        let way = || {
            Active::new(Arc::clone(&cluster), standings.clone(), images.clone(), Some(asker.clone()), Arc::default())
        };
        tasks.push(tokio::spawn(stay_registered(way(), registration(&identity, features))));
        let active = way();
        let handed_over = AtomicBool::new(false);
        let controller = Controller {
            raft,
            identity,
            active,
            stop_serving,
            images,
            tasks,
            members,
            contacts,
            presence,
            features,
            handed_over,
            closed,
        };
        Ok((controller, is_hopeless))
    }

    async fn form(
        &self,
        entry: Entry,
        others: &[Address],
        hopeless: oneshot::Receiver<StartError>,
    ) -> Result<(), StartError> {
        let alone = campaign(&self.raft, entry).await?;
        if alone {
            self.check_alone(others).await?;
        }
        let me = registration(&self.identity, self.features);
        let first = bootstrap(&self.identity.cluster_id, self.features, Some(me));
        let founding = found(self.raft.clone(), self.images.clone(), first);
        tokio::select! {
            // Founding ends when the image has the first records, as it must for being ready.
            done = ready(&self.raft, &self.images, &self.contacts, alone) => done?,
            Err(error) = founding => return Err(StartError::Raft(error.to_string())),
            Ok(error) = hopeless => return Err(error),
        }
        let image = Arc::clone(&self.images.borrow());
        if let Some(newer) = too_new(self.features, &image.features) {
            return Err(newer.into());
        }
        let found = image.cluster_id.to_string();
        if found == self.identity.cluster_id {
            return Ok(());
        }
        let wanted = self.identity.cluster_id.clone();
        Err(StartError::WrongCluster { dir: "the quorum".to_owned(), found, wanted })
    }

    /// The only voter of a quorum, whose settings name others, must not take their place.
    async fn check_alone(&self, others: &[Address]) -> Result<(), StartError> {
        let round = identify_all(others).await;
        let foreign = round.iter().filter_map(|(address, seen)| Some((address, seen.as_ref().ok()?)));
        let mut foreign =
            foreign.filter(|(_, seen)| !seen.cluster_id.is_empty() && seen.cluster_id != self.identity.cluster_id);
        match foreign.next() {
            Some((address, seen)) => Err(StartError::WrongCluster {
                dir: format!("controller {address}"),
                found: seen.cluster_id.clone(),
                wanted: self.identity.cluster_id.clone(),
            }),
            None => Ok(()),
        }
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
        let mut quorum = quorum_info(&self.raft, &self.images, &self.contacts);
        let image = Arc::clone(&self.images.borrow());
        add_observers(&mut quorum, &image, &self.presence, self.contacts.now_ms());
        quorum
    }

    /// Whether this node is the active controller, as far as it knows.
    pub fn leads(&self) -> bool {
        leading_term(&self.raft).is_some()
    }

    /// Returns why, when the metadata log failed: nothing is agreed or applied here any more until a restart.
    pub async fn failed(&self) -> String {
        died(&self.raft).await
    }

    /// The way to the active controller.
    pub(crate) fn active(&self) -> &Active {
        &self.active
    }

    /// Makes another controller a voter; returns when that is agreed. The active controller does it, whichever that is
    /// (KIP-853).
    ///
    /// # Errors
    /// `DUPLICATE_VOTER`; `INVALID_REQUEST` or `INCONSISTENT_CLUSTER_ID` if it is not what was said of it;
    /// `REQUEST_TIMED_OUT` if it cannot be reached or did not catch up within `limit`.
    pub async fn add_voter(&self, voter: NewVoter, limit: Duration) -> Result<(), ApiError> {
        change(&self.active, Some(&self.members), Change::add(voter, limit)).await
    }

    /// Takes a voter's vote away; a leader hands over first (KIP-853).
    ///
    /// # Errors
    /// `VOTER_NOT_FOUND`; `INVALID_REQUEST` for the last voter; `REQUEST_TIMED_OUT` if it was not agreed within
    /// `limit`.
    pub async fn remove_voter(&self, voter: VoterId, limit: Duration) -> Result<(), ApiError> {
        change(&self.active, Some(&self.members), Change { kind: Kind::Remove(voter), limit }).await
    }

    /// The id of this controller's metadata directory.
    pub fn dir_id(&self) -> DirId {
        self.identity.dir
    }

    /// A leader hands its leadership to the voter that is the furthest, so that nobody waits for an election timeout.
    pub(crate) async fn hand_over(&self) {
        // Once is enough: nobody who did not take it then will take it now.
        if !self.handed_over.swap(true, Ordering::Relaxed) {
            hand_over(&self.raft).await;
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

/// Finds the others if this controller has no quorum yet; its cluster id is known on return.
async fn enter(kv: &Arc<dyn Kv>, options: &ControllerOptions, opened: &mut Opened) -> Result<Entry, StartError> {
    let identity = &mut opened.identity;
    if !opened.log.is_pristine() {
        return Ok(Entry::Wait);
    }
    let named = |v: &crate::options::VoterAddress| v.node_id == options.node_id;
    if !options.voters.is_empty() && !options.voters.iter().any(named) {
        return Err(StartError::NotAVoter { node: options.node_id });
    }
    if options.is_alone() {
        let place = options.voters.first().map(|v| (v.host.clone(), v.port)).or_else(|| options.advertised.clone());
        return Ok(Entry::Begin(single(identity, place)));
    }
    let listener = options.listener.as_ref().map(|l| listen(l)).transpose();
    let listener = listener.map_err(|e| StartError::Raft(e.to_string()))?;
    let agreed = agree(kv, options, identity, listener).await?;
    identity.cluster_id = agreed.cluster_id;
    Ok(agreed.members.map_or(Entry::Wait, Entry::Begin))
}

/// What this controller tells of itself.
fn registration(identity: &Identity, table: &[Feature]) -> ControllerRegistration {
    ControllerRegistration { id: identity.node_id, dir: identity.dir, features: features::ranges(table) }
}

/// The decision loop, before it runs.
fn decider(
    options: &ControllerOptions,
    raft: &Raft,
    (asks, images): (mpsc::Receiver<Ask>, watch::Receiver<Arc<Image>>),
    (presence, contacts): (&Arc<Presence>, &Arc<Contacts>),
    (rng, clock): (StdRng, Steady),
) -> Decider {
    Decider {
        raft: raft.clone(),
        asks,
        images,
        defaults: options.defaults.clone(),
        sessions: Sessions::new(options.broker_session_timeout_ms),
        presence: Arc::clone(presence),
        contacts: Arc::clone(contacts),
        duties: Duties::new(options.duties),
        rng,
        clock,
        led: 0,
        leads: false,
    }
}

fn teller(
    cluster: &Arc<str>,
    (feed, images): (Arc<Feed>, watch::Receiver<Arc<Image>>),
    standings: watch::Receiver<Standing>,
    stopping: watch::Receiver<()>,
) -> Teller {
    let room = Arc::new(Semaphore::new(WATCHERS_MAX));
    Teller { cluster: Arc::clone(cluster), feed, images, standings, stopping, room }
}

fn places(options: &ControllerOptions) -> Places {
    Places(options.voters.iter().map(|v| (v.node_id, (v.host.clone(), v.port))).collect())
}

fn attach(
    options: &ControllerOptions,
    identity: &Identity,
    members: &Members,
    (contacts, hopeless): (&Arc<Contacts>, oneshot::Sender<StartError>),
) -> Attach {
    let named = options.voters.iter().find(|v| v.node_id == options.node_id).map(|v| (v.host.clone(), v.port));
    let is_pinned = named.is_some();
    let (host, port) = named.or_else(|| options.advertised.clone()).unwrap_or_default();
    Attach {
        members: members.clone(),
        contacts: Arc::clone(contacts),
        me: Peer { controller: identity.node_id, dir: identity.dir, host, port },
        is_pinned,
        addresses: addresses(options),
        places: places(options),
        auto_join: options.auto_join,
        features: options.defaults.features,
        hopeless: Some(hopeless),
    }
}

fn pulse(
    raft: &Raft,
    (cluster, standings): (&Arc<str>, &watch::Receiver<Standing>),
    (places, log): (Places, Log),
) -> Pulse {
    Pulse { raft: raft.clone(), cluster: Arc::clone(cluster), standings: standings.clone(), places, log }
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
use openraft::async_runtime::watch::WatchReceiver;

#[cfg(test)]
impl Controller {
    pub(crate) fn first_log_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().purged.as_ref().map_or(0, |id| id.index() + 1)
    }
}
