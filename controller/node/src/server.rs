//! What this controller serves: Raft to its peers, commands to brokers and other controllers.

use std::sync::Arc;

use millrace_metadata::{ApiError, Command, Image, Reply};
use millrace_rpc::pb::controller_server::{Controller as ControllerService, ControllerServer};
use millrace_rpc::pb::raft_server::{Raft as RaftService, RaftServer};
use millrace_rpc::{DecodeError, command_from_pb, error_to_pb, pb, reply_to_pb};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::codec::{snapshot_meta_from_pb, vote_to_pb};
use crate::decider::Asker;
use crate::messages::{
    append_from_pb, appended_to_pb, needed_vote, transfer_from_pb, vote_request_from_pb, voted_to_pb,
};
use crate::network::{CLUSTER_KEY, MESSAGE_MAX, NODE_KEY};
use crate::raft::{Raft, RaftId, Snapshot};
use crate::snapshot;

/// Calls of one connection that are served at the same time.
const CALLS_PER_CONNECTION: usize = 256;

/// What the services work on.
#[derive(Clone)]
pub struct Serving {
    pub raft: Raft,
    pub cluster: Arc<str>,
    pub me: RaftId,
    pub asker: Asker,
    pub images: watch::Receiver<Arc<Image>>,
}

/// Serves until `stop` fires or is dropped.
pub async fn serve(serving: Serving, listener: TcpListener, stop: oneshot::Receiver<()>) {
    let raft = RaftServer::new(serving.clone()).max_decoding_message_size(MESSAGE_MAX);
    let controller = ControllerServer::new(serving).max_decoding_message_size(MESSAGE_MAX);
    let server = Server::builder().concurrency_limit_per_connection(CALLS_PER_CONNECTION).tcp_nodelay(true);
    let mut server = server;
    let served = server.add_service(raft).add_service(controller).serve_with_incoming_shutdown(
        TcpIncoming::from(listener),
        async {
            // Dropped or fired: the controller stops either way.
            stop.await.ok();
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
    fn accept<T>(&self, request: Request<T>) -> Result<T, Status> {
        let metadata = request.metadata();
        let cluster = metadata.get(CLUSTER_KEY).and_then(|v| v.to_str().ok());
        if cluster != Some(&*self.cluster) {
            return Err(Status::permission_denied(format!("this is cluster {}", self.cluster)));
        }
        let node = metadata.get(NODE_KEY).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        if node != Some(self.me) {
            return Err(Status::permission_denied(format!("this is node {}", self.me)));
        }
        Ok(request.into_inner())
    }
}

#[tonic::async_trait]
impl RaftService for Serving {
    async fn append(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendResponse>, Status> {
        let request = append_from_pb(self.accept(request)?).map_err(malformed)?;
        let response = self.raft.append_entries(request).await.map_err(fatal)?;
        Ok(Response::new(appended_to_pb(&response)))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let request = vote_request_from_pb(self.accept(request)?).map_err(malformed)?;
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
        let answer: Result<Reply, ApiError> = self.asker.ask(command).await;
        let (error, reply) = match &answer {
            Ok(reply) => (None, Some(reply_to_pb(reply))),
            Err(error) => (Some(error_to_pb(error)), None),
        };
        let index = self.images.borrow().index;
        Ok(Response::new(pb::SubmitReply { error, reply, index }))
    }
}
