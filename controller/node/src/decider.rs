//! The decision loop: one task takes all commands that wait, decides them one after the other on top of each other,
//! and proposes their records as one entry. While that entry becomes durable the next commands gather, so that many
//! clients share one sync. In between it does its duties (`duties.rs`).

use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::command::Heartbeat;
use millrace_metadata::features::too_early;
use millrace_metadata::limits::{ELECTIONS_PER_SWEEP_MAX, RECORDS_PER_DECISION_MAX};
use millrace_metadata::{ApiError, Command, ErrorCode, Image, NodeId, Reply};
use millrace_state::{Cx, Defaults, Draft, Member, Session, Sessions, balance_leaders, decide_into, elect_unclean};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};

use crate::census::Census;
use crate::contacts::Contacts;
use crate::duties::{Duties, Duty, LOOK_MS, probe};
use crate::presence::{Presence, Steady};
use crate::raft::{Applied, Proposal, Raft, RaftId, controller_id};

/// Commands that may wait; more are held back at their senders.
const COMMANDS_MAX: usize = 1024;
/// Commands of one entry.
const GROUP_MAX: usize = 256;
/// A controller that did not look for longer than this cannot tell silence from its own sleep.
const STALL_MS: i64 = 1000;

/// A command and where its answer goes.
pub struct Ask {
    pub command: Command,
    /// What the controllers support, for those commands that ask for it.
    pub quorum: Vec<Member>,
    pub answer: oneshot::Sender<Result<Reply, ApiError>>,
}

/// The way to the loop.
#[derive(Clone)]
pub struct Asker {
    asks: mpsc::Sender<Ask>,
    census: Census,
    /// Whose loop this is.
    pub node: RaftId,
}

impl Asker {
    pub fn new(node: RaftId, census: Census) -> (Asker, mpsc::Receiver<Ask>) {
        let (asks, queue) = mpsc::channel(COMMANDS_MAX);
        (Asker { asks, census, node }, queue)
    }

    /// Has this node decide; returns when the effect is agreed and the local image shows it.
    pub async fn ask(&self, command: Command) -> Result<Reply, ApiError> {
        let quorum = match command {
            Command::UpdateFeatures { .. } => self.census.take().await,
            _ => Vec::new(),
        };
        let (answer, reply) = oneshot::channel();
        let closed = || ApiError::new(ErrorCode::UnknownServerError, "the controller is shutting down");
        self.asks.send(Ask { command, quorum, answer }).await.map_err(|_| closed())?;
        reply.await.map_err(|_| closed())?
    }
}

/// All that the loop owns.
pub struct Decider {
    pub raft: Raft,
    pub asks: mpsc::Receiver<Ask>,
    pub images: watch::Receiver<Arc<Image>>,
    pub defaults: Defaults,
    pub sessions: Sessions,
    pub presence: Arc<Presence>,
    pub contacts: Arc<Contacts>,
    pub duties: Duties,
    pub rng: StdRng,
    /// What sessions are measured with.
    pub clock: Steady,
    /// The term that this controller last was active in.
    pub led: u64,
    /// Whether it is active now, as far as it knows.
    pub leads: bool,
}

type Answers = Vec<(oneshot::Sender<Result<Reply, ApiError>>, Reply)>;

impl Decider {
    /// Runs until every sender of commands is gone.
    pub async fn run(mut self) {
        loop {
            let now_ms = self.clock.now_ms();
            let wake_ms = match self.leads {
                true => self.duties.wake_ms(&self.sessions, &self.presence, now_ms),
                false => now_ms + LOOK_MS,
            };
            tokio::select! {
                // Heartbeats that wait come before the judgement on who is silent.
                biased;
                ask = self.asks.recv() => match ask {
                    Some(first) => self.take(first).await,
                    None => return,
                },
                () = self.presence.changed() => {}
                changed = self.images.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep_until(self.clock.at(wake_ms)) => {}
            }
            self.excuse(wake_ms);
            let image = self.leading_image();
            self.leads = image.is_some();
            if let Some(image) = image {
                self.duty(image).await;
            }
        }
    }

