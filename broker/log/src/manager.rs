//! All logs of a broker, over its log directories: which log belongs to which partition, where a new one goes, what
//! is left over. Kafka: `LogManager.scala`.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, TopicId};
use millrace_store::{KvBatch, Observer, PlogId, RetentionClass, StoreError};
use parking_lot::Mutex;

use crate::config::retention_class;
use crate::dir::{DirSetup, LogDir};
use crate::partition_log::PartitionLog;
use crate::rows::{self, Assignment, Role};

/// A partition by topic incarnation and index.
pub type PartitionKey = (TopicId, i32);

/// Where a partition's log is.
#[derive(Debug, Clone)]
pub struct Slot {
    pub dir: Arc<LogDir>,
    pub plog: PlogId,
    generation: u64,
}

/// A partition that needs a log on this broker.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub key: PartitionKey,
    /// Directory that the metadata names; reserved ids name none.
    pub dir: DirId,
    /// It existed when the broker started: if its log is nowhere to be found while a directory is offline, it is taken
    /// to lie there, and no empty one is made in its place.
    pub old: bool,
}

/// The logs of all directories.
pub struct LogManager {
    dirs: Vec<Arc<LogDir>>,
    slots: Mutex<BTreeMap<PartitionKey, Slot>>,
}

/// Told nothing: for logs that are opened only to be deleted.
struct Nobody;

impl Observer for Nobody {
    fn durable(&self, _end: i64) {}
    fn failed(&self, _error: &StoreError) {}
}

impl LogManager {
    /// Takes stock of the directories. Copies that were not finished and logs that belong to no partition are
    /// deleted. A directory whose list cannot be read goes offline.
    pub fn open(dirs: Vec<DirSetup>) -> LogManager {
        let dirs: Vec<Arc<LogDir>> = dirs.into_iter().map(|d| Arc::new(LogDir::new(d))).collect();
        let mut slots: BTreeMap<PartitionKey, Slot> = BTreeMap::new();
        let mut stale: Vec<Slot> = Vec::new();
        for dir in &dirs {
            match take_stock(dir, &mut slots) {
                Ok(found) => stale.extend(found),
                Err(error) if dir.is_offline() => tracing::debug!(%error, "not read"),
                Err(error) => {
                    dir.fail(&error);
                    slots.retain(|_, slot| !Arc::ptr_eq(&slot.dir, dir));
                }
            }
        }
        for slot in slots.values() {
            slot.dir.count(1);
        }
        let manager = LogManager { dirs, slots: Mutex::new(slots) };
        for slot in stale {
            manager.discard(&slot);
        }
        manager
    }

    pub fn dirs(&self) -> &[Arc<LogDir>] {
        &self.dirs
    }

    pub fn slot(&self, key: PartitionKey) -> Option<Slot> {
        self.slots.lock().get(&key).cloned()
    }

    /// Finds or makes the place of each partition's log. New ones are durable when this returns, with one sync for
    /// each directory; may wait for the disk.
    pub fn place(&self, wanted: &[Wanted]) -> Vec<Result<Slot, StoreError>> {
        let mut slots = self.slots.lock();
        let mut fresh: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut planned: Vec<usize> = self.dirs.iter().map(|d| d.partition_count()).collect();
        let mut out: Vec<Result<Slot, StoreError>> = Vec::with_capacity(wanted.len());
        for (at, want) in wanted.iter().enumerate() {
            if let Some(slot) = slots.get(&want.key) {
                out.push(Ok(slot.clone()));
                continue;
            }
            match self.choose(want, &planned) {
                Ok(dir) => {
                    planned[dir] += 1;
                    fresh.entry(dir).or_default().push(at);
                    // Replaced below.
                    out.push(Err(StoreError::Closed));
                }
                Err(error) => out.push(Err(error)),
            }
        }
        for (dir, places) in fresh {
            let dir = &self.dirs[dir];
            match self.allocate(dir, places.iter().map(|at| wanted[*at].key), Role::Current, 0) {
                Ok(ids) => {
                    dir.count(ids.len());
                    for (at, plog) in places.into_iter().zip(ids) {
                        let slot = Slot { dir: dir.clone(), plog, generation: 0 };
                        slots.insert(wanted[at].key, slot.clone());
                        out[at] = Ok(slot);
                    }
                }
                Err(error) => places.into_iter().for_each(|at| out[at] = Err(error.clone())),
            }
        }
        out
    }

