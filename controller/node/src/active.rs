//! The way to the active controller, whichever node that is at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_metadata::command::ConfigOpKind;
use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_rpc::pb::controller_client::ControllerClient;
use millrace_rpc::{command_to_pb, error_from_pb, pb, reply_from_pb};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

use crate::attend::Attendance;
use crate::decider::Asker;
use crate::describe::quorum_from_pb;
use crate::network::{MESSAGE_MAX, addressed, channel};
use crate::quorum::QuorumInfo;
use crate::raft::{Peer, RaftId};
use crate::standing::Standing;

/// How long a command waits for somebody who leads.
const LEADER_WAIT: Duration = Duration::from_secs(10);
/// Between two attempts, unless there is news of a leader before.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long the active controller may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How long the image here may take to show what was decided.
const IMAGE_WAIT: Duration = Duration::from_secs(10);

type Client = ControllerClient<Channel>;

/// Finds the active controller and asks it.
pub struct Active {
    pub cluster: Arc<str>,
    pub standings: watch::Receiver<Standing>,
    pub images: watch::Receiver<Arc<Image>>,
    /// The controller in this process, which may be the active one.
    pub local: Option<Asker>,
    /// The newest Raft index that the active controller is known to have applied.
    pub newest: Arc<AtomicU64>,
    client: Mutex<Option<(RaftId, Peer, Client)>>,
}

/// What became of one attempt.
enum Attempt {
    Answered(Result<Reply, ApiError>),
    /// Nothing was done.
    NotDone(ApiError),
    /// It may have been done.
    Unknown(ApiError),
}

fn not_controller() -> ApiError {
    ApiError::new(ErrorCode::NotController, "There is no active controller at the moment.")
}

fn unknown(what: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::UnknownServerError, what.to_string())
}

fn lost(what: impl std::fmt::Display) -> ApiError {
    let text =
        format!("The active controller was lost before it answered; the change may or may not be done ({what}).");
    ApiError::new(ErrorCode::RequestTimedOut, text)
}

impl Active {
    pub fn new(
        cluster: Arc<str>,
        standings: watch::Receiver<Standing>,
        images: watch::Receiver<Arc<Image>>,
        local: Option<Asker>,
        newest: Arc<AtomicU64>,
    ) -> Active {
        Active { cluster, standings, images, local, newest, client: Mutex::new(None) }
    }

    /// The active controller, if it is another process and known.
    fn client(&self) -> Option<(RaftId, Client)> {
        let standings = self.standings.borrow();
        let (id, peer) = standings.active()?;
        let mut cached = self.client.lock();
        match &*cached {
            Some((known, at, client)) if *known == id && at == peer => Some((id, client.clone())),
            _ => {
                let client = ControllerClient::new(channel(&peer.host, peer.port)?)
                    .max_decoding_message_size(MESSAGE_MAX)
                    .max_encoding_message_size(MESSAGE_MAX);
                *cached = Some((id, peer.clone(), client.clone()));
                Some((id, client))
            }
        }
    }

