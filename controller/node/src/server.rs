//! What this controller serves: Raft to its peers, commands to brokers and other controllers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use millrace_metadata::features::Feature;
use millrace_metadata::{ApiError, Command, DirId, ErrorCode, Image, Reply};
use millrace_rpc::pb::controller_server::{Controller as ControllerService, ControllerServer};
use millrace_rpc::pb::quorum_server::QuorumServer;
use millrace_rpc::pb::raft_server::{Raft as RaftService, RaftServer};
use millrace_rpc::{DecodeError, command_from_pb, error_to_pb, pb, reply_to_pb};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::attend::Reception;
use crate::codec::{snapshot_meta_from_pb, vote_to_pb};
use crate::contacts::{Contacts, Places};
use crate::decider::leading_term;
use crate::describe::{add_observers, quorum_to_pb};
use crate::log::Log;
use crate::membership::Members;
use crate::messages::{
    append_from_pb, appended_to_pb, needed_vote, transfer_from_pb, vote_request_from_pb, voted_to_pb,
};
use crate::network::{CLUSTER_KEY, MESSAGE_MAX, NODE_KEY, PING_EVERY, PING_WAIT, PROTOCOL, PROTOCOL_KEY};
use crate::pulse::is_gone;
use crate::quorum::quorum_info;
use crate::raft::{Raft, RaftId, Snapshot};
use crate::snapshot;
use crate::watch::{Teller, stream};

/// Calls of one connection that are served at the same time.
const CALLS_PER_CONNECTION: usize = 256;
/// Answers to heartbeats that wait for a slow broker.
const ANSWERS: usize = 2;

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the services work on.
#[derive(Clone)]
pub struct Serving {
    pub raft: Raft,
    pub cluster: Arc<str>,
    pub me: RaftId,
    pub reception: Reception,
    pub teller: Teller,
    pub images: watch::Receiver<Arc<Image>>,
    pub dir: DirId,
    pub contacts: Arc<Contacts>,
    pub members: Members,
    pub places: Places,
    pub log: Log,
    /// What this software supports.
    pub features: &'static [Feature],
    /// How long a voter keeps its word to a leader that is silent.
    pub lease: Duration,
    /// Its sender is dropped when the controller stops.
    pub stopping: watch::Receiver<()>,
}

/// Serves until the sender of `stop` is dropped.
pub async fn serve(serving: Serving, listener: TcpListener, mut stop: watch::Receiver<()>) {
    let raft = RaftServer::new(serving.clone()).max_decoding_message_size(MESSAGE_MAX);
    let controller = ControllerServer::new(serving.clone()).max_decoding_message_size(MESSAGE_MAX);
    let quorum = QuorumServer::new(serving);
    let server = Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_WAIT));
    let mut server = server;
    let served = server.add_service(raft).add_service(controller).add_service(quorum).serve_with_incoming_shutdown(
        TcpIncoming::from(listener),
        async {
            // Nothing is ever sent.
            stop.changed().await.ok();
        },
    );
    if let Err(error) = served.await {
        tracing::error!(%error, "the controller's listener stopped");
    }
}