    /// The directory for a new log: the one that the metadata names, else the online one with the fewest.
    fn choose(&self, want: &Wanted, planned: &[usize]) -> Result<usize, StoreError> {
        if let Some(at) = self.dirs.iter().position(|d| !d.id().is_zero() && d.id() == want.dir) {
            self.dirs[at].store()?;
            return Ok(at);
        }
        let offline = self.dirs.iter().find_map(|d| d.failure());
        if let (true, Some(error)) = (want.old, &offline) {
            return Err(error.clone());
        }
        let online = (0..self.dirs.len()).filter(|at| !self.dirs[*at].is_offline());
        online.min_by_key(|at| planned[*at]).ok_or(offline.unwrap_or(StoreError::Closed))
    }

    /// Gives each partition a new log id in `dir`, durably.
    pub(crate) fn allocate(
        &self,
        dir: &LogDir,
        keys: impl Iterator<Item = PartitionKey>,
        role: Role,
        generation: u64,
    ) -> Result<Vec<PlogId>, StoreError> {
        let rows = dir.rows()?;
        let mut next = rows::get_next_plog(&*rows)?;
        let mut batch = KvBatch::default();
        let mut ids = Vec::new();
        for (topic, partition) in keys {
            rows::put_assignment(&mut batch, next, &Assignment { topic, partition, role, generation });
            ids.push(next);
            next += 1;
        }
        rows::put_next_plog(&mut batch, next);
        rows.write(batch, true).inspect_err(|error| note(dir, error))?;
        Ok(ids)
    }

    /// Opens the log in `slot`; `observer` is told of its progress from then on.
    pub fn open_log(
        &self,
        slot: &Slot,
        config: Arc<TopicConfig>,
        observer: Arc<dyn Observer>,
    ) -> Result<PartitionLog, StoreError> {
        let plog = slot.dir.store()?.open(slot.plog, retention_class(&config), observer);
        let plog = plog.inspect_err(|error| note(&slot.dir, error))?;
        Ok(PartitionLog::new(slot.dir.clone(), plog, config))
    }

    /// Forgets a partition's log and everything in it. Space returns later. Errors are logged: what is left over is
    /// deleted at the next start.
    pub fn remove(&self, key: PartitionKey) {
        let Some(slot) = self.slots.lock().remove(&key) else {
            return;
        };
        slot.dir.uncount();
        self.discard(&slot);
    }

    /// Removes the logs of partitions that `keep` does not know any more; returns how many there were.
    pub fn remove_strays(&self, keep: &dyn Fn(PartitionKey) -> bool) -> usize {
        let strays: Vec<PartitionKey> = self.slots.lock().keys().filter(|key| !keep(**key)).copied().collect();
        for key in &strays {
            tracing::info!(topic = %key.0, partition = key.1, "deleting the log of a partition that no longer exists here");
            self.remove(*key);
        }
        strays.len()
    }

    pub(crate) fn discard(&self, slot: &Slot) {
        let remove = || {
            let mut batch = KvBatch::default();
            rows::delete_assignment(&mut batch, slot.plog);
            rows::delete_state(&mut batch, slot.plog);
            rows::delete_high_watermark(&mut batch, slot.plog);
            // Not synced: the log's own deletion is, and a row without a log is cleared at the next start.
            slot.dir.rows()?.write(batch, false)?;
            slot.dir.store()?.open(slot.plog, RetentionClass::Forever, Arc::new(Nobody))?.delete()
        };
        if let Err(error) = remove() {
            note(&slot.dir, &error);
            tracing::warn!(plog = slot.plog, dir = %slot.dir.path().display(), %error, "a log could not be deleted; the next start tries again");
        }
    }

