//! A command goes to the controller that leads.

use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_rpc::pb::controller_client::ControllerClient;
use millrace_rpc::{command_to_pb, error_from_pb, reply_from_pb};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::network::{MESSAGE_MAX, addressed, channel};
use crate::raft::{Peer, Raft, RaftId};

/// How long the leader may take, and then the local image to catch up.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);

/// Who leads, if it is somebody else and known.
fn leader(raft: &Raft) -> Option<(RaftId, Peer)> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader.filter(|id| *id != metrics.id)?;
    let peer = metrics.membership_config.membership().get_node(&leader)?.clone();
    Some((leader, peer))
}

/// Has the leader decide the command; returns when the local image shows its effect.
pub async fn forward(
    raft: &Raft,
    cluster: &str,
    images: &mut watch::Receiver<Arc<Image>>,
    command: &Command,
) -> Result<Reply, ApiError> {
    // Nothing is known of what became of a command whose answer does not come.
    let unknown = |what: String| ApiError::new(ErrorCode::UnknownServerError, what);
    let (id, peer) = leader(raft).ok_or(ErrorCode::NotController)?;
    let channel = channel(&peer.host, peer.port).ok_or(ErrorCode::NotController)?;
    let mut client = ControllerClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let forwarded = async {
        let sent = client.submit(addressed(command_to_pb(command), cluster, id)).await;
        let answer = sent.map_err(|status| unknown(format!("the leading controller: {status}")))?.into_inner();
        if let Some(error) = answer.error {
            return Err(error_from_pb(error).unwrap_or_else(|e| unknown(e.to_string())));
        }
        let caught_up = images.wait_for(|image| image.index >= answer.index).await;
        caught_up.map_err(|_| unknown("the controller is shutting down".to_owned()))?;
        let reply = answer.reply.ok_or_else(|| unknown("the leading controller gave no reply".to_owned()))?;
        reply_from_pb(reply).map_err(|e| unknown(e.to_string()))
    };
    let late = || unknown("the leading controller did not answer in time".to_owned());
    tokio::time::timeout(FORWARD_TIMEOUT, forwarded).await.map_err(|_| late())?
}
