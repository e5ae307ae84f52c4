//! The log store on a directory: opens it, runs its threads, closes it.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::api::{Derive, FlushPolicy, Kv, LogStore, Observer, Plog, PlogId, RetentionClass, StoreError, Usage};
use crate::buckets::Catalogue;
use crate::core::{Core, Status};
use crate::directory::{self, Directory, refused};
use crate::engine::Engine;
use crate::handle::Handle;
use crate::ingest;
use crate::journal::commit::{Op, Queue, Stop};
use crate::journal::pool::Pool;
use crate::options::{MIN_SEGMENT, StoreOptions};
use crate::plog::Log;
use crate::recover;
use crate::rows::{Rows, Shared};
use crate::stats::{Stats, StoreStats};
use crate::upkeep;

/// How often whoever waits for the store's threads looks whether they have met a failure or a full disk.
const POLL: Duration = Duration::from_millis(50);

/// All partition logs of one data directory, in RocksDB behind a journal. See the README of this crate.
///
/// Dropping it without [`LogStore::close`] is like a kill of the process: what is queued and not durable is lost.
pub struct RocksLogStore {
    core: Arc<Core>,
    running: Mutex<Option<Running>>,
    clean: bool,
}

struct Running {
    committer: JoinHandle<()>,
    ingester: JoinHandle<()>,
    directory: Directory,
}

/// Opens or creates the log store in directory `path`. Reads the journal since the last checkpoint, so the time does
/// not grow with the data.
///
/// # Errors
/// [`StoreError::Refused`] if the directory is locked, unwritable or of a newer format; [`StoreError::Corrupt`] if
/// rows are damaged.
pub fn open_log_store(
    path: impl AsRef<Path>,
    options: StoreOptions,
    derive: Arc<dyn Derive>,
) -> Result<Arc<RocksLogStore>, StoreError> {
    RocksLogStore::open(path.as_ref(), options, derive).map(Arc::new)
}

impl RocksLogStore {
    fn open(path: &Path, mut options: StoreOptions, derive: Arc<dyn Derive>) -> Result<Self, StoreError> {
        options.segment_bytes = options.segment_bytes.max(MIN_SEGMENT).next_multiple_of(MIN_SEGMENT);
        options.first_segment_bytes = options.first_segment_bytes.max(MIN_SEGMENT).next_multiple_of(MIN_SEGMENT);
        let path: PathBuf = path.to_owned();
        let directory = directory::claim(&path)?;
        let clean = directory.clean;
        let (engine, families) = Engine::open(&path.join("db"))?;
        let engine = Arc::new(engine);
        let mut catalogue = Catalogue::load(&engine)?;
        recover::reconcile_buckets(&engine, &mut catalogue, &families)?;
        let core = Arc::new(Core {
            logs: RwLock::new(recover::load_heads(&engine)?),
            engine: RwLock::new(Some(engine.clone())),
            derive,
            queue: Queue::default(),
            pool: Arc::new(Pool::new(path.join("journal"), &options)),
            catalogue: Mutex::new(catalogue),
            dirty: Mutex::default(),
            status: Status::default(),
            stats: Stats::default(),
            path,
            options,
        });
        let committer = recover::journal(&core, &engine)?;
        let ingest_core = core.clone();
        let running = Running {
            committer: spawn(&core, "store-commit", move || committer.run())?,
            ingester: spawn(&core, "store-ingest", move || ingest::run(&ingest_core))?,
            directory,
        };
        Ok(RocksLogStore { core, running: Mutex::new(Some(running)), clean })
    }

    /// Whether the last use of the directory ended with [`LogStore::close`].
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Counters and gauges for metrics.
    pub fn stats(&self) -> StoreStats {
        let mut stats = self.core.stats.read();
        let (ops, bytes) = self.core.queue.depth();
        stats.queued_ops = ops as u64;
        stats.queued_bytes = bytes;
        stats.sealed_segments = self.core.pool.sealed() as u64;
        stats.full = self.core.status.is_full();
        let catalogue = self.core.catalogue.lock();
        stats.buckets = catalogue.buckets.len() as u64;
        stats.bucket_bytes = catalogue.buckets.values().map(|b| b.total).sum();
        stats.bucket_live_bytes = catalogue.buckets.values().map(|b| b.live).sum();
        stats
    }