fn malformed(error: DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl Serving {
    /// The message, if it is meant for this node of this cluster.
    pub fn accept<T>(&self, request: Request<T>) -> Result<T, Status> {
        let metadata = request.metadata();
        let cluster = metadata.get(CLUSTER_KEY).and_then(|v| v.to_str().ok());
        if cluster != Some(&*self.cluster) {
            return Err(Status::permission_denied(format!("this is cluster {}", self.cluster)));
        }
        let node = metadata.get(NODE_KEY).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        if node != Some(self.me) {
            return Err(Status::permission_denied(format!("this is node {}", self.me)));
        }
        check_protocol(metadata)?;
        Ok(request.into_inner())
    }

    /// Whether the leader's process is known to be gone. Somebody else's word for it is not enough.
    async fn leader_is_gone(&self, candidate: RaftId) -> bool {
        let leader = {
            let metrics = self.raft.metrics();
            let now = metrics.borrow_watched();
            let leader = now.current_leader.filter(|leader| *leader != now.id && *leader != candidate);
            leader.and_then(|leader| now.membership_config.membership().get_node(&leader).cloned())
        };
        let Some(leader) = leader else { return false };
        let (host, port) = self.places.of(&leader);
        // A lease that ran out needs no proof.
        self.contacts.heard_within(self.lease) && is_gone(host, port).await
    }
}

/// Refuses calls of newer software whose meaning is not known here.
fn check_protocol(metadata: &tonic::metadata::MetadataMap) -> Result<(), Status> {
    let spoken = metadata.get(PROTOCOL_KEY).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u32>().ok());
    match spoken {
        Some(version) if version > PROTOCOL => Err(Status::failed_precondition(format!(
            "the caller speaks version {version} of the controllers' calls, this node up to {PROTOCOL}; upgrade this node first"
        ))),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl RaftService for Serving {
    async fn append(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendResponse>, Status> {
        let request = append_from_pb(self.accept(request)?).map_err(malformed)?;
        self.contacts.heard(request.vote.leader_id.term, request.vote.leader_id.voted_for);
        let response = self.raft.append_entries(request).await.map_err(fatal)?;
        Ok(Response::new(appended_to_pb(&response)))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let mut request = vote_request_from_pb(self.accept(request)?).map_err(malformed)?;
        // The lease of a leader whose process is gone keeps nobody waiting.
        request.leadership_transfer |= self.leader_is_gone(request.vote.leader_id.voted_for).await;
        let response = self.raft.vote(request).await.map_err(fatal)?;
        Ok(Response::new(voted_to_pb(&response)))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let request = vote_request_from_pb(self.accept(request)?).map_err(malformed)?;
        let response = self.raft.pre_vote(request).await.map_err(fatal)?;
        Ok(Response::new(voted_to_pb(&response)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let mut chunks = self.accept(request)?;
        let torn = || Status::invalid_argument("the snapshot is torn");
        let head = chunks.message().await?.ok_or_else(torn)?;
        let vote = needed_vote(head.vote).map_err(malformed)?;
        let meta = head.meta.ok_or_else(torn).and_then(|m| snapshot_meta_from_pb(m).map_err(malformed))?;
        let mut image = Image::at(head.index, head.term);
        loop {
            let chunk = chunks.message().await?.ok_or_else(torn)?;
            if chunk.last {
                break;
            }
            snapshot::apply(&mut image, chunk.records).map_err(|e| Status::invalid_argument(e.to_string()))?;
        }
        let snapshot = Snapshot { meta, snapshot: Arc::new(image) };
        let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(fatal)?;
        Ok(Response::new(pb::SnapshotResponse { vote: Some(vote_to_pb(&response.vote)) }))
    }

    async fn transfer_leader(&self, request: Request<pb::TransferRequest>) -> Result<Response<pb::Blank>, Status> {
        let request = transfer_from_pb(self.accept(request)?).map_err(malformed)?;
        let accepted = self.raft.handle_transfer_leader(request).await.map_err(fatal)?;
        accepted.map_err(|e| Status::failed_precondition(e.to_string()))?;
        Ok(Response::new(pb::Blank {}))
    }
}

#[tonic::async_trait]
impl ControllerService for Serving {
    async fn submit(&self, request: Request<pb::Command>) -> Result<Response<pb::SubmitReply>, Status> {
        let command: Command = command_from_pb(self.accept(request)?).map_err(malformed)?;
        let answer: Result<Reply, ApiError> = self.reception.asker.ask(command).await;
        let (error, reply) = match &answer {
            Ok(reply) => (None, Some(reply_to_pb(reply))),
            Err(error) => (Some(error_to_pb(error)), None),
        };
        let index = self.images.borrow().index;
        Ok(Response::new(pb::SubmitReply { error, reply, index }))
    }

    type WatchStream = Events<pb::WatchEvent>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // Whoever looks for another cluster hears the name of this one first, and leaves.
        let events = self.teller.tell(request.get_ref())?;
        Ok(Response::new(Box::pin(stream(events))))
    }

    type AttendStream = Events<pb::AttendReply>;

    async fn attend(&self, request: Request<Streaming<pb::Heartbeat>>) -> Result<Response<Self::AttendStream>, Status> {
        let beats = self.accept(request)?;
        let (out, answers) = mpsc::channel(ANSWERS);
        tokio::spawn(self.reception.clone().serve(beats, out));
        Ok(Response::new(Box::pin(stream(answers))))
    }

    async fn quorum(&self, request: Request<pb::Blank>) -> Result<Response<pb::QuorumReply>, Status> {
        let pb::Blank {} = self.accept(request)?;
        let reply = match leading_term(&self.raft) {
            Some(_) => {
                let mut quorum = quorum_info(&self.raft, &self.images, &self.contacts);
                let image = Arc::clone(&self.images.borrow());
                add_observers(&mut quorum, &image, &self.reception.presence, self.contacts.now_ms());
                quorum_to_pb(&quorum)
            }
            None => pb::QuorumReply {
                error: Some(error_to_pb(&ErrorCode::NotController.into())),
                ..pb::QuorumReply::default()
            },
        };
        Ok(Response::new(reply))
    }
}
