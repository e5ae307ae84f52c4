//! What this controller serves to controllers that look for a quorum, change it, or watch over its leader.

use std::pin::Pin;

use futures::Stream;
use millrace_metadata::features::ranges;
use millrace_rpc::pb::quorum_server::Quorum as QuorumService;
use millrace_rpc::{error_to_pb, pb};
use openraft::async_runtime::watch::WatchReceiver;
use tonic::{Request, Response, Status};

use crate::change::Change;
use crate::peers::Seen;
use crate::raft::controller_id;
use crate::server::Serving;

/// Who this controller is, and the quorum as it knows it.
fn seen(serving: &Serving) -> (Seen, u64) {
    let metrics = serving.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let nodes: std::collections::BTreeMap<_, _> = membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect();
    let seen = Seen {
        node: controller_id(metrics.id),
        dir: serving.dir,
        cluster_id: serving.cluster.to_string(),
        wanted: String::new(),
        pristine: metrics.last_log_index.is_none() && metrics.current_term == 0,
        voters: membership.voter_ids().collect(),
        nodes,
        leader: metrics.current_leader,
        last: serving.log.last(),
        features: ranges(serving.features),
        levels: serving.images.borrow().features.clone(),
    };
    (seen, metrics.current_term)
}

#[tonic::async_trait]
impl QuorumService for Serving {
    async fn identify(&self, _: Request<pb::Blank>) -> Result<Response<pb::Identified>, Status> {
        let (seen, term) = seen(self);
        Ok(Response::new(seen.to_pb(term)))
    }

    async fn found(&self, request: Request<pb::Founding>) -> Result<Response<pb::Blank>, Status> {
        // The founder heard no answer the first time.
        if request.get_ref().cluster_id == *self.cluster {
            return Ok(Response::new(pb::Blank {}));
        }
        Err(Status::permission_denied(format!("it belongs to cluster {}", self.cluster)))
    }

    async fn change(&self, request: Request<pb::QuorumChange>) -> Result<Response<pb::QuorumChanged>, Status> {
        let change = Change::from_pb(self.accept(request)?).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let changed = self.members.change(change).await;
        Ok(Response::new(pb::QuorumChanged { error: changed.err().map(|e| error_to_pb(&e)) }))
    }

    type PulseStream = Pin<Box<dyn Stream<Item = Result<pb::Blank, Status>> + Send>>;

    async fn pulse(&self, request: Request<pb::Blank>) -> Result<Response<Self::PulseStream>, Status> {
        let pb::Blank {} = self.accept(request)?;
        let mut stopping = self.stopping.clone();
        let until_stop = futures::stream::once(async move {
            // Nothing is ever sent: its sender is dropped.
            drop(stopping.changed().await);
            Err(Status::unavailable("the controller stops"))
        });
        Ok(Response::new(Box::pin(until_stop)))
    }
}
