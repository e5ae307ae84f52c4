//! The catalogue of buckets (data column families) and the changes of one atomic step.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;

use crate::api::{RetentionClass, StoreError};
use crate::engine::{Engine, META};
use crate::extent::{BucketId, BucketRow, CHECKPOINT_KEY, Checkpoint};

/// What the rows of `meta` say, in memory. Changed only through [`Changes`].
#[derive(Default)]
pub(crate) struct Catalogue {
    pub buckets: BTreeMap<BucketId, BucketRow>,
    pub checkpoint: Checkpoint,
    /// Highest bucket number ever used per class, so that a reader can never meet another bucket under an old name.
    highest: BTreeMap<RetentionClass, u32>,
}

/// Bytes after which a bucket is closed: short-lived classes get their space back in smaller portions.
pub(crate) fn bucket_limit(class: RetentionClass, bucket_bytes: u64) -> u64 {
    match class {
        RetentionClass::Hour => bucket_bytes / 4,
        RetentionClass::SixHours => bucket_bytes / 2,
        RetentionClass::Day | RetentionClass::Week | RetentionClass::Compact => bucket_bytes,
        RetentionClass::Month | RetentionClass::Forever => bucket_bytes * 2,
    }
}

impl Catalogue {
    pub(crate) fn load(engine: &Engine) -> Result<Catalogue, StoreError> {
        let mut catalogue = Catalogue::default();
        let bad = || crate::engine::corrupt(engine.path(), "a bucket or checkpoint row has an unknown shape");
        if let Some(row) = engine.get_meta(CHECKPOINT_KEY)? {
            catalogue.checkpoint = Checkpoint::decode(&row).ok_or_else(bad)?;
        }
        engine.scan(META, b"B", b"C", &mut |key, value| {
            let id = BucketId::of_key(key).ok_or_else(bad)?;
            catalogue.buckets.insert(id, BucketRow::decode(value).ok_or_else(bad)?);
            Ok(true)
        })?;
        for id in catalogue.buckets.keys() {
            let highest = catalogue.highest.entry(id.class).or_default();
            *highest = id.number.max(*highest);
        }
        Ok(catalogue)
    }

    /// The bucket of `class` that was made last.
    pub(crate) fn newest(&self, class: RetentionClass) -> Option<BucketId> {
        self.buckets.keys().copied().rfind(|id| id.class == class)
    }

    /// The bucket of `class` that takes data, with room by the size limit; made if need be.
    pub(crate) fn active(
        &mut self,
        engine: &Engine,
        changes: &mut Changes,
        class: RetentionClass,
        limit: u64,
    ) -> Result<BucketId, StoreError> {
        if let Some(id) = self.newest(class) {
            let row = changes.bucket(self, id);
            if !row.sealed && row.total < limit {
                return Ok(id);
            }
            row.sealed = true;
        }
        let number = self.highest.get(&class).map_or(0, |n| n + 1);
        let id = BucketId { class, number };
        let made = engine.db.create_cf(id.name(), &engine.data_options);
        made.map_err(|e| crate::engine::write_failed(engine.path(), &e))?;
        self.highest.insert(class, number);
        self.buckets.insert(id, BucketRow::default());
        // Even an empty bucket has its row: a column family without one is taken for the trace of a crash.
        changes.bucket(self, id);
        Ok(id)
    }
}

/// Rows to be written together, and what the catalogue says once they are.
#[derive(Default)]
pub(crate) struct Changes {
    pub batch: WriteBatch,
    buckets: BTreeMap<BucketId, BucketRow>,
    checkpoint: Option<Checkpoint>,
}

impl Changes {
    /// The row of a bucket, to be changed.
    pub(crate) fn bucket(&mut self, catalogue: &Catalogue, id: BucketId) -> &mut BucketRow {
        self.buckets.entry(id).or_insert_with(|| catalogue.buckets.get(&id).copied().unwrap_or_default())
    }

    pub(crate) fn put(&mut self, engine: &Engine, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.batch.put_cf(&engine.family(META)?, key, value);
        Ok(())
    }

    pub(crate) fn delete(&mut self, engine: &Engine, key: &[u8]) -> Result<(), StoreError> {
        self.batch.delete_cf(&engine.family(META)?, key);
        Ok(())
    }

    pub(crate) fn set_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = Some(checkpoint);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.buckets.is_empty() && self.checkpoint.is_none()
    }

    /// Writes everything in one step, then changes the catalogue.
    pub(crate) fn commit(mut self, engine: &Engine, catalogue: &mut Catalogue, sync: bool) -> Result<(), StoreError> {
        let buckets = std::mem::take(&mut self.buckets);
        for (id, row) in &buckets {
            self.put(engine, &id.key(b'B'), &row.encode())?;
        }
        if let Some(checkpoint) = self.checkpoint {
            self.put(engine, CHECKPOINT_KEY, &checkpoint.encode())?;
        }
        engine.write(self.batch, sync)?;
        catalogue.buckets.extend(buckets);
        catalogue.checkpoint = self.checkpoint.unwrap_or(catalogue.checkpoint);
        Ok(())
    }
}
