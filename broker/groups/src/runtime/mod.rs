//! The coordinator as the broker runs it: shards behind locks, one writer task for each, one task for all deadlines.
//!
//! ```text
//! request ─▶ lock shard ─▶ transition ─▶ records into the queue, answers that wait for them behind it ─▶ unlock
//!                                            │
//! writer task: takes the whole queue ─▶ append ─▶ committed ─▶ releases the answers up to there
//! ```
//! While an append is under way, the records of all requests that arrive gather in the queue and go out as one batch.

mod cell;
mod hash;
mod load;
mod queue;
mod requests;
mod rewrite;
mod timers;
mod writer;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use millrace_metadata::ErrorCode;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use hash::java_string_hash;

use crate::config::GroupSettings;
use crate::effects::Waiters;
use crate::shard::UuidSource;
use crate::storage::OffsetsLog;
use crate::timers::Now;
use crate::types::{JoinAnswer, SyncAnswer};
use cell::Cell;
use timers::TimerTask;

/// The topic that holds all of it.
pub const TOPIC: &str = "__consumer_offsets";

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Makes a source of random bytes for one shard.
pub type UuidFactory = Box<dyn Fn() -> UuidSource + Send + Sync>;

/// Answers go to the tasks that serve the connections.
pub(crate) struct Live;

impl Waiters for Live {
    type Join = oneshot::Sender<JoinAnswer>;
    type Sync = oneshot::Sender<SyncAnswer>;
}

/// What the coordinator stands on.
pub struct Parts {
    pub settings: Arc<GroupSettings>,
    /// `offsets.topic.num.partitions`, until the topic exists and says otherwise.
    pub partitions: i32,
    pub log: Arc<dyn OffsetsLog>,
    pub clock: Clock,
    pub uuids: UuidFactory,
}

/// The group coordinator of this broker. Cheap to clone.
#[derive(Clone)]
pub struct GroupCoordinator {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    settings: RwLock<Arc<GroupSettings>>,
    partitions: AtomicI32,
    log: Arc<dyn OffsetsLog>,
    clock: Clock,
    uuids: UuidFactory,
    /// The partitions that this broker leads.
    cells: RwLock<BTreeMap<i32, Arc<Cell>>>,
    /// The latest writer of each partition, ended or not.
    writers: Mutex<BTreeMap<i32, JoinHandle<()>>>,
    timers: TimerTask,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    pub fn now(&self) -> Now {
        (self.clock)()
    }

    pub fn settings(&self) -> Arc<GroupSettings> {
        self.settings.read().clone()
    }
}

impl std::fmt::Debug for GroupCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCoordinator").field("partitions", &self.shared.cells.read().len()).finish()
    }
}

impl GroupCoordinator {
    /// Starts without any partition; must be called inside a tokio runtime.
    pub fn start(parts: Parts) -> GroupCoordinator {
        let shared = Arc::new(Shared {
            settings: RwLock::new(parts.settings),
            partitions: AtomicI32::new(parts.partitions.max(1)),
            log: parts.log,
            clock: parts.clock,
            uuids: parts.uuids,
            cells: RwLock::default(),
            writers: Mutex::default(),
            timers: TimerTask::default(),
            tasks: Mutex::default(),
        });
        let task = tokio::spawn(timers::run(Arc::downgrade(&shared)));
        shared.tasks.lock().push(task);
        GroupCoordinator { shared }
    }

    /// The partition of `__consumer_offsets` that a group belongs to, as every Kafka client and tool computes it.
    pub fn partition_for(&self, group_id: &str) -> i32 {
        let partitions = self.shared.partitions.load(Ordering::Relaxed);
        (java_string_hash(group_id) & i32::MAX) % partitions
    }

    /// The number of partitions of the topic.
    pub fn set_partitions(&self, partitions: i32) {
        self.shared.partitions.store(partitions.max(1), Ordering::Relaxed);
    }

    /// New settings, for what happens from now on.
    pub fn configure(&self, settings: Arc<GroupSettings>) {
        *self.shared.settings.write() = settings.clone();
        for cell in self.shared.cells.read().values() {
            cell.configure(settings.clone());
        }
    }

    /// This broker leads the partition at this epoch from now on: its groups are read, and
    /// COORDINATOR_LOAD_IN_PROGRESS is answered meanwhile. If it led already and did not follow anybody in between,
    /// nobody else has written: nothing is read again. Whoever did follow calls [`resign`](Self::resign) first.
    pub fn lead(&self, partition: i32, epoch: i32) {
        let mut cells = self.shared.cells.write();
        if let Some(cell) = cells.get(&partition) {
            cell.set_epoch(epoch);
        } else {
            let cell = Arc::new(Cell::new(partition, epoch));
            cells.insert(partition, cell.clone());
            let mut writers = self.shared.writers.lock();
            let before = writers.remove(&partition);
            let run = writer::run(Arc::downgrade(&self.shared), cell);
            // What the one before still hands to the log must be there before the log is read.
            let task = tokio::spawn(async move {
                if let Some(before) = before {
                    drop(before.await);
                }
                run.await;
            });
            writers.insert(partition, task);
        }
    }

    /// This broker does not lead the partition any more: whoever waits is sent to look for the coordinator.
    pub fn resign(&self, partition: i32) {
        if let Some(cell) = self.shared.cells.write().remove(&partition) {
            cell.close(ErrorCode::NotCoordinator);
        }
    }

    /// The partitions that this broker leads, with their epochs.
    pub fn led(&self) -> Vec<(i32, i32)> {
        self.shared.cells.read().iter().map(|(partition, cell)| (*partition, cell.epoch())).collect()
    }

    /// Topics were deleted: their offsets go.
    pub fn topics_deleted(&self, mut topics: Vec<String>) {
        topics.sort_unstable();
        let cells: Vec<Arc<Cell>> = self.shared.cells.read().values().cloned().collect();
        for cell in cells {
            cell.with(&self.shared, |shard, _, out| shard.topics_deleted(&topics, out));
        }
    }

    /// Waits until every partition that this broker leads is loaded.
    pub fn loaded(&self) -> impl Future<Output = ()> + Send + 'static {
        let cells: Vec<Arc<Cell>> = self.shared.cells.read().values().cloned().collect();
        async move {
            for cell in cells {
                cell.loaded().await;
            }
        }
    }

    /// Gives up all partitions and ends the tasks. Records that were handed to the log stay there.
    pub fn shutdown(&self) {
        for (partition, _) in self.led() {
            self.resign(partition);
        }
        for task in self.shared.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
