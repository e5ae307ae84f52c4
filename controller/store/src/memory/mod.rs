//! In-memory twin of the log store, for tests: same rules, a disk that forgets what was not synced, and faults on
//! demand. A [`MemoryDisk`] outlives the [`MemoryStore`]s that are opened on it, as a directory outlives a process.

mod kv;
mod log;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

pub use self::kv::MemoryKv;
use self::log::{Effect, Image, MemoryPlog, Op};
use crate::api::{Derive, Kv, KvBatch, LogStore, Observer, Plog, PlogId, RetentionClass, StoreError, Usage};

/// What survives a crash: the logs as of the last ingestion, the synced journal since, and the rows.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<Disk>>,
    rows: MemoryKv,
}

#[derive(Default)]
struct Disk {
    logs: BTreeMap<PlogId, Image>,
    journal: Vec<(PlogId, Op)>,
    locked: bool,
    clean: bool,
}

impl MemoryDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the last store on this disk was closed in order.
    pub fn is_clean(&self) -> bool {
        self.state.lock().clean
    }
}

/// A [`LogStore`] in memory. Clones share the store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Present when commits happen by themselves.
    committer: Option<Arc<Committer>>,
}

struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.world.lock().fate.get_or_insert(StoreError::Closed);
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of an observer has already been reported by the thread itself.
            let _ = thread.join();
        }
        self.shared.disk.state.lock().locked = false;
    }
}

struct Shared {
    disk: MemoryDisk,
    derive: Arc<dyn Derive>,
    world: Mutex<World>,
    wake: Condvar,
    /// Held by whoever commits, so that observers are told in order although the world is not locked meanwhile.
    committing: Mutex<()>,
    paused: AtomicBool,
}

#[derive(Default)]
struct World {
    logs: BTreeMap<PlogId, Image>,
    observers: BTreeMap<PlogId, Arc<dyn Observer>>,
    /// Queued, not yet durable.
    queue: Vec<(PlogId, Op)>,
    /// Why nothing is taken any more.
    fate: Option<StoreError>,
    full: bool,
    fail_next_sync: bool,
}

impl MemoryStore {
    /// A store that commits by itself, on a thread of its own, on a fresh disk.
    pub fn new(derive: Arc<dyn Derive>) -> Result<Self, StoreError> {
        Self::open(&MemoryDisk::new(), derive)
    }

    /// A store that commits by itself, on a thread of its own.
    pub fn open(disk: &MemoryDisk, derive: Arc<dyn Derive>) -> Result<Self, StoreError> {
        let mut store = Self::open_manual(disk, derive)?;
        let shared = store.shared.clone();
        let thread = std::thread::Builder::new()
            .name("memory-store".into())
            .spawn(move || {
                loop {
                    {
                        let mut world = shared.world.lock();
                        while world.fate.is_none() && (world.queue.is_empty() || shared.paused.load(Ordering::Acquire))
                        {
                            shared.wake.wait(&mut world);
                        }
                        if world.fate.is_some() {
                            return;
                        }
                    }
                    shared.commit();
                }
            })
            .map_err(|e| StoreError::Refused { path: "memory".into(), what: format!("no thread: {e}") })?;
        store.committer = Some(Arc::new(Committer { shared: store.shared.clone(), thread: Mutex::new(Some(thread)) }));
        Ok(store)
    }

    /// A store that commits only when told: by [`MemoryStore::commit`], `sync`, `truncate` or `close`.
    pub fn open_manual(disk: &MemoryDisk, derive: Arc<dyn Derive>) -> Result<Self, StoreError> {
        let state = &mut *disk.state.lock();
        if state.locked {
            return Err(StoreError::Refused { path: "memory".into(), what: "in use by another store".into() });
        }
        state.locked = true;
        state.clean = false;
        let mut logs = state.logs.clone();
        for (id, op) in &state.journal {
            log::replay(&mut logs, *id, op);
        }
        for image in logs.values_mut() {
            image.settle();
        }
        let shared = Shared {
            disk: disk.clone(),
            derive,
            world: Mutex::new(World { logs, ..World::default() }),
            wake: Condvar::new(),
            committing: Mutex::new(()),
            paused: AtomicBool::new(false),
        };
        Ok(MemoryStore { shared: Arc::new(shared), committer: None })
    }

    /// Makes everything queued durable and tells the observers.
    pub fn commit(&self) {
        self.shared.commit();
    }