    /// Nobody was heard while this process slept or a decision waited for its commit.
    fn excuse(&mut self, wake_ms: i64) {
        let late_ms = self.clock.now_ms() - wake_ms;
        if late_ms > STALL_MS {
            self.sessions.forgive(late_ms);
        }
    }

    async fn take(&mut self, first: Ask) {
        match self.leading_image() {
            Some(image) => self.group(image, first).await,
            None => drop(first.answer.send(Err(ErrorCode::NotController.into()))),
        }
    }

    /// The image to decide on: as this term's leader left it. Before the leader has applied the first entry of its
    /// own term it does not know yet what its predecessors committed.
    fn leading_image(&mut self) -> Option<Arc<Image>> {
        let term = leading_term(&self.raft)?;
        let image = Arc::clone(&self.images.borrow());
        if image.term != term || image.cluster_id.is_empty() {
            return None;
        }
        if self.led != term {
            let before = std::mem::replace(&mut self.led, term);
            self.begin(&image, before);
        }
        Some(image)
    }

    /// A new active controller gives every broker a whole session to show up, and asks who is still there. Of the
    /// node that led before it knows more: it has not been heard of since its last call, which led to the election.
    fn begin(&mut self, image: &Arc<Image>, led_before: u64) {
        let now_ms = self.clock.now_ms();
        self.sessions.clear();
        self.presence.begin();
        let me = controller_id(*self.raft.node_id());
        let silent = self.contacts.leader_after(led_before).map(|(leader, silence)| (controller_id(leader), silence));
        for broker in image.live_brokers() {
            let silence = silent.filter(|(id, _)| *id == broker.id && *id != me).map_or(Duration::ZERO, |(_, s)| s);
            self.sessions.presume(broker.id, broker.epoch, now_ms, silence);
        }
        self.duties.begin(now_ms);
        tracing::info!(term = self.led, "this node is the active controller");
        tokio::spawn(probe(Arc::clone(image), me, Arc::clone(&self.presence)));
    }

    async fn group(&mut self, image: Arc<Image>, first: Ask) {
        let mut draft = Draft::new((*image).clone());
        let mut answers: Answers = Vec::new();
        let mut next = Some(first);
        while let Some(ask) = next {
            let reply = self.decide(&mut draft, &ask.command, &ask.quorum);
            answers.push((ask.answer, reply));
            let room = answers.len() < GROUP_MAX && draft.len() < RECORDS_PER_DECISION_MAX;
            next = if room { self.asks.try_recv().ok() } else { None };
        }
        let agreed = self.agree(&image, draft).await;
        for (answer, reply) in answers {
            // A client that no longer waits is no reason to undo anything.
            drop(answer.send(agreed.clone().map(|()| reply)));
        }
    }

    async fn agree(&self, image: &Image, draft: Draft) -> Result<(), ApiError> {
        if draft.is_empty() {
            return Ok(());
        }
        let records = draft.into_records();
        if let Some((name, level)) = too_early(&image.features, &records) {
            // A mistake of whoever decided it. Once agreed, it would stop every node of older software for good.
            let text = format!("That needs {name} at level {level}, and the cluster runs at {}.", image.level(name));
            tracing::error!(name, level, "a decision was dropped whose records come before their level");
            return Err(ApiError::new(ErrorCode::UnsupportedVersion, text));
        }
        propose(&self.raft, image.term, records).await
    }

