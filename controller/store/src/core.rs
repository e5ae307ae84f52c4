//! What the threads of one log store share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::api::{Derive, PlogId, StoreError};
use crate::buckets::Catalogue;
use crate::engine::Engine;
use crate::journal::commit::Queue;
use crate::journal::pool::Pool;
use crate::options::StoreOptions;
use crate::plog::Log;
use crate::stats::Stats;

pub(crate) struct Core {
    pub path: PathBuf,
    pub options: StoreOptions,
    pub derive: Arc<dyn Derive>,
    /// Empty once closed, so that handles which outlive the store do not keep its files.
    pub engine: RwLock<Option<Arc<Engine>>>,
    pub logs: RwLock<HashMap<PlogId, Arc<Log>>>,
    pub queue: Queue,
    pub pool: Arc<Pool>,
    /// Whoever changes rows of `meta` holds this.
    pub catalogue: Mutex<Catalogue>,
    /// Logs whose rows in RocksDB lag behind their state in memory.
    pub dirty: Mutex<Vec<Arc<Log>>>,
    pub status: Status,
    pub stats: Stats,
}

impl Core {
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.engine.read().clone().ok_or(StoreError::Closed)
    }

    pub(crate) fn mark_dirty(&self, log: &Arc<Log>, flag: &mut bool) {
        if !std::mem::replace(flag, true) {
            self.dirty.lock().push(log.clone());
        }
    }

    /// Stops everything for good after a failed write or sync; every observer hears of it.
    pub(crate) fn poison(&self, error: StoreError) {
        tracing::error!(%error, "storage failed");
        if !self.status.fail(error.clone()) {
            return;
        }
        self.queue.fail(&error);
        let logs: Vec<_> = self.logs.read().values().cloned().collect();
        for log in logs {
            let observer = log.state.lock().observer.clone();
            if let Some(observer) = observer {
                observer.failed(&error);
            }
        }
    }

    /// A full disk as an error that names free bytes.
    pub(crate) fn full(&self, needed: u64) -> StoreError {
        let free = self.options.io.space(&self.path).map_or(0, |(_, free)| free);
        StoreError::Full { path: self.path.display().to_string(), free, needed }
    }
}

/// Whether the store takes writes.
#[derive(Default)]
pub(crate) struct Status {
    stopped: AtomicU8,
    full: AtomicBool,
    why: Mutex<Option<StoreError>>,
}

const RUNNING: u8 = 0;
const STOPPED: u8 = 1;

impl Status {
    /// The reason why nothing is written any more, if so.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.stopped.load(Ordering::Acquire) == RUNNING {
            return Ok(());
        }
        Err(self.why.lock().clone().unwrap_or(StoreError::Closed))
    }

    /// Whether appends are refused for lack of space.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Returns whether this is news.
    pub(crate) fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Ordering::Relaxed) != full
    }

    /// Records the first reason to stop; false if there was one already.
    pub(crate) fn fail(&self, error: StoreError) -> bool {
        let mut why = self.why.lock();
        let first = why.is_none();
        why.get_or_insert(error);
        self.stopped.store(STOPPED, Ordering::Release);
        first
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(*self.why.lock(), Some(StoreError::Poisoned { .. }))
    }
}
