//! What a running broker consists of: the closed list of things that a handler
//! may touch.

use std::sync::Arc;
use std::time::Duration;

use millrace_controller::ControllerLink;
use millrace_groups::GroupCoordinator;
use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_replica::ReplicaManager;
use millrace_security::Authorizer;
use millrace_transactions::ProducerIds;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::LiveConfig;
use crate::glue::replication::{Meters, Suspects};
use crate::metrics::Metrics;
use crate::net::AnswerMemory;
use crate::run::logging::Loggers;
use crate::sessions::FetchSessions;
use crate::throttle::Throttles;

/// One running broker.
pub struct Broker {
    /// This broker's id in the cluster.
    pub node_id: i32,
    /// The cluster's id, 22 characters.
    pub cluster_id: String,
    /// Settings, static and dynamic.
    pub config: Arc<LiveConfig>,
    /// This broker's epoch: another one after each registration.
    pub epoch: watch::Receiver<i64>,
    /// The way to the controllers, which decide what the cluster's metadata becomes.
    pub controller: Arc<ControllerLink>,
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
    /// Counters of replication.
    pub meters: Arc<Meters>,
    /// Rates of replication.
    pub throttles: Arc<Throttles>,
    /// Leaders that were just lost.
    pub suspects: Arc<Suspects>,
    /// Bytes of answers that wait for slow readers.
    pub answers: AnswerMemory,
}

impl Broker {
    /// The newest image of the cluster's metadata.
    pub fn image(&self) -> Arc<Image> {
        self.images.borrow().clone()
    }

    /// Has the controller decide the command, and returns when this broker serves what came of it: a client that asks
    /// next sees it. Waits as long as `request.timeout.ms` says.
    ///
    /// # Errors
    /// See [`Broker::submit_within`].
    pub async fn submit_and_serve(&self, command: Command) -> Result<Reply, ApiError> {
        self.submit_within(command, 0).await
    }

    /// As [`Broker::submit_and_serve`], for a client that waits `timeout_ms`; 0 or less means `request.timeout.ms`.
    ///
    /// # Errors
    /// See [`ControllerLink::submit`]. `REQUEST_TIMED_OUT` if it took too long: the command may be carried out later.
    pub async fn submit_within(&self, command: Command, timeout_ms: i32) -> Result<Reply, ApiError> {
        let served = async {
            let reply = self.controller.submit(command).await?;
            let index = self.controller.images().borrow().index;
            // The sender lives as long as the broker; without it there is nothing to wait for.
            drop(self.served.clone().wait_for(|served| *served >= index).await);
            Ok(reply)
        };
        let ms = if timeout_ms > 0 { timeout_ms } else { self.config.current().request_timeout_ms };
        let limit = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
        match tokio::time::timeout(limit, served).await {
            Ok(reply) => reply,
            Err(_) => Err(ErrorCode::RequestTimedOut.into()),
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}
