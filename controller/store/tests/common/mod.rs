//! What the tests of both stores share: batches, an observer, and a store that can crash and be opened again.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_store::*;
use parking_lot::{Condvar, Mutex};

pub const DAY: RetentionClass = RetentionClass::Day;

/// A batch with recognisable contents. Even-sized ones look like Kafka's format 2 with a right checksum.
pub fn batch(base: i64, count: i64, size: usize) -> Batch {
    let mut bytes: Vec<u8> = (0..size).map(|i| (i as i64 * 31 + base * 7) as u8).collect();
    bytes[..8.min(size)].copy_from_slice(&base.to_be_bytes()[..8.min(size)]);
    if size >= 61 && size.is_multiple_of(2) {
        bytes[8..12].copy_from_slice(&(size as u32 - 12).to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    Batch {
        base_offset: base,
        last_offset: base + count - 1,
        leader_epoch: 3,
        max_timestamp: 1_000 + base,
        bytes: Bytes::from(bytes),
    }
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Watch {
    state: Mutex<(Vec<i64>, Option<StoreError>)>,
    changed: Condvar,
}

impl Watch {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn calls(&self) -> Vec<i64> {
        self.state.lock().0.clone()
    }

    pub fn failure(&self) -> Option<StoreError> {
        self.state.lock().1.clone()
    }

    /// Waits until everything below `end` is durable.
    pub fn wait_durable(&self, end: i64) {
        self.wait(|(calls, _)| calls.last().is_some_and(|e| *e >= end));
    }

    pub fn wait_failed(&self) -> StoreError {
        self.wait(|(_, failed)| failed.is_some());
        self.failure().unwrap()
    }

    fn wait(&self, done: impl Fn(&(Vec<i64>, Option<StoreError>)) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut state = self.state.lock();
        while !done(&state) {
            assert!(!self.changed.wait_until(&mut state, deadline).timed_out(), "not within 30 s: {state:?}");
        }
    }
}

impl Observer for Watch {
    fn durable(&self, end: i64) {
        self.state.lock().0.push(end);
        self.changed.notify_all();
    }
    fn failed(&self, error: &StoreError) {
        self.state.lock().1 = Some(error.clone());
        self.changed.notify_all();
    }
}

/// Derives, per log, the largest base offset that it has seen.
pub struct LargestBase;

pub fn largest_key(log: PlogId) -> Vec<u8> {
    [b"L".as_slice(), &log.to_be_bytes()].concat()
}

pub fn base_of(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes[..8].try_into().unwrap())
}

impl Derive for LargestBase {
    fn derive(&self, log: PlogId, batches: &[Bytes], rows: &dyn Kv, out: &mut KvBatch) -> Result<(), StoreError> {
        let before = rows.get(&largest_key(log))?.map_or(-1, |v| base_of(&v));
        let largest = batches.iter().map(|b| base_of(b)).fold(before, i64::max);
        out.put(largest_key(log), largest.to_be_bytes());
        Ok(())
    }
}

/// One of the two stores under test, on a disk that survives it.
pub trait Subject {
    fn store(&self) -> &dyn LogStore;
    /// Moves everything durable so far out of the tail.
    fn ingest(&self);
    /// Ends the process; what was durable is kept, the rest may be.
    fn crash(&mut self);
    fn close(&mut self);
    fn reopen(&mut self);
}

pub struct Twin {
    disk: MemoryDisk,
    store: Option<MemoryStore>,
}

impl Twin {
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        let store = MemoryStore::open(&disk, Arc::new(LargestBase)).unwrap();
        Twin { disk, store: Some(store) }
    }
}

impl Subject for Twin {
    fn store(&self) -> &dyn LogStore {
        self.store.as_ref().unwrap()
    }
    fn ingest(&self) {
        self.store.as_ref().unwrap().ingest().unwrap();
    }
    fn crash(&mut self) {
        self.store.take().unwrap().crash();
    }
    fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }
    fn reopen(&mut self) {
        self.store = Some(MemoryStore::open(&self.disk, Arc::new(LargestBase)).unwrap());
    }
}

pub struct Real {
    pub dir: tempfile::TempDir,
    pub options: StoreOptions,
    pub store: Option<Arc<RocksLogStore>>,
}

impl Real {
    pub fn new() -> Self {
        Self::with(StoreOptions::small())
    }

    pub fn with(options: StoreOptions) -> Self {
        let mut real = Real { dir: tempfile::tempdir().unwrap(), options, store: None };
        real.reopen();
        real
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn get(&self) -> &RocksLogStore {
        self.store.as_ref().unwrap()
    }
}

impl Subject for Real {
    fn store(&self) -> &dyn LogStore {
        &**self.store.as_ref().unwrap()
    }
    fn ingest(&self) {
        self.get().roll().unwrap();
    }
    fn crash(&mut self) {
        drop(self.store.take());
    }
    fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }
    fn reopen(&mut self) {
        self.store = Some(open_log_store(self.path(), self.options.clone(), Arc::new(LargestBase)).unwrap());
    }
}

pub fn spec(from: i64, until: i64) -> ReadSpec {
    ReadSpec { from, until, max_bytes: usize::MAX, at_least_one: true }
}

/// Base offsets of everything readable from `from` on.
pub fn bases(log: &dyn Plog, from: i64) -> Vec<i64> {
    let chunk = log.read(spec(from, i64::MAX)).unwrap();
    assert_eq!(chunk.bytes, chunk.batches.iter().map(|b| b.len()).sum::<usize>());
    chunk.batches.iter().map(|b| base_of(b)).collect()
}
