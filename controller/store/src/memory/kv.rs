//! In-memory twin of the key-value store: what was not written durably is forgotten by [`MemoryKv::crash`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::{Kv, KvBatch, KvOp, StoreError};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A [`Kv`] in memory. Clones share the rows, so a clone taken before a crash serves as the disk afterwards.
#[derive(Clone, Default)]
pub struct MemoryKv {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    live: Rows,
    durable: Rows,
    /// Batches in `live` that a crash forgets, oldest first.
    unsynced: Vec<KvBatch>,
    failing: bool,
}

impl MemoryKv {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every batch that was not made durable.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// As [`MemoryKv::crash`], but the first `keep` batches that were not synced have reached the disk by luck.
    pub fn crash_keeping(&self, keep: usize) {
        let inner = &mut *self.inner.lock();
        for batch in inner.unsynced.drain(..).take(keep) {
            apply(&mut inner.durable, batch);
        }
        inner.live = inner.durable.clone();
    }

    /// From now on every write fails with [`StoreError::Poisoned`] (`true`) or works again (`false`).
    pub fn fail_writes(&self, failing: bool) {
        self.inner.lock().failing = failing;
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.lock().live.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        // Copied out, so that `visit` may call the store.
        let range = (Bound::Included(from), Bound::Excluded(to));
        let rows: Vec<_> =
            self.inner.lock().live.range::<[u8], _>(range).map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, value) in &rows {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError> {
        let inner = &mut *self.inner.lock();
        if inner.failing {
            return Err(StoreError::Poisoned { path: "memory".into(), what: "injected write failure".into() });
        }
        apply(&mut inner.live, batch.clone());
        inner.unsynced.push(batch);
        if durable {
            for batch in inner.unsynced.drain(..) {
                apply(&mut inner.durable, batch);
            }
        }
        Ok(())
    }
}

fn apply(rows: &mut Rows, batch: KvBatch) {
    for op in batch.ops {
        match op {
            KvOp::Put(key, value) => {
                rows.insert(key, value);
            }
            KvOp::Delete(key) => {
                rows.remove(&key);
            }
            KvOp::DeleteRange(from, to) if from < to => {
                let mut rest = rows.split_off(&from);
                let mut kept = rest.split_off(&to);
                rows.append(&mut kept);
            }
            KvOp::DeleteRange(..) => {}
        }
    }
}
