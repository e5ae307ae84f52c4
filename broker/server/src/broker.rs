//! What a running broker consists of: the closed list of things that a handler
//! may touch.

use std::sync::Arc;

use millrace_metadata::Image;
use millrace_replica::ReplicaManager;
use millrace_security::Authorizer;
use millrace_transactions::ProducerIds;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::LiveConfig;
use crate::sessions::FetchSessions;

/// One running broker.
pub struct Broker {
    /// This broker's id in the cluster.
    pub node_id: i32,
    /// The cluster's id, 22 characters.
    pub cluster_id: String,
    /// Settings, static and dynamic.
    pub config: Arc<LiveConfig>,
    /// The cluster's metadata as far as this broker has it.
    pub images: watch::Receiver<Arc<Image>>,
    /// Index of the image that the replicas are in step with: what it says of partitions is served.
    pub served: watch::Receiver<u64>,
    /// The partitions that are here.
    pub replicas: Arc<ReplicaManager>,
    /// Producer ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Incremental fetch sessions.
    pub sessions: FetchSessions,
    /// Time of day.
    pub clock: Clock,
    /// Decides who may do what.
    pub authorizer: Arc<Authorizer>,
}

impl Broker {
    /// The newest image of the cluster's metadata.
    pub fn image(&self) -> Arc<Image> {
        self.images.borrow().clone()
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}