    /// Holds back the commits of a store that commits by itself.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Release);
        self.shared.wake.notify_all();
    }

    /// Commits, then moves the tail into the store as a full journal segment would be: `tail()` is empty afterwards
    /// and [`Derive`] has seen the batches.
    pub fn ingest(&self) -> Result<(), StoreError> {
        self.shared.commit();
        self.shared.ingest()
    }

    /// The process dies: what was not durable is forgotten. Handles answer `Closed`; open the disk again.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// As [`MemoryStore::crash`], but the first `keep` queued writes have reached the disk all the same (a torn
    /// tail), and the first `keep` row batches that were not synced.
    pub fn crash_keeping(&self, keep: usize) {
        let _order = self.shared.committing.lock();
        let world = &mut *self.shared.world.lock();
        let disk = &mut *self.shared.disk.state.lock();
        if world.fate.is_none() {
            disk.journal.extend(world.queue.drain(..).take(keep));
        }
        self.shared.disk.rows.crash_keeping(keep);
        world.fate = Some(StoreError::Closed);
        world.queue.clear();
        world.observers.clear();
        disk.locked = false;
        self.shared.wake.notify_all();
    }

    /// The next sync fails: the store is poisoned, the observers are told, nothing is kept of that group.
    pub fn fail_next_sync(&self) {
        self.shared.world.lock().fail_next_sync = true;
    }

    /// While full, appends answer [`StoreError::Full`]; reads, truncation and retention go on.
    pub fn set_full(&self, full: bool) {
        self.shared.world.lock().full = full;
    }
}

impl Shared {
    fn commit(&self) {
        let _order = self.committing.lock();
        let mut calls: Vec<(Arc<dyn Observer>, Result<i64, StoreError>)> = Vec::new();
        {
            let world = &mut *self.world.lock();
            if world.queue.is_empty() || world.fate.is_some() {
                return;
            }
            let group = std::mem::take(&mut world.queue);
            if std::mem::take(&mut world.fail_next_sync) {
                let error = StoreError::Poisoned { path: "memory".into(), what: "injected sync failure".into() };
                world.fate = Some(error.clone());
                calls.extend(world.observers.values().map(|o| (o.clone(), Err(error.clone()))));
            } else {
                let mut ends: BTreeMap<PlogId, i64> = BTreeMap::new();
                for (id, op) in &group {
                    if let Effect::End(end) = op.effect() {
                        ends.insert(*id, end);
                    }
                }
                self.disk.state.lock().journal.extend(group);
                for (id, end) in ends {
                    let Some(image) = world.logs.get_mut(&id) else {
                        continue;
                    };
                    image.durable_end = image.durable_end.max(end.min(image.end));
                    if let Some(observer) = world.observers.get(&id) {
                        calls.push((observer.clone(), Ok(image.durable_end)));
                    }
                }
            }
        }
        for (observer, call) in calls {
            match call {
                Ok(end) => observer.durable(end),
                Err(error) => observer.failed(&error),
            }
        }
    }

    fn ingest(&self) -> Result<(), StoreError> {
        let _order = self.committing.lock();
        let world = &mut *self.world.lock();
        if let Some(fate) = &world.fate {
            return Err(fate.clone());
        }
        let mut rows = KvBatch::default();
        for (id, image) in &world.logs {
            let tail = image.durable_tail();
            if !tail.is_empty() {
                self.derive.derive(*id, &tail, &self.disk.rows, &mut rows)?;
            }
        }
        self.disk.rows.write(rows, true)?;
        let disk = &mut *self.disk.state.lock();
        disk.journal.clear();
        disk.logs.clear();
        for (id, image) in &mut world.logs {
            image.ingest();
            if image.exists() {
                disk.logs.insert(*id, image.durable_copy());
            }
        }
        Ok(())
    }

    /// Waits until everything queued so far is durable; in a manual store, makes it so.
    fn sync(&self) -> Result<(), StoreError> {
        self.commit();
        match &self.world.lock().fate {
            Some(fate) => Err(fate.clone()),
            None => Ok(()),
        }
    }
}

impl LogStore for MemoryStore {
    fn open(
        &self,
        id: PlogId,
        class: RetentionClass,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<dyn Plog>, StoreError> {
        let world = &mut *self.shared.world.lock();
        if let Some(fate) = &world.fate {
            return Err(fate.clone());
        }
        world.logs.entry(id).or_default().class = Some(class);
        world.observers.insert(id, observer);
        Ok(Arc::new(MemoryPlog { id, shared: self.shared.clone(), _committer: self.committer.clone() }))
    }

    fn plogs(&self) -> Result<Vec<PlogId>, StoreError> {
        let world = self.shared.world.lock();
        match &world.fate {
            Some(fate) => Err(fate.clone()),
            None => Ok(world.logs.keys().copied().collect()),
        }
    }

    fn rows(&self) -> Arc<dyn Kv> {
        Arc::new(self.shared.disk.rows.clone())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.shared.sync()
    }

    fn usage(&self) -> Usage {
        let world = self.shared.world.lock();
        let used = world.logs.values().map(Image::bytes).sum();
        Usage { total: 1 << 40, free: (1 << 40) - used, used_by_store: used, tail_memory: used }
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        let world = &mut *self.shared.world.lock();
        if let Some(fate) = &world.fate {
            return Err(fate.clone());
        }
        world.logs.values_mut().for_each(Image::reclaim);
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.shared.sync()?;
        let world = &mut *self.shared.world.lock();
        self.shared.disk.rows.write(KvBatch::default(), true)?;
        let disk = &mut *self.shared.disk.state.lock();
        disk.clean = world.fate.is_none();
        disk.locked = false;
        world.fate.get_or_insert(StoreError::Closed);
        world.observers.clear();
        self.shared.wake.notify_all();
        Ok(())
    }
}
