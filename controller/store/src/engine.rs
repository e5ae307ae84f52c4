//! RocksDB: how it is opened, its column families, and what its errors mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    DBWithThreadMode, MultiThreaded, Options, ReadOptions, WriteBatch, WriteOptions,
};

use crate::api::{Kv, KvBatch, KvOp, StoreError};
use crate::journal::io::{DiskIo, JournalIo};
use crate::options::MAX_OPEN_FILES;

pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

pub(crate) const META: &str = "meta";
pub(crate) const ROWS: &str = "rows";
/// Data blocks close at this size; a larger batch has a block of its own. Small enough that a batch of 16 KiB is not
/// read together with its neighbours, which belong to other logs; large enough to keep the index of a file small.
const DATA_BLOCK: usize = 16 << 10;
const STATE_BLOCK: usize = 8 << 10;
const STATE_CACHE: usize = 16 << 20;
/// Blocks of batches that were just read, in bytes; those that are being sent come on top.
const DATA_CACHE: usize = 4 << 20;
const STATE_WRITE_BUFFER: usize = 4 << 20;

/// Called with key and value of a row; whether to go on.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError> + 'a;

/// An open RocksDB of a log store.
pub(crate) struct Engine {
    pub db: Db,
    pub data_options: Options,
    path: PathBuf,
}

fn base_options(write_buffer: usize) -> Options {
    // Options known by string only come first: what is set later keeps its references.
    let strings = "avoid_flush_during_shutdown=true;avoid_flush_during_recovery=true;\
                   skip_checking_sst_file_sizes_on_db_open=true";
    let mut o = Options::default().get_options_from_string(strings).unwrap_or_default();
    o.create_if_missing(true);
    o.create_missing_column_families(true);
    o.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    o.set_max_total_wal_size(4 * write_buffer as u64);
    o.set_bytes_per_sync(1 << 20);
    o.set_max_background_jobs(2);
    o.set_max_subcompactions(1);
    o.set_max_open_files(MAX_OPEN_FILES);
    o.set_advise_random_on_open(false);
    o.set_avoid_unnecessary_blocking_io(true);
    o.set_skip_stats_update_on_db_open(true);
    o.set_stats_dump_period_sec(0);
    o.set_stats_persist_period_sec(0);
    o.set_keep_log_file_num(3);
    o.set_max_log_file_size(4 << 20);
    o.set_enable_write_thread_adaptive_yield(false);
    o.set_allow_concurrent_memtable_write(false);
    o.set_max_manifest_file_size(16 << 20);
    o
}

fn state_options(o: &mut Options, write_buffer: usize, cache: &Cache) {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(STATE_BLOCK);
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    o.set_block_based_table_factory(&table);
    o.set_write_buffer_size(write_buffer);
    o.set_max_write_buffer_number(2);
    o.set_arena_block_size(64 << 10);
    o.set_compression_type(DBCompressionType::Lz4);
    o.set_target_file_size_base(8 << 20);
    o.set_max_bytes_for_level_base(32 << 20);
}

fn data_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(DATA_BLOCK);
    // The page cache holds the data. This one is there because RocksDB hands out the memory of a block only if the
    // block is in a cache, and copies the value otherwise.
    table.set_block_cache(cache);
    table.set_block_restart_interval(1);
    table.set_index_block_restart_interval(8);
    let mut o = Options::default();
    o.set_block_based_table_factory(&table);
    o.set_compression_type(DBCompressionType::None);
    o.set_disable_auto_compactions(true);
    o.set_write_buffer_size(64 << 10);
    o.set_arena_block_size(4 << 10);
    o.set_level_zero_file_num_compaction_trigger(1 << 20);
    o.set_level_zero_slowdown_writes_trigger(1 << 20);
    o.set_level_zero_stop_writes_trigger(1 << 20);
    o.set_advise_random_on_open(false);
    o
}

impl Engine {
    /// Opens or creates the database; also returns the names of its column families.
    pub(crate) fn open(path: &Path) -> Result<(Engine, Vec<String>), StoreError> {
        let base = base_options(STATE_WRITE_BUFFER);
        let cache = Cache::new_lru_cache(STATE_CACHE);
        let data = data_options(&Cache::new_lru_cache(DATA_CACHE));
        let names = if path.join("CURRENT").exists() {
            Db::list_cf(&base, path).map_err(|e| refused(path, &e))?
        } else {
            vec!["default".into(), META.into(), ROWS.into()]
        };
        let families = names.iter().map(|name| {
            let mut o = if name.starts_with("d.") { data.clone() } else { Options::default() };
            if !name.starts_with("d.") {
                state_options(&mut o, STATE_WRITE_BUFFER, &cache);
            }
            ColumnFamilyDescriptor::new(name, o)
        });
        let db = Db::open_cf_descriptors(&base, path, families).map_err(|e| refused(path, &e))?;
        Ok((Engine { db, data_options: data, path: path.to_owned() }, names))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn family(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| corrupt(&self.path, format!("column family {name} is missing")))
    }

