//! Log directories: what lies in them, and moving partitions between them (KIP-112, KIP-113).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use millrace_log::{LogCopy, LogDir, PartitionKey};
use millrace_store::StoreError;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::error::{MoveError, PartitionError};
use crate::manager::ReplicaManager;
use crate::partition::Partition;
use crate::progress::Reporter;

/// Partitions that are copied to another directory at a time.
const MAX_COPIES: usize = 2;

/// A log directory as DescribeLogDirs tells of it.
#[derive(Debug, Clone)]
pub struct DirReport {
    pub path: String,
    pub offline: bool,
    /// Of the file system, in bytes.
    pub total_bytes: u64,
    pub usable_bytes: u64,
    /// Sorted by topic id and partition.
    pub replicas: Vec<ReplicaReport>,
}

/// A replica in a log directory.
#[derive(Debug, Clone)]
pub struct ReplicaReport {
    pub topic: Arc<str>,
    pub partition: i32,
    pub bytes: u64,
    /// Offsets below the high watermark that this log lacks; for a copy, those that it still has to copy.
    pub offset_lag: i64,
    /// A copy that is not yet the partition's log.
    pub is_future: bool,
}

/// Copies under way.
pub(crate) struct Moves {
    permits: Arc<Semaphore>,
    running: Mutex<BTreeMap<PartitionKey, Arc<Move>>>,
}

impl Default for Moves {
    fn default() -> Moves {
        Moves { permits: Arc::new(Semaphore::new(MAX_COPIES)), running: Mutex::default() }
    }
}

struct Move {
    partition: Arc<Partition>,
    dir: Arc<LogDir>,
    cancelled: AtomicBool,
    /// End of the copy; −1 while it has not begun.
    end: AtomicI64,
}

impl Move {
    fn key(&self) -> PartitionKey {
        (self.partition.topic_id(), self.partition.index())
    }
}

impl ReplicaManager {
    pub fn has_dir(&self, path: &str) -> bool {
        self.dir_at(path).is_some()
    }

    fn dir_at(&self, path: &str) -> Option<&Arc<LogDir>> {
        self.dirs().iter().find(|d| d.path() == Path::new(path))
    }

    /// All log directories with what lies in them.
    pub async fn describe_dirs(self: &Arc<Self>) -> Vec<DirReport> {
        let manager = self.clone();
        tokio::task::spawn_blocking(move || manager.report_dirs()).await.unwrap_or_default()
    }

    fn report_dirs(&self) -> Vec<DirReport> {
        let mut reports: Vec<DirReport> = self.dirs().iter().map(|dir| empty_report(dir)).collect();
        let at = |dir: &Arc<LogDir>| self.dirs().iter().position(|d| Arc::ptr_eq(d, dir));
        for partition in self.partitions() {
            let Some(at) = at(&partition.log_dir()) else {
                continue;
            };
            let offset_lag = (partition.high_watermark() - partition.log_end_offset()).max(0);
            let bytes = partition.size_bytes();
            reports[at].replicas.push(replica_report(&partition, bytes, offset_lag, false));
        }
        for copy in self.moves().running.lock().values() {
            let end = copy.end.load(Ordering::Acquire);
            let Some(at) = at(&copy.dir).filter(|_| end >= 0) else {
                continue;
            };
            let offset_lag = (copy.partition.log_end_offset() - end).max(0);
            reports[at].replicas.push(replica_report(&copy.partition, 0, offset_lag, true));
        }
        reports
    }

    /// Begins to move a partition to the directory at `path`; the move goes on in the background. A move of the same
    /// partition that is under way is given up.
    pub async fn move_to_dir(self: &Arc<Self>, topic: &str, index: i32, path: &str) -> Result<(), MoveError> {
        let dir = self.dir_at(path).ok_or(MoveError::NoSuchDir)?.clone();
        dir.store()?;
        let partition = self.partition(topic, index).map_err(|error| match error {
            PartitionError::Unknown => MoveError::Unknown,
            PartitionError::NotHere => MoveError::NotHere,
            PartitionError::Offline(error) => MoveError::Storage(error),
        })?;
        let next = Arc::new(Move {
            partition: partition.clone(),
            dir: dir.clone(),
            cancelled: AtomicBool::new(false),
            end: AtomicI64::new(-1),
        });
        {
            let mut running = self.moves().running.lock();
            if let Some(earlier) = running.get(&next.key()) {
                if Arc::ptr_eq(&earlier.dir, &dir) {
                    return Ok(());
                }
                earlier.cancelled.store(true, Ordering::Release);
                running.remove(&next.key());
            }
            if Arc::ptr_eq(&partition.log_dir(), &dir) {
                return Ok(());
            }
            running.insert(next.key(), next.clone());
        }
        let manager = self.clone();
        tokio::spawn(async move {
            let permit = manager.moves().permits.clone().acquire_owned().await;
            let worker = tokio::task::spawn_blocking(move || {
                manager.run_move(&next);
                drop(permit);
            });
            // A panic has been reported by the thread itself.
            let _ = worker.await;
        });
        Ok(())
    }

    fn run_move(&self, work: &Arc<Move>) {
        let (topic, partition) = (work.partition.topic(), work.partition.index());
        let dir = work.dir.path().display();
        match self.copy(work) {
            Ok(true) => tracing::info!(%topic, partition, %dir, "moved to another log directory"),
            Ok(false) => {
                tracing::info!(%topic, partition, %dir, "the move to another log directory was given up")
            }
            Err(StoreError::Closed) => {
                tracing::info!(%topic, partition, %dir, "the partition was closed while it was being moved")
            }
            Err(error) => {
                tracing::error!(%topic, partition, %dir, %error, "the move to another log directory failed")
            }
        }
        let mut running = self.moves().running.lock();
        if running.get(&work.key()).is_some_and(|current| Arc::ptr_eq(current, work)) {
            running.remove(&work.key());
        }
    }

    /// False if the move was cancelled.
    fn copy(&self, work: &Move) -> Result<bool, StoreError> {
        let partition = &work.partition;
        let reporter = Reporter::new(partition.progress().clone(), work.dir.clone(), false);
        let mut copy: LogCopy = self.logs().begin_copy(work.key(), partition.log(), &work.dir, reporter.clone())?;
        loop {
            if work.cancelled.load(Ordering::Acquire) {
                copy.abandon(self.logs());
                return Ok(false);
            }
            match copy.step() {
                Ok(caught_up) => {
                    work.end.store(copy.end(), Ordering::Release);
                    if caught_up {
                        break;
                    }
                }
                Err(error) => {
                    copy.abandon(self.logs());
                    return Err(error);
                }
            }
        }
        let finished = copy.finish(self.logs(), || partition.report_by(reporter));
        if let Err(error) = &finished
            && Arc::ptr_eq(&partition.log_dir(), &work.dir)
        {
            // Writes go to a copy that cannot acknowledge them; a restart finds the original.
            partition.progress().fail(error);
        }
        finished.map(|()| true)
    }
}

fn empty_report(dir: &LogDir) -> DirReport {
    let usage = dir.usage();
    let (total_bytes, usable_bytes) = usage.as_ref().map_or((0, 0), |u| (u.total, u.free));
    let path = dir.path().display().to_string();
    DirReport { path, offline: usage.is_err(), total_bytes, usable_bytes, replicas: Vec::new() }
}

fn replica_report(partition: &Partition, bytes: u64, offset_lag: i64, is_future: bool) -> ReplicaReport {
    ReplicaReport { topic: partition.topic().clone(), partition: partition.index(), bytes, offset_lag, is_future }
}