    /// Has the command decided; returns when the image here shows the effect.
    pub async fn submit(&self, command: Command) -> Result<Reply, ApiError> {
        let deadline = Instant::now() + LEADER_WAIT;
        let mut standings = self.standings.clone();
        loop {
            standings.borrow_and_update();
            let error = match self.attempt(&command).await {
                Attempt::Answered(answer) => return answer,
                Attempt::NotDone(error) => error,
                Attempt::Unknown(error) if may_repeat(&command) => error,
                Attempt::Unknown(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            if let Ok(Err(_)) = tokio::time::timeout(RETRY_PAUSE, standings.changed()).await {
                return Err(unknown("the controller is shutting down"));
            }
        }
    }

    async fn attempt(&self, command: &Command) -> Attempt {
        let leader = self.standings.borrow().leader;
        // A controller that was deposed may still wait for what it proposed.
        if let Some(asker) = self.local.as_ref().filter(|local| leader.is_none_or(|id| id == local.node)) {
            match asker.ask(command.clone()).await {
                // Nothing was done here: another controller may do it.
                Err(error) if error.code == ErrorCode::NotController => {}
                answer => return Attempt::Answered(answer),
            }
        }
        let Some((id, mut client)) = self.client() else {
            return Attempt::NotDone(not_controller());
        };
        let sent = client.submit(addressed(command_to_pb(command), &self.cluster, id));
        let answer = tokio::select! {
            answer = tokio::time::timeout(ANSWER_WAIT, sent) => answer,
            () = self.deposed(id) => return Attempt::Unknown(lost("another one took over")),
        };
        match answer {
            Ok(Ok(response)) => self.take_in(response.into_inner()).await,
            // Refused before anything was done: the address is another node's by now.
            Ok(Err(status)) if status.code() == Code::PermissionDenied => Attempt::NotDone(not_controller()),
            Ok(Err(status)) => Attempt::Unknown(lost(status.message())),
            Err(_) => Attempt::Unknown(lost("no answer in time")),
        }
    }

    async fn take_in(&self, answer: pb::SubmitReply) -> Attempt {
        if let Some(error) = answer.error {
            let error = error_from_pb(error).unwrap_or_else(unknown);
            let not_done = error.code == ErrorCode::NotController;
            return if not_done { Attempt::NotDone(error) } else { Attempt::Answered(Err(error)) };
        }
        self.newest.fetch_max(answer.index, Ordering::Relaxed);
        let mut images = self.images.clone();
        let shown = images.wait_for(|image| image.index >= answer.index);
        if !matches!(tokio::time::timeout(IMAGE_WAIT, shown).await, Ok(Ok(_))) {
            let text = "It is done, but this node has not heard of it yet.";
            return Attempt::Answered(Err(ApiError::new(ErrorCode::RequestTimedOut, text)));
        }
        let reply = answer.reply.ok_or_else(|| unknown("the active controller gave no reply"));
        Attempt::Answered(reply.and_then(|reply| reply_from_pb(reply).map_err(unknown)))
    }

    /// Returns when another node than this one leads.
    async fn deposed(&self, id: RaftId) {
        let mut standings = self.standings.clone();
        if standings.wait_for(|s| s.leader.is_some_and(|leader| leader != id)).await.is_err() {
            // Nobody can tell any more; whoever waits has a limit of its own.
            std::future::pending::<()>().await;
        }
    }

    /// What another controller, which is the active one, says of the quorum.
    pub async fn quorum(&self) -> Result<QuorumInfo, ApiError> {
        let (id, mut client) = self.client().ok_or_else(not_controller)?;
        let asked = client.quorum(addressed(pb::Blank {}, &self.cluster, id));
        let answer = tokio::time::timeout(IMAGE_WAIT, asked).await.map_err(|_| not_controller())?;
        let reply = answer.map_err(|_| not_controller())?.into_inner();
        match reply.error {
            Some(error) => Err(error_from_pb(error).unwrap_or_else(unknown)),
            None => quorum_from_pb(reply).map_err(unknown),
        }
    }

    /// Makes a broker present at the active controller.
    ///
    /// # Errors
    /// `NOT_CONTROLLER` if there is none at the moment.
    pub async fn attend(&self) -> Result<Attendance, ApiError> {
        let here = {
            let standings = self.standings.borrow();
            self.local.as_ref().filter(|local| standings.leader == Some(local.node))
        };
        if let Some(local) = here {
            return Ok(Attendance::local(local.clone(), self.standings.clone()));
        }
        let (id, client) = self.client().ok_or_else(not_controller)?;
        let newest = Arc::clone(&self.newest);
        Attendance::open(client, (&self.cluster, id), self.standings.clone(), newest).await
    }
}

/// Whether doing the command twice has the effect of doing it once.
fn may_repeat(command: &Command) -> bool {
    match command {
        Command::CreateTopics { validate_only, .. }
        | Command::CreatePartitions { validate_only, .. }
        | Command::UpdateFeatures { validate_only, .. } => *validate_only,
        Command::AlterConfigs { changes, .. } => {
            let plain = |kind| matches!(kind, ConfigOpKind::Set | ConfigOpKind::Delete);
            changes.iter().flat_map(|c| &c.ops).all(|op| plain(op.op))
        }
        // A block of producer ids may be lost; there are enough.
        Command::AllocateProducerIds { .. }
        | Command::RegisterBroker { .. }
        | Command::BrokerHeartbeat(_)
        | Command::FenceBroker { .. }
        | Command::RegisterController(_)
        | Command::AssignReplicasToDirs { .. } => true,
        Command::DeleteTopics { .. }
        | Command::ElectLeaders { .. }
        | Command::AlterPartitionReassignments { .. }
        | Command::UnregisterBroker { .. }
        // The leader must know that the outcome is unknown.
        | Command::AlterPartition { .. } => false,
    }
}
