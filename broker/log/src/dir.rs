//! One log directory (`log.dirs`): a store with the logs in it, online or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_metadata::DirId;
use millrace_store::{Kv, LogStore, StoreError, Usage};
use parking_lot::Mutex;

/// A directory as it was found at start.
pub struct DirSetup {
    pub path: PathBuf,
    /// Zero if it could not be found out.
    pub id: DirId,
    /// The opened store, or why there is none: then the directory is offline until a restart.
    pub store: Result<Arc<dyn LogStore>, StoreError>,
}

/// A log directory. Once offline it stays so until the broker is restarted (KIP-112).
pub struct LogDir {
    path: PathBuf,
    id: DirId,
    store: Option<Arc<dyn LogStore>>,
    rows: Option<Arc<dyn Kv>>,
    failure: Mutex<Option<StoreError>>,
    /// Logs of partitions in it, those being moved here included.
    partitions: AtomicUsize,
}

impl LogDir {
    pub(crate) fn new(setup: DirSetup) -> LogDir {
        let (store, failure) = match setup.store {
            Ok(store) => (Some(store), None),
            Err(error) => (None, Some(error)),
        };
        let rows = store.as_ref().map(|s| s.rows());
        let failure = Mutex::new(failure);
        LogDir { path: setup.path, id: setup.id, store, rows, failure, partitions: AtomicUsize::new(0) }
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    pub fn id(&self) -> DirId {
        self.id
    }

    /// Why the directory is offline.
    pub fn failure(&self) -> Option<StoreError> {
        self.failure.lock().clone()
    }

    pub fn is_offline(&self) -> bool {
        self.failure.lock().is_some()
    }

    /// Takes the directory offline; true if it was online before.
    pub fn fail(&self, error: &StoreError) -> bool {
        let mut failure = self.failure.lock();
        let first = failure.is_none();
        failure.get_or_insert_with(|| error.clone());
        drop(failure);
        if first {
            tracing::error!(dir = %self.path.display(), %error, "the log directory is offline");
        }
        first
    }

    pub fn store(&self) -> Result<&Arc<dyn LogStore>, StoreError> {
        match (&self.store, self.failure.lock().as_ref()) {
            (_, Some(failure)) => Err(failure.clone()),
            (Some(store), None) => Ok(store),
            (None, None) => Err(StoreError::Closed),
        }
    }

    /// The store, to be closed at the end even if the directory has failed meanwhile.
    pub(crate) fn opened_store(&self) -> Option<&Arc<dyn LogStore>> {
        self.store.as_ref()
    }

    /// The small rows of the directory.
    pub fn rows(&self) -> Result<Arc<dyn Kv>, StoreError> {
        self.store()?;
        self.rows.clone().ok_or(StoreError::Closed)
    }

    /// Space of the file system and of the store in it.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        Ok(self.store()?.usage())
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, more: usize) {
        self.partitions.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn uncount(&self) {
        self.partitions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for LogDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogDir").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}