    /// Moves everything durable into RocksDB now, as a full segment would be, and waits for it. Answers
    /// [`StoreError::Full`] if the disk has no room for it.
    pub fn roll(&self) -> Result<(), StoreError> {
        self.core.status.check()?;
        let (done, durable) = mpsc::channel();
        self.core.queue.push(Op::Roll(done))?;
        durable.recv().map_err(|_| StoreError::Closed)??;
        while !self.core.pool.wait_ingested(POLL) {
            self.core.status.check()?;
            if self.core.status.is_full() {
                return Err(self.core.full(self.core.options.reserve_bytes));
            }
        }
        Ok(())
    }

    /// Makes everything queued durable, unless a full disk is in the way.
    fn drain(&self) -> Result<(), StoreError> {
        self.core.status.check()?;
        let (done, durable) = mpsc::channel();
        self.core.queue.push(Op::Barrier(done))?;
        loop {
            match durable.recv_timeout(POLL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if self.core.status.is_full() => {
                    return Err(self.core.full(self.core.options.reserve_bytes));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(StoreError::Closed),
            }
        }
    }

    /// How writes of this store become durable.
    pub fn flush_policy(&self) -> FlushPolicy {
        self.core.options.flush
    }

    fn stop(&self, how: Stop) -> Result<(), StoreError> {
        let Some(running) = self.running.lock().take() else {
            return Ok(());
        };
        self.core.queue.stop(how);
        if how == Stop::Abandon {
            // The committer may be waiting for a segment.
            self.core.pool.stop();
        }
        let committed = running.committer.join();
        self.core.pool.stop();
        let ingested = running.ingester.join();
        self.core.pool.wait_made();
        let healthy = !self.core.status.is_poisoned() && committed.is_ok() && ingested.is_ok();
        self.core.status.fail(StoreError::Closed);
        let result = if how == Stop::Drain && healthy {
            let path = &self.core.path;
            directory::leave_clean_mark(path)
                .map_err(|e| StoreError::Poisoned { path: path.display().to_string(), what: e.to_string() })
        } else {
            Ok(())
        };
        // Handles may live on; they must not keep observers (which may own the handles) nor the database.
        for (_, log) in self.core.logs.write().drain() {
            log.state.lock().observer = None;
        }
        self.core.engine.write().take();
        drop(running.directory);
        result
    }
}

/// Starts a thread of the store; a panic in it stops the store rather than leaving callers waiting for ever.
fn spawn(
    core: &Arc<Core>,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let watched = core.clone();
    let body = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
            let path = watched.path.display().to_string();
            watched.poison(StoreError::Poisoned { path, what: format!("the thread {name} failed, see the log") });
        }
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    thread.map_err(|e| refused(&core.path, format!("cannot start a thread: {e}")))
}

impl Drop for RocksLogStore {
    fn drop(&mut self) {
        // Nothing can fail when nothing is to be kept.
        let _ = self.stop(Stop::Abandon);
    }
}

impl LogStore for RocksLogStore {
    fn open(
        &self,
        id: PlogId,
        class: RetentionClass,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<dyn Plog>, StoreError> {
        self.core.status.check()?;
        let log = self.core.logs.write().entry(id).or_insert_with(|| Arc::new(Log::new(id, class))).clone();
        log.set_class(class);
        log.state.lock().observer = Some(observer);
        Ok(Arc::new(Handle { core: self.core.clone(), log }))
    }

    fn plogs(&self) -> Result<Vec<PlogId>, StoreError> {
        self.core.engine()?;
        let mut ids: Vec<PlogId> = self.core.logs.read().keys().copied().collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn rows(&self) -> Arc<dyn Kv> {
        Arc::new(Rows(Shared(self.core.clone())))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.core.status.check()?;
        let (done, durable) = mpsc::channel();
        self.core.queue.push(Op::Barrier(done))?;
        durable.recv().map_err(|_| StoreError::Closed)?
    }

    fn usage(&self) -> Usage {
        let (total, free) = self.core.options.io.space(&self.core.path).unwrap_or_default();
        let buckets: u64 = self.core.catalogue.lock().buckets.values().map(|b| b.total).sum();
        let journal = self.core.pool.disk_bytes();
        let tail_memory = self.core.stats.read().tail_bytes;
        Usage { total, free, used_by_store: buckets + journal, tail_memory }
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        upkeep::reclaim(&self.core)
    }

    fn close(&self) -> Result<(), StoreError> {
        if self.running.lock().is_none() {
            return Err(StoreError::Closed);
        }
        match self.drain() {
            Ok(()) => self.stop(Stop::Drain),
            Err(error) => {
                self.stop(Stop::Abandon)?;
                Err(error)
            }
        }
    }
}
