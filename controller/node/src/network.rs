//! The way to the other controllers. Every call names the cluster and the node that it is meant for, so that an
//! address that was given to another node does not answer.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::Image;
use millrace_rpc::pb::raft_client::RaftClient;
use millrace_rpc::{DecodeError, pb};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::codec::{snapshot_meta_to_pb, vote_from_pb, vote_to_pb};
use crate::contacts::{Contacts, Places};
use crate::log::Log;
use crate::messages::{append_to_pb, appended_from_pb, transfer_to_pb, vote_request_to_pb, voted_from_pb};
use crate::raft::{Peer, RaftId, Snapshot, Types, Vote};
use crate::snapshot;

/// Bytes of one message. An append carries at most 4 MiB of entries and one entry more, and one entry the partitions
/// of one request.
pub const MESSAGE_MAX: usize = 64 << 20;
/// The names of the cluster and of the node that a call is meant for.
pub const CLUSTER_KEY: &str = "millrace-cluster";
pub const NODE_KEY: &str = "millrace-node";
/// Which version of the calls the sender speaks.
pub const PROTOCOL_KEY: &str = "millrace-protocol";
/// The version of the calls that this software speaks, and the newest one that it understands.
pub const PROTOCOL: u32 = 1;
/// How long a controller may take to make entries durable. Sent again before that, they would only cost more.
const APPEND_WAIT: Duration = Duration::from_secs(2);
/// Between two attempts to reach another controller: one that comes back waits for this until it is caught up.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection whose other end was cut off silently would be taken for a live one until TCP gives up, minutes later:
/// each end asks for a sign of life this often, and gives the connection up without an answer in time.
pub const PING_EVERY: Duration = Duration::from_secs(1);
pub const PING_WAIT: Duration = Duration::from_secs(2);

/// A channel that connects when it is used, and again when it broke. `None` if the address is none.
pub fn channel(host: &str, port: u16) -> Option<Channel> {
    let uri = if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") };
    let endpoint = Endpoint::from_shared(uri).ok()?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT)
        .keep_alive_while_idle(true);
    Some(endpoint.connect_lazy())
}

/// The request with the names of its addressee.
pub fn addressed<T>(message: T, cluster: &str, node: RaftId) -> Request<T> {
    let mut request = Request::new(message);
    // A cluster id that is no header text cannot be anybody's: the receiver then misses it and refuses.
    if let Ok(cluster) = MetadataValue::try_from(cluster) {
        request.metadata_mut().insert(CLUSTER_KEY, cluster);
    }
    request.metadata_mut().insert(NODE_KEY, MetadataValue::from(node));
    request.metadata_mut().insert(PROTOCOL_KEY, MetadataValue::from(PROTOCOL));
    request
}

/// Makes the connections of one controller.
pub struct Network {
    pub cluster: Arc<str>,
    pub places: Places,
    pub contacts: Arc<Contacts>,
    pub log: Log,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: RaftId, peer: &Peer) -> Connection {
        let (host, port) = self.places.of(peer);
        let client = channel(host, port).map(|channel| {
            RaftClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
        });
        let contacts = Arc::clone(&self.contacts);
        Connection { cluster: Arc::clone(&self.cluster), target, client, contacts, log: self.log.clone() }
    }
}

/// The way to one other controller.
pub struct Connection {
    cluster: Arc<str>,
    target: RaftId,
    client: Option<RaftClient<Channel>>,
    contacts: Arc<Contacts>,
    log: Log,
}

fn unreachable(why: impl Display) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(why))
}

fn malformed(error: DecodeError) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&error))
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RPCError<Types>> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(unreachable(status)),
        Err(_) => Err(unreachable("no answer in time")),
    }
}

impl Connection {
    fn parts<T>(&mut self, message: T) -> Result<(&mut RaftClient<Channel>, Request<T>), RPCError<Types>> {
        let request = addressed(message, &self.cluster, self.target);
        let client = self.client.as_mut().ok_or_else(|| unreachable("the controller has no usable address"))?;
        Ok((client, request))
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = Arc<Image>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let sent = request.entries.last().map(|e| e.log_id).or(request.prev_log_id);
        let (sent_ms, end) = (self.contacts.now_ms(), self.log.last_id());
        let limit = if request.entries.is_empty() { option.soft_ttl() } else { option.soft_ttl().max(APPEND_WAIT) };
        let (client, request) = self.parts(append_to_pb(&request))?;
        let answer = appended_from_pb(within(limit, client.append(request)).await?).map_err(malformed)?;
        let whole = sent >= end && matches!(answer, AppendEntriesResponse::Success);
        self.contacts.answered(self.target, sent_ms, whole);
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let (client, request) = self.parts(vote_request_to_pb(&request))?;
        voted_from_pb(within(option.soft_ttl(), client.vote(request)).await?).map_err(malformed)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let (client, request) = self.parts(vote_request_to_pb(&request))?;
        voted_from_pb(within(option.soft_ttl(), client.pre_vote(request)).await?).map_err(malformed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let chunks = chunks(&vote, &snapshot);
        let (client, request) = self.parts(futures::stream::iter(chunks))?;
        let sent = within(option.soft_ttl(), client.snapshot(request));
        tokio::select! {
            response = sent => {
                let vote = response?.vote.ok_or(DecodeError::Unknown("vote")).map_err(malformed)?;
                Ok(SnapshotResponse::new(vote_from_pb(&vote)))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_PAUSE)))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let (client, request) = self.parts(transfer_to_pb(&request))?;
        within(option.soft_ttl(), client.transfer_leader(request)).await?;
        Ok(Ok(()))
    }
}

fn chunks(vote: &Vote, snapshot: &Snapshot) -> Vec<pb::SnapshotChunk> {
    let image = &snapshot.snapshot;
    let head = pb::SnapshotChunk {
        vote: Some(vote_to_pb(vote)),
        meta: Some(snapshot_meta_to_pb(&snapshot.meta)),
        index: image.index,
        term: image.term,
        ..pb::SnapshotChunk::default()
    };
    let body = snapshot::chunks(image).map(|records| pb::SnapshotChunk { records, ..pb::SnapshotChunk::default() });
    let end = pb::SnapshotChunk { last: true, ..pb::SnapshotChunk::default() };
    std::iter::once(head).chain(body).chain([end]).collect()
}