    pub(crate) fn get_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(&self.family(META)?, key).map_err(|e| read_failed(&self.path, &e))
    }

    /// Visits the rows of `family` in `[from, to)` until `visit` returns false.
    pub(crate) fn scan(&self, family: &str, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        scan_rows(&self.path, self.db.raw_iterator_cf_opt(&self.family(family)?, options), from, visit)
    }

    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|e| write_failed(&self.path, &e))
    }

    pub(crate) fn add_ops(&self, batch: &mut WriteBatch, ops: KvBatch) -> Result<(), StoreError> {
        let rows = self.family(ROWS)?;
        for op in ops.ops {
            match op {
                KvOp::Put(key, value) => batch.put_cf(&rows, key, value),
                KvOp::Delete(key) => batch.delete_cf(&rows, key),
                KvOp::DeleteRange(from, to) if from < to => batch.delete_range_cf(&rows, from, to),
                KvOp::DeleteRange(..) => {}
            }
        }
        Ok(())
    }
}

fn scan_rows(
    path: &Path,
    mut rows: rocksdb::DBRawIteratorWithThreadMode<'_, Db>,
    from: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    rows.seek(from);
    while let Some((key, value)) = rows.item() {
        if !visit(key, value)? {
            return Ok(());
        }
        rows.next();
    }
    rows.status().map_err(|e| read_failed(path, &e))
}

/// Whether an operation failed for lack of space.
pub(crate) fn is_no_space(error: &rocksdb::Error) -> bool {
    let text = error.as_ref();
    text.contains("No space left") || text.contains("NoSpace") || text.contains("Disk quota exceeded")
}

pub(crate) fn write_failed(path: &Path, error: &rocksdb::Error) -> StoreError {
    let path = path.display().to_string();
    if is_no_space(error) {
        StoreError::Full { path, free: 0, needed: 0 }
    } else {
        StoreError::Poisoned { path, what: error.to_string() }
    }
}

pub(crate) fn read_failed(path: &Path, error: &rocksdb::Error) -> StoreError {
    corrupt(path, format!("cannot read: {error}"))
}

pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), what: what.into() }
}

fn refused(path: &Path, error: &rocksdb::Error) -> StoreError {
    let what = if is_no_space(error) {
        "no space left to open the database; free some space, or choose another directory".to_owned()
    } else {
        format!("cannot open the database: {error}")
    };
    StoreError::Refused { path: path.display().to_string(), what }
}

/// Small store of its own, for the Raft log and the like.
pub struct KvStore {
    db: Db,
    path: PathBuf,
}

/// A memtable of this size holds what the Raft log has between snapshots.
const KV_WRITE_BUFFER: usize = 2 << 20;
const KV_CACHE: usize = 2 << 20;
/// Free bytes below which the small store takes no more: RocksDB does not recover well from a full disk.
const KV_RESERVE: u64 = 8 << 20;

impl KvStore {
    /// Opens or creates the store in directory `path`; refused if another process has it open.
    pub fn open(path: impl AsRef<Path>) -> Result<KvStore, StoreError> {
        let path = path.as_ref();
        std::fs::create_dir_all(path)
            .map_err(|e| StoreError::Refused { path: path.display().to_string(), what: e.to_string() })?;
        let mut o = base_options(KV_WRITE_BUFFER);
        state_options(&mut o, KV_WRITE_BUFFER, &Cache::new_lru_cache(KV_CACHE));
        o.set_max_open_files(64);
        let db = Db::open(&o, path).map_err(|e| refused(path, &e))?;
        Ok(KvStore { db, path: path.to_owned() })
    }
}

impl Kv for KvStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map_err(|e| read_failed(&self.path, &e))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        scan_rows(&self.path, self.db.raw_iterator_opt(options), from, &mut |k, v| Ok(visit(k, v)))
    }

    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError> {
        let (_, free) = DiskIo.space(&self.path).unwrap_or((0, u64::MAX));
        if free < KV_RESERVE {
            return Err(StoreError::Full { path: self.path.display().to_string(), free, needed: KV_RESERVE });
        }
        let mut out = WriteBatch::default();
        for op in batch.ops {
            match op {
                KvOp::Put(key, value) => out.put(key, value),
                KvOp::Delete(key) => out.delete(key),
                KvOp::DeleteRange(from, to) if from < to => out.delete_range(from, to),
                KvOp::DeleteRange(..) => {}
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        self.db.write_opt(out, &options).map_err(|e| write_failed(&self.path, &e))
    }
}