    fn decide(&mut self, draft: &mut Draft, command: &Command, quorum: &[Member]) -> Reply {
        let now_ms = self.clock.now_ms();
        let mut cx = Cx { now_ms, rng: &mut self.rng, defaults: &self.defaults, sessions: &self.sessions, quorum };
        let reply = decide_into(draft, command, &mut cx);
        let mut heard = |broker: NodeId, broker_epoch, applied| {
            self.presence.note(broker, applied);
            self.sessions.heard(broker, Session { broker_epoch, last_heard_ms: now_ms, applied });
        };
        match (command, &reply) {
            (Command::RegisterBroker { registration, .. }, Reply::RegisterBroker(Ok(registered))) => {
                heard(registration.id, registered.epoch, 0);
            }
            (
                Command::BrokerHeartbeat(Heartbeat { broker, broker_epoch, applied, .. }),
                Reply::BrokerHeartbeat(Ok(_)),
            ) => heard(*broker, *broker_epoch, *applied),
            (Command::UnregisterBroker { broker }, Reply::UnregisterBroker(Ok(()))) => self.sessions.lost(*broker),
            _ => {}
        }
        reply
    }

    /// Does one thing that is due.
    async fn duty(&mut self, image: Arc<Image>) {
        let now_ms = self.clock.now_ms();
        let Some(duty) = self.duties.next(&self.sessions, &self.presence, now_ms) else { return };
        let mut draft = Draft::new((*image).clone());
        match duty {
            Duty::Fence { broker, epoch, silent } => self.fence(&mut draft, (broker, epoch), silent),
            Duty::Balance => balance_leaders(&mut draft, &self.defaults),
            Duty::ElectUnclean => elect_unclean(&mut draft, &self.defaults),
        }
        let records = draft.len();
        if records >= ELECTIONS_PER_SWEEP_MAX {
            self.duties.again(duty, now_ms);
        }
        match self.agree(&image, draft).await {
            Ok(()) if records > 0 => tracing::info!(?duty, records, "done by the active controller"),
            Ok(()) => {}
            Err(error) => {
                tracing::info!(?duty, %error, "not done by this controller");
                if let Duty::Fence { broker, epoch, .. } = duty {
                    // If this controller stays the active one, it tries again when a session is over.
                    let session = Session { broker_epoch: epoch, last_heard_ms: now_ms, applied: 0 };
                    self.sessions.heard(broker, session);
                }
            }
        }
    }

    fn fence(&mut self, draft: &mut Draft, (broker, epoch): (NodeId, i64), silent: bool) {
        if self.sessions.get(broker).is_some_and(|s| s.broker_epoch == epoch) {
            self.sessions.lost(broker);
        }
        let live = draft.image().broker(broker).is_some_and(|b| b.epoch == epoch && !b.fenced);
        if live {
            let why = if silent { "its session ran out" } else { "its connection broke" };
            tracing::info!(broker, why, "the broker is fenced");
            self.decide(draft, &Command::FenceBroker { broker, broker_epoch: epoch }, &[]);
        }
    }
}

/// The term that this node leads in, if it does.
pub fn leading_term(raft: &Raft) -> Option<u64> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    (metrics.state == ServerState::Leader).then_some(metrics.current_term)
}

/// Makes records facts; returns when the local image has them.
pub async fn propose(raft: &Raft, term: u64, records: Vec<millrace_metadata::Record>) -> Result<(), ApiError> {
    let proposal = Proposal { term, records: records.into() };
    match raft.client_write(proposal).await {
        Ok(response) => match response.data {
            Applied(true) => Ok(()),
            Applied(false) => Err(ErrorCode::NotController.into()),
        },
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(ErrorCode::NotController.into()),
        Err(RaftError::APIError(e @ ClientWriteError::ChangeMembershipError(_)))
        | Err(RaftError::APIError(e @ ClientWriteError::PreconditionFailed(_)))
        | Err(RaftError::APIError(e @ ClientWriteError::LogEntryDiscarded(_))) => {
            Err(ApiError::new(ErrorCode::UnknownServerError, e.to_string()))
        }
        // Whether the entry survives is unknown: the client must look, not assume.
        Err(RaftError::Fatal(e)) => Err(ApiError::new(ErrorCode::UnknownServerError, e.to_string())),
    }
}
