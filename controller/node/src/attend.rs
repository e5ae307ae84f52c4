//! A broker's presence at the active controller: one stream that carries its heartbeats, and whose end says that it is
//! gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_metadata::command::{Heartbeat, HeartbeatState};
use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_rpc::pb::controller_client::ControllerClient;
use millrace_rpc::{command_from_pb, command_to_pb, error_from_pb, error_to_pb, pb, reply_from_pb, reply_to_pb};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::decider::Asker;
use crate::network::addressed;
use crate::presence::{Presence, Stay};
use crate::raft::RaftId;
use crate::standing::Standing;
use crate::watch::stream;

/// Heartbeats and answers that wait: one is under way at a time.
const QUEUE: usize = 2;
/// How long a stream may take to open.
const OPEN_WAIT: Duration = Duration::from_secs(2);
/// How long the active controller may take to answer a heartbeat before another one is looked for.
const BEAT_WAIT: Duration = Duration::from_secs(2);

pub type Answers = mpsc::Sender<Result<pb::AttendReply, Status>>;

/// A broker at the active controller.
pub struct Attendance {
    way: Way,
    standings: watch::Receiver<Standing>,
}

enum Way {
    Local(Asker),
    Remote {
        at: RaftId,
        out: mpsc::Sender<pb::Heartbeat>,
        answers: Box<Streaming<pb::AttendReply>>,
        newest: Arc<AtomicU64>,
    },
}

fn gone(what: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::NotController, format!("The active controller went away: {what}."))
}

fn unexpected() -> ApiError {
    ApiError::new(ErrorCode::UnknownServerError, "The active controller gave an unexpected answer.")
}

impl Attendance {
    /// At the controller of this process.
    pub fn local(asker: Asker, standings: watch::Receiver<Standing>) -> Attendance {
        Attendance { way: Way::Local(asker), standings }
    }

    /// At another one.
    pub async fn open(
        mut client: ControllerClient<Channel>,
        (cluster, at): (&str, RaftId),
        standings: watch::Receiver<Standing>,
        newest: Arc<AtomicU64>,
    ) -> Result<Attendance, ApiError> {
        let (out, beats) = mpsc::channel(QUEUE);
        let opening = client.attend(addressed(stream(beats), cluster, at));
        let opened = tokio::time::timeout(OPEN_WAIT, opening).await.map_err(|_| gone("no answer in time"))?;
        let answers = Box::new(opened.map_err(|status| gone(status.message()))?.into_inner());
        Ok(Attendance { way: Way::Remote { at, out, answers, newest }, standings })
    }

    /// Reports, and learns what the controller thinks of this broker.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH` if the broker must register again. With any error this attendance has ended.
    pub async fn beat(&mut self, beat: Heartbeat) -> Result<HeartbeatState, ApiError> {
        let answered = async {
            match &mut self.way {
                Way::Local(asker) => asker.ask(Command::BrokerHeartbeat(beat)).await,
                Way::Remote { out, answers, newest, .. } => {
                    out.send(heartbeat_to_pb(beat).ok_or_else(unexpected)?).await.map_err(|_| gone("closed"))?;
                    let answer = answers.message().await.map_err(|status| gone(status.message()))?;
                    let answer = answer.ok_or_else(|| gone("it stopped"))?;
                    newest.fetch_max(answer.index, Ordering::Relaxed);
                    answer_from_pb(answer)
                }
            }
        };
        match tokio::time::timeout(BEAT_WAIT, answered).await.map_err(|_| gone("no answer in time"))?? {
            Reply::BrokerHeartbeat(state) => state,
            _ => Err(unexpected()),
        }
    }

    /// Returns when the controller went away, or another one leads. Between heartbeats only.
    pub async fn ended(&mut self) {
        let at = match &self.way {
            Way::Local(asker) => asker.node,
            Way::Remote { at, .. } => *at,
        };
        let deposed = self.standings.wait_for(|s| s.leader.is_some_and(|leader| leader != at));
        match &mut self.way {
            Way::Local(_) => drop(deposed.await),
            Way::Remote { answers, .. } => {
                tokio::select! {
                    // Nothing is due: whatever comes means that the stream is of no use any more.
                    _ = answers.message() => {}
                    _ = deposed => {}
                }
            }
        }
    }
}

fn heartbeat_to_pb(beat: Heartbeat) -> Option<pb::Heartbeat> {
    match command_to_pb(&Command::BrokerHeartbeat(beat)).kind {
        Some(pb::command::Kind::Heartbeat(beat)) => Some(beat),
        _ => None,
    }
}

fn answer_from_pb(answer: pb::AttendReply) -> Result<Reply, ApiError> {
    if let Some(error) = answer.error {
        return Err(error_from_pb(error).unwrap_or_else(|_| unexpected()));
    }
    let kind = answer.reply.map(pb::reply::Kind::Heartbeat);
    reply_from_pb(pb::Reply { kind }).map_err(|_| unexpected())
}

fn answer_to_pb(answer: &Result<Reply, ApiError>, index: u64) -> pb::AttendReply {
    let error = |error: &ApiError| pb::AttendReply { error: Some(error_to_pb(error)), reply: None, index };
    match answer {
        Ok(Reply::BrokerHeartbeat(Err(refused))) | Err(refused) => error(refused),
        Ok(reply) => match reply_to_pb(reply).kind {
            Some(pb::reply::Kind::Heartbeat(reply)) => pb::AttendReply { error: None, reply: Some(reply), index },
            _ => error(&unexpected()),
        },
    }
}

/// What receiving brokers needs.
#[derive(Clone)]
pub struct Reception {
    pub asker: Asker,
    pub presence: Arc<Presence>,
    pub images: watch::Receiver<Arc<Image>>,
    /// Its sender is dropped when the controller stops.
    pub stopping: watch::Receiver<()>,
}

impl Reception {
    /// Serves one broker's stream to its end, which is the first refusal at the latest.
    pub async fn serve(mut self, mut beats: Streaming<pb::Heartbeat>, out: Answers) {
        let mut stay: Option<Stay> = None;
        loop {
            let beat = tokio::select! {
                beat = beats.message() => beat,
                _ = self.stopping.changed() => return,
            };
            let Ok(Some(beat)) = beat else { return };
            let command = command_from_pb(pb::Command { kind: Some(pb::command::Kind::Heartbeat(beat)) });
            let Ok(Command::BrokerHeartbeat(beat)) = command else {
                drop(out.send(Err(Status::invalid_argument("this is no heartbeat"))).await);
                return;
            };
            let (broker, epoch) = (beat.broker, beat.broker_epoch);
            let answer = self.asker.ask(Command::BrokerHeartbeat(beat)).await;
            let refused = !matches!(answer, Ok(Reply::BrokerHeartbeat(Ok(_))));
            let index = self.images.borrow().index;
            if !refused && stay.is_none() {
                stay = Some(self.presence.come(broker, epoch));
            }
            if out.send(Ok(answer_to_pb(&answer, index))).await.is_err() || refused {
                return;
            }
        }
    }
}
