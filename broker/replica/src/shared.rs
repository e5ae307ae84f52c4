//! What all partitions of a broker have in common: settings, who is alive, and which in-sync sets shall change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millrace_log::{LogManager, PartitionKey};
use millrace_metadata::{Image, NodeId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

/// Kafka's settings of replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// `replica.lag.time.max.ms`
    pub lag_time_max_ms: i64,
    /// `num.replica.fetchers`: fetchers for each leading broker.
    pub fetchers_per_leader: usize,
    /// `replica.fetch.max.bytes`: for one partition.
    pub fetch_max_bytes: usize,
    /// `replica.fetch.backoff.ms`: longest pause of a partition whose fetch failed.
    pub fetch_backoff_ms: i64,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub checkpoint_interval_ms: u64,
}

impl Default for ReplicationSettings {
    /// Kafka's defaults.
    fn default() -> ReplicationSettings {
        ReplicationSettings {
            lag_time_max_ms: 30_000,
            fetchers_per_leader: 1,
            fetch_max_bytes: 1 << 20,
            fetch_backoff_ms: 1_000,
            checkpoint_interval_ms: 5_000,
        }
    }
}

/// A broker as the metadata shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BrokerView {
    epoch: i64,
    /// Neither fenced nor shutting down.
    active: bool,
}

/// The brokers that may be in sync.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Brokers {
    views: BTreeMap<NodeId, BrokerView>,
}

impl Brokers {
    fn of(image: &Image) -> Brokers {
        let view =
            |broker: &millrace_metadata::BrokerImage| BrokerView { epoch: broker.epoch, active: broker.is_active() };
        Brokers { views: image.brokers().map(|broker| (broker.id, view(broker))).collect() }
    }

    /// Whether a replica that last fetched as incarnation `epoch` may join an in-sync set (KIP-841, KIP-903). An
    /// incarnation of −1 is not compared; nobody is known to a cluster without registrations.
    pub(crate) fn may_join(&self, node: NodeId, epoch: i64) -> bool {
        self.views.get(&node).is_some_and(|view| view.active && (epoch == -1 || epoch == view.epoch))
    }

    pub(crate) fn epoch(&self, node: NodeId) -> i64 {
        self.views.get(&node).map_or(-1, |view| view.epoch)
    }
}

/// Shared by the partitions.
pub(crate) struct Shared {
    pub node_id: NodeId,
    pub logs: LogManager,
    settings: RwLock<ReplicationSettings>,
    brokers: RwLock<Arc<Brokers>>,
    /// Epoch of this broker's registration, −1 if nobody told.
    own_epoch: AtomicI64,
    /// The latest time that any call brought.
    now_ms: AtomicI64,
    pub isr: IsrQueue,
}

impl Shared {
    pub(crate) fn new(node_id: NodeId, logs: LogManager) -> Arc<Shared> {
        Arc::new(Shared {
            node_id,
            logs,
            settings: RwLock::default(),
            brokers: RwLock::default(),
            own_epoch: AtomicI64::new(-1),
            now_ms: AtomicI64::new(0),
            isr: IsrQueue::default(),
        })
    }

    pub(crate) fn settings(&self) -> ReplicationSettings {
        *self.settings.read()
    }

    pub(crate) fn set_settings(&self, settings: ReplicationSettings) {
        *self.settings.write() = settings;
    }

    pub(crate) fn brokers(&self) -> Arc<Brokers> {
        self.brokers.read().clone()
    }

    /// Takes in who is registered; true if that changed.
    pub(crate) fn set_brokers(&self, image: &Image) -> bool {
        let next = Brokers::of(image);
        let mut brokers = self.brokers.write();
        let changed = **brokers != next;
        if changed {
            *brokers = Arc::new(next);
        }
        changed
    }

    pub(crate) fn registered(&self, epoch: i64) {
        self.own_epoch.store(epoch, Ordering::Release);
    }

    /// Whether leaderships in the image that `brokers` come from are meant for this run of the broker, not for an
    /// earlier one that may have handed out offsets which this one does not have.
    pub(crate) fn may_lead(&self) -> bool {
        let own = self.own_epoch.load(Ordering::Acquire);
        own == -1 || self.brokers.read().epoch(self.node_id) == own
    }

    /// The time of day as far as it is known, ms since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Takes in a time of day; answers the latest one known.
    pub(crate) fn saw(&self, now_ms: i64) -> i64 {
        self.now_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }
}

/// Partitions whose in-sync set shall change.
#[derive(Default)]
pub(crate) struct IsrQueue {
    keys: Mutex<BTreeSet<PartitionKey>>,
    filled: Notify,
}

impl IsrQueue {
    pub(crate) fn push(&self, key: PartitionKey) {
        if self.keys.lock().insert(key) {
            self.filled.notify_one();
        }
    }

    /// At most `limit` of them; more are left for the next call.
    pub(crate) fn take(&self, limit: usize) -> Vec<PartitionKey> {
        let mut keys = self.keys.lock();
        let mut taken = Vec::with_capacity(keys.len().min(limit));
        while taken.len() < limit {
            let Some(key) = keys.pop_first() else {
                break;
            };
            taken.push(key);
        }
        if !keys.is_empty() {
            self.filled.notify_one();
        }
        taken
    }

    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}
