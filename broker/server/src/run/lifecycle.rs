//! This broker's membership in the cluster: registration, and heartbeats that keep it (KIP-631).

use std::sync::Arc;
use std::time::Duration;

use millrace_controller::ControllerLink;
use millrace_metadata::command::{Command, Heartbeat, Reply};
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{DirId, NodeId};
use millrace_replica::ReplicaManager;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::StartError;

/// Heartbeats in a row that may show the broker fenced before the start counts as failed.
const UNFENCE_ATTEMPTS: usize = 50;
const UNFENCE_PAUSE: Duration = Duration::from_millis(100);

/// A registered broker.
pub struct Member {
    pub node_id: NodeId,
    pub epoch: watch::Receiver<i64>,
    pub controller: Arc<ControllerLink>,
    pub replicas: Arc<ReplicaManager>,
    pub served: watch::Receiver<u64>,
}

/// Registers the broker. `unclean`: what it held in sync it may have lost.
pub async fn register(
    controller: &ControllerLink,
    registration: BrokerRegistration,
    unclean: bool,
) -> Result<i64, StartError> {
    let cluster_id = controller.cluster_id().to_owned();
    let command = Command::RegisterBroker { cluster_id, registration, unclean };
    match controller.submit(command).await {
        Ok(Reply::RegisterBroker(Ok(registered))) => Ok(registered.epoch),
        Ok(Reply::RegisterBroker(Err(error))) | Err(error) => {
            Err(StartError::part("registration with the controller", error.message))
        }
        Ok(other) => Err(StartError::part("registration with the controller", format!("unexpected answer {other:?}"))),
    }
}

impl Member {
    /// Reports until the controller lets this broker lead partitions, and returns when it serves what it leads.
    pub async fn join(&self) -> Result<(), StartError> {
        self.catch_up().await;
        for _ in 0..UNFENCE_ATTEMPTS {
            if self.beat().await == Some(false) {
                self.catch_up().await;
                return Ok(());
            }
            tokio::time::sleep(UNFENCE_PAUSE).await;
        }
        Err(StartError::part("registration with the controller", "the broker stays fenced; see the log for the reason"))
    }

    /// Waits until this broker serves the metadata that the controller has now.
    async fn catch_up(&self) {
        let index = self.controller.images().borrow().index;
        // Whoever serves lives longer than this future.
        drop(self.served.clone().wait_for(|served| *served >= index).await);
    }

    /// Reports regularly until the future is dropped.
    pub async fn stay(self, every_ms: u64) {
        let mut ticks = interval(Duration::from_millis(every_ms.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_fenced = false;
        loop {
            ticks.tick().await;
            match self.beat().await {
                Some(fenced) if fenced != was_fenced => {
                    tracing::info!(fenced, "the controller changed this broker's standing");
                    was_fenced = fenced;
                }
                Some(_) | None => {}
            }
        }
    }

    /// Whether the broker is fenced; `None` if the controller gave no answer.
    async fn beat(&self) -> Option<bool> {
        let heartbeat = Heartbeat {
            broker: self.node_id,
            broker_epoch: *self.epoch.borrow(),
            applied: *self.served.borrow(),
            want_fence: false,
            want_shutdown: false,
            offline_dirs: self.offline_dirs(),
        };
        match self.controller.submit(Command::BrokerHeartbeat(heartbeat)).await {
            Ok(Reply::BrokerHeartbeat(Ok(state))) => Some(state.fenced),
            Ok(Reply::BrokerHeartbeat(Err(error))) | Err(error) => {
                tracing::warn!(error = %error.message, "heartbeat refused");
                None
            }
            Ok(_) => None,
        }
    }

    fn offline_dirs(&self) -> Vec<DirId> {
        self.replicas.dirs().iter().filter(|dir| dir.is_offline()).map(|dir| dir.id()).collect()
    }
}
