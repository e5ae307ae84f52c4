//! Replication at work: connections to the leaders that this broker follows, and changes of the in-sync sets that it
//! leads. What to ask and what to make of answers is decided in `millrace_replica`; here is what waits and sends.

mod fetching;
mod isr;
mod link;
mod meters;
mod session;
mod suspects;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_controller::ControllerLink;
use millrace_metadata::{Image, NodeId};
use millrace_replica::{ReplicaManager, ReplicationSettings};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{BrokerConfig, LiveConfig};
use crate::throttle::Throttles;

pub use meters::Meters;
pub use suspects::Suspects;

/// Shortest time between two looks for replicas that lag, in ms.
const MIN_TICK_MS: u64 = 100;

/// What replication needs of the broker.
#[derive(Clone)]
pub struct Replication {
    pub node_id: NodeId,
    pub config: Arc<LiveConfig>,
    pub replicas: Arc<ReplicaManager>,
    pub controller: Arc<ControllerLink>,
    pub images: watch::Receiver<Arc<Image>>,
    /// Index of the image that the partitions are in step with.
    pub served: watch::Receiver<u64>,
    /// This broker's epoch.
    pub epoch: watch::Receiver<i64>,
    pub clock: Clock,
    pub meters: Arc<Meters>,
    pub throttles: Arc<Throttles>,
    pub suspects: Arc<Suspects>,
}

/// Hands the settings of replication to the partitions.
pub fn configure(replicas: &ReplicaManager, config: &BrokerConfig) {
    let settings = &config.replication;
    replicas.set_replication(ReplicationSettings {
        lag_time_max_ms: settings.lag_time_max_ms,
        fetchers_per_leader: settings.fetchers,
        fetch_max_bytes: usize::try_from(settings.fetch_max_bytes).unwrap_or(0),
        fetch_backoff_ms: i64::from(settings.backoff_ms),
        checkpoint_interval_ms: settings.checkpoint_interval_ms,
    });
}

impl Replication {
    /// That of a broker.
    pub fn of(broker: &Broker) -> Replication {
        Replication {
            node_id: broker.node_id,
            config: broker.config.clone(),
            replicas: broker.replicas.clone(),
            controller: broker.controller.clone(),
            images: broker.images.clone(),
            served: broker.served.clone(),
            epoch: broker.epoch.clone(),
            clock: broker.clock,
            meters: broker.meters.clone(),
            throttles: broker.throttles.clone(),
            suspects: broker.suspects.clone(),
        }
    }

    /// Fetches, and keeps the in-sync sets up to date, until the future is dropped.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        tasks.spawn(isr::keep(self.clone()));
        tasks.spawn(watch_lag(self.clone()));
        tasks.spawn(follow_settings(self.clone()));
        let mut begun = BTreeSet::new();
        loop {
            // They come sorted: a new one may stand before those that run already.
            for fetcher in self.replicas.fetchers().all() {
                if begun.insert((fetcher.leader(), fetcher.id())) {
                    tasks.spawn(fetching::run(self.clone(), fetcher));
                }
            }
            self.replicas.fetchers().added().await;
        }
    }

    fn settings(&self) -> Arc<BrokerConfig> {
        self.config.current()
    }
}

/// Looks for replicas that lag, twice in `replica.lag.time.max.ms`.
async fn watch_lag(parts: Replication) {
    loop {
        let lag_ms = parts.settings().replication.lag_time_max_ms.max(0) as u64;
        sleep(Duration::from_millis((lag_ms / 2).max(MIN_TICK_MS))).await;
        parts.replicas.tick(parts.clock.steady_ms());
    }
}

/// Passes changed settings on; what a connection is made with counts from the next one on.
async fn follow_settings(parts: Replication) {
    let mut changes = parts.config.subscribe();
    while changes.changed().await.is_ok() {
        let config = changes.borrow_and_update().clone();
        configure(&parts.replicas, &config);
    }
}

#[cfg(test)]
mod tests;
