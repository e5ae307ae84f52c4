//! The decision loop: one task takes all commands that wait, decides them one after the other on top of each other,
//! and proposes their records as one entry. While that entry becomes durable the next commands gather, so that many
//! clients share one sync.

use std::sync::Arc;

use millrace_metadata::command::Heartbeat;
use millrace_metadata::limits::RECORDS_PER_DECISION_MAX;
use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_state::{Cx, Defaults, Draft, Session, Sessions, decide_into};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};

use crate::options::Clock;
use crate::raft::{Applied, Proposal, Raft};

/// Commands that may wait; more are held back at their senders.
const COMMANDS_MAX: usize = 1024;
/// Commands of one entry.
const GROUP_MAX: usize = 256;

/// A command and where its answer goes.
pub struct Ask {
    pub command: Command,
    pub answer: oneshot::Sender<Result<Reply, ApiError>>,
}

/// The way to the loop.
#[derive(Clone)]
pub struct Asker {
    asks: mpsc::Sender<Ask>,
}

impl Asker {
    pub fn new() -> (Asker, mpsc::Receiver<Ask>) {
        let (asks, queue) = mpsc::channel(COMMANDS_MAX);
        (Asker { asks }, queue)
    }

    /// Has this node decide; returns when the effect is agreed and the local image shows it.
    pub async fn ask(&self, command: Command) -> Result<Reply, ApiError> {
        let (answer, reply) = oneshot::channel();
        let closed = || ApiError::new(ErrorCode::UnknownServerError, "the controller is shutting down");
        self.asks.send(Ask { command, answer }).await.map_err(|_| closed())?;
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
    pub rng: StdRng,
    pub clock: Clock,
}

type Answers = Vec<(oneshot::Sender<Result<Reply, ApiError>>, Reply)>;

impl Decider {
    /// Runs until every sender of commands is gone.
    pub async fn run(mut self) {
        while let Some(first) = self.asks.recv().await {
            match self.leading_image() {
                Some(image) => self.group(image, first).await,
                None => drop(first.answer.send(Err(ErrorCode::NotController.into()))),
            }
        }
    }

    /// The image to decide on: as this term's leader left it. Before the leader has applied the first entry of its
    /// own term it does not know yet what its predecessors committed.
    fn leading_image(&self) -> Option<Arc<Image>> {
        let term = leading_term(&self.raft)?;
        let image = Arc::clone(&self.images.borrow());
        (image.term == term && !image.cluster_id.is_empty()).then_some(image)
    }

    async fn group(&mut self, image: Arc<Image>, first: Ask) {
        let mut draft = Draft::new((*image).clone());
        let mut answers: Answers = Vec::new();
        let mut next = Some(first);
        while let Some(ask) = next {
            let reply = self.decide(&mut draft, &ask.command);
            answers.push((ask.answer, reply));
            let room = answers.len() < GROUP_MAX && draft.len() < RECORDS_PER_DECISION_MAX;
            next = if room { self.asks.try_recv().ok() } else { None };
        }
        let agreed = match draft.is_empty() {
            true => Ok(()),
            false => propose(&self.raft, image.term, draft.into_records()).await,
        };
        for (answer, reply) in answers {
            // A client that no longer waits is no reason to undo anything.
            drop(answer.send(agreed.clone().map(|()| reply)));
        }
    }

    fn decide(&mut self, draft: &mut Draft, command: &Command) -> Reply {
        let now_ms = (self.clock)();
        let mut cx = Cx { now_ms, rng: &mut self.rng, defaults: &self.defaults, sessions: &self.sessions };
        let reply = decide_into(draft, command, &mut cx);
        match (command, &reply) {
            (Command::RegisterBroker { registration, .. }, Reply::RegisterBroker(Ok(registered))) => {
                let session = Session { broker_epoch: registered.epoch, last_heard_ms: now_ms, applied: 0 };
                self.sessions.heard(registration.id, session);
            }
            (
                Command::BrokerHeartbeat(Heartbeat { broker, broker_epoch, applied, .. }),
                Reply::BrokerHeartbeat(Ok(_)),
            ) => {
                let session = Session { broker_epoch: *broker_epoch, last_heard_ms: now_ms, applied: *applied };
                self.sessions.heard(*broker, session);
            }
            _ => {}
        }
        reply
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