    /// Gives the partition an empty log that starts at `at` in place of `log`, in the same directory: the only way to
    /// one that starts earlier. `observer` is told of its progress. Waits for the disk. Should the process end
    /// meanwhile, a restart finds the old log or the new one.
    pub fn renew(
        &self,
        key: PartitionKey,
        log: &PartitionLog,
        at: i64,
        observer: Arc<dyn Observer>,
    ) -> Result<(), StoreError> {
        let mut from = None;
        log.replace(at, |place| {
            let current = self.slot(key).filter(|slot| slot.plog == place.plog.id()).ok_or(StoreError::Closed)?;
            let generation = current.generation + 1;
            let ids = self.allocate(&place.dir, std::iter::once(key), Role::Current, generation)?;
            let id = *ids.first().ok_or(StoreError::Closed)?;
            let plog = place.dir.store()?.open(id, retention_class(&log.config()), observer)?;
            if at > 0 {
                plog.set_log_start(at)?;
            }
            let to = Slot { dir: place.dir.clone(), plog: id, generation };
            if !self.replace_slot(key, &current, to.clone(), || Ok(()))? {
                self.discard(&to);
                return Err(StoreError::Closed);
            }
            from = Some(current);
            Ok(plog)
        })?;
        from.iter().for_each(|slot| self.discard(slot));
        Ok(())
    }

    /// Runs `write` and puts `to` in the place of `from`, if that is still the partition's place.
    pub(crate) fn replace_slot(
        &self,
        key: PartitionKey,
        from: &Slot,
        to: Slot,
        write: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let mut slots = self.slots.lock();
        match slots.get_mut(&key) {
            Some(slot) if Arc::ptr_eq(&slot.dir, &from.dir) && slot.plog == from.plog => {
                write()?;
                *slot = to;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Gives back what space it is time for, in every online directory; may wait for the disk.
    pub fn reclaim(&self) {
        for dir in &self.dirs {
            let Ok(store) = dir.store() else { continue };
            if let Err(error) = store.reclaim() {
                note(dir, &error);
                tracing::warn!(dir = %dir.path().display(), %error, "space could not be reclaimed");
            }
        }
    }

    /// Makes everything durable, leaves the clean-shutdown marks and closes the stores. The first error is returned
    /// after all were tried.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut result = Ok(());
        for store in self.dirs.iter().filter_map(|d| d.opened_store()) {
            result = result.and(store.close());
        }
        result
    }
}

impl Slot {
    pub(crate) fn new(dir: Arc<LogDir>, plog: PlogId, generation: u64) -> Slot {
        Slot { dir, plog, generation }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// Takes the directory offline if the error means that it must take no more writes.
pub(crate) fn note(dir: &LogDir, error: &StoreError) {
    match error {
        StoreError::Poisoned { .. } => {
            dir.fail(error);
        }
        StoreError::Full { .. } | StoreError::Corrupt { .. } | StoreError::Refused { .. } | StoreError::Closed => {}
    }
}

/// Adds the directory's logs to `slots`; returns those that belong to nobody.
fn take_stock(dir: &Arc<LogDir>, slots: &mut BTreeMap<PartitionKey, Slot>) -> Result<Vec<Slot>, StoreError> {
    let rows = dir.rows()?;
    let mut stale = Vec::new();
    let mut assigned = Vec::new();
    for (plog, assignment) in rows::scan_assignments(&*rows)? {
        assigned.push(plog);
        let slot = Slot { dir: dir.clone(), plog, generation: assignment.generation };
        let key = (assignment.topic, assignment.partition);
        match (assignment.role, slots.get(&key)) {
            (Role::Future, _) => stale.push(slot),
            (Role::Current, Some(other)) if other.generation >= slot.generation => stale.push(slot),
            (Role::Current, _) => stale.extend(slots.insert(key, slot)),
        }
    }
    for plog in dir.store()?.plogs()? {
        if assigned.binary_search(&plog).is_err() {
            stale.push(Slot { dir: dir.clone(), plog, generation: 0 });
        }
    }
    Ok(stale)
}
