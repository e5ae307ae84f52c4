//! The rows that belong to the logs, as a [`Kv`].

use std::ops::Deref;
use std::sync::Arc;

use rocksdb::WriteBatch;

use crate::api::{Kv, KvBatch, StoreError};
use crate::core::Core;
use crate::engine::{ROWS, read_failed};

/// Rows of an open store. `C` is how the store is held.
pub(crate) struct Rows<C>(pub C);

impl<C: Deref<Target = Arc<Core>> + Send + Sync> Kv for Rows<C> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let engine = self.0.engine()?;
        engine.db.get_cf(&engine.family(ROWS)?, key).map_err(|e| read_failed(engine.path(), &e))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        self.0.engine()?.scan(ROWS, from, to, &mut |k, v| Ok(visit(k, v)))
    }

    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError> {
        self.0.status.check()?;
        let engine = self.0.engine()?;
        // RocksDB does not recover well from a full disk, so it must not meet one.
        if self.0.options.io.space(&self.0.path).is_ok_and(|(_, free)| free < self.0.options.reserve_bytes / 2) {
            return Err(self.0.full(self.0.options.reserve_bytes));
        }
        let mut rows = WriteBatch::default();
        engine.add_ops(&mut rows, batch)?;
        let written = engine.write(rows, durable);
        if let Err(error @ StoreError::Poisoned { .. }) = &written {
            self.0.poison(error.clone());
        }
        written
    }
}

/// Holds a store by counting.
pub(crate) struct Shared(pub Arc<Core>);

impl Deref for Shared {
    type Target = Arc<Core>;
    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}
