//! What a running broker consists of: the closed list of things that a handler
//! may touch.

use std::sync::Arc;

use millrace_controller::Controller;
use millrace_groups::GroupCoordinator;
use millrace_metadata::{ApiError, Command, Image, Reply};
use millrace_replica::ReplicaManager;
use millrace_security::Authorizer;
use millrace_transactions::ProducerIds;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::LiveConfig;
use crate::metrics::Metrics;
use crate::net::AnswerMemory;
use crate::run::logging::Loggers;
use crate::sessions::FetchSessions;

/// One running broker.
pub struct Broker {
    /// This broker's id in the cluster.
    pub node_id: i32,
    /// The cluster's id, 22 characters.
    pub cluster_id: String,
    /// Settings, static and dynamic.
    pub config: Arc<LiveConfig>,
    /// Decides what the cluster's metadata becomes.
    pub controller: Arc<Controller>,
    /// The cluster's metadata as far as this broker serves it.
    pub images: watch::Receiver<Arc<Image>>,
    /// Index of the image that the replicas are in step with: what it says of partitions is served.
    pub served: watch::Receiver<u64>,
    /// The partitions that are here.
    pub replicas: Arc<ReplicaManager>,
    /// Consumer groups whose coordinator is here.
    pub groups: GroupCoordinator,
    /// Producer ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Incremental fetch sessions.
    pub sessions: FetchSessions,
    /// Time of day.
    pub clock: Clock,
    /// Levels of the log output.
    pub loggers: Arc<Loggers>,
    /// Decides who may do what.
    pub authorizer: Arc<Authorizer>,
    /// Counters of requests.
    pub metrics: Metrics,
    /// Bytes of answers that wait for slow readers.
    pub answers: AnswerMemory,
}

impl Broker {
    /// The newest image of the cluster's metadata.
    pub fn image(&self) -> Arc<Image> {
        self.images.borrow().clone()
    }

    /// Has the controller decide the command, and returns when this broker serves what came of it: a client that asks
    /// next sees it.
    ///
    /// # Errors
    /// See [`Controller::submit`].
    pub async fn submit_and_serve(&self, command: Command) -> Result<Reply, ApiError> {
        let reply = self.controller.submit(command).await?;
        let index = self.controller.images().borrow().index;
        // The sender lives as long as the broker; without it there is nothing to wait for.
        drop(self.served.clone().wait_for(|served| *served >= index).await);
        Ok(reply)
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}
