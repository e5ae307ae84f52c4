//! RocksDB's own write path: one column family for data with blob files, one for index rows, a write batch per group,
//! one thread that writes and one that syncs.

use std::sync::mpsc;
use std::time::Instant;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Options, ReadOptions,
    SliceTransform, WriteBatch, WriteOptions,
};

use crate::Args;
use crate::load::{self, Load, Meter};

/// Bytes of a write batch at most.
const GROUP: usize = 4 << 20;
/// Groups that are written and not synced.
const UNSYNCED: usize = 8;

fn options() -> Options {
    let strings = "avoid_flush_during_recovery=true;max_write_batch_group_size_bytes=8388608;\
                   strict_bytes_per_sync=true;delayed_write_rate=1073741824";
    let mut o = Options::default().get_options_from_string(strings).unwrap();
    o.create_if_missing(true);
    o.create_missing_column_families(true);
    o.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    o.set_recycle_log_file_num(4);
    o.set_track_and_verify_wals_in_manifest(true);
    o.set_max_total_wal_size(512 << 20);
    o.set_wal_bytes_per_sync(0);
    o.set_bytes_per_sync(1 << 20);
    o.set_enable_pipelined_write(false);
    o.set_allow_concurrent_memtable_write(false);
    o.set_enable_write_thread_adaptive_yield(false);
    o.set_atomic_flush(true);
    o.set_max_background_jobs(2);
    o.set_max_open_files(-1);
    o.set_advise_random_on_open(false);
    o.set_avoid_unnecessary_blocking_io(true);
    o.set_skip_stats_update_on_db_open(true);
    o
}

fn family(data: bool, cache: &Cache) -> Options {
    let mut o = Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_size(32 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_cache(cache);
    o.set_block_based_table_factory(&table);
    o.set_write_buffer_size(64 << 20);
    o.set_max_write_buffer_number(4);
    o.set_min_write_buffer_number_to_merge(1);
    o.set_compression_type(DBCompressionType::Lz4);
    if data {
        o.set_disable_auto_compactions(true);
        o.set_enable_blob_files(true);
        o.set_min_blob_size(4096);
        o.set_blob_file_size(256 << 20);
        o.set_blob_compression_type(DBCompressionType::None);
        o.set_enable_blob_gc(false);
        o.set_prefix_extractor(SliceTransform::create_fixed_prefix(8));
        o.set_memtable_prefix_bloom_ratio(0.02);
    }
    o
}

fn key(log: u64, offset: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&log.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

pub fn run(args: &Args, load: &Load, mut meter: Meter) {
    let cache = Cache::new_lru_cache(128 << 20);
    let families = [
        ColumnFamilyDescriptor::new("default", Options::default()),
        ColumnFamilyDescriptor::new("data", family(true, &cache)),
        ColumnFamilyDescriptor::new("idx", family(false, &cache)),
    ];
    let db = DB::open_cf_descriptors(&options(), &args.dir, families).unwrap();
    let (data, idx) = (db.cf_handle("data").unwrap(), db.cf_handle("idx").unwrap());
    let making = load::making_costs(load);
    meter.reset();
    let started = Instant::now();
    let (values, queue) = mpsc::channel();
    let (written, unsynced) = mpsc::sync_channel::<Vec<Instant>>(UNSYNCED);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..load.count {
                let at = load.turn(started, n);
                let value = load.value(n);
                load.queued();
                values.send((n, at, value)).unwrap();
            }
        });
        let db = &db;
        scope.spawn(move || {
            while let Ok(first) = unsynced.recv() {
                let mut times = vec![first];
                times.extend(unsynced.try_iter());
                db.flush_wal(true).unwrap();
                load.durable(times.into_iter().flatten());
            }
        });
        let mut write = WriteOptions::default();
        write.set_sync(false);
        while let Ok(first) = queue.recv() {
            let (mut batch, mut bytes, mut times) = (WriteBatch::default(), 0, Vec::new());
            let mut next = Some(first);
            while let Some((n, at, value)) = next {
                let key = key(n % args.logs, n / args.logs);
                batch.put_cf(&data, key, &value);
                batch.put_cf(&idx, key, [0u8; 40]);
                bytes += value.len();
                times.push(at);
                next = if bytes < GROUP { queue.try_recv().ok() } else { None };
            }
            db.write_opt(batch, &write).unwrap();
            written.send(times).unwrap();
        }
        drop(written);
    });
    load.wait_all();
    let (seconds, _) = meter.read();
    db.flush_cf(&data).unwrap();
    let (_, cpu) = meter.read();
    load::report("a", load, (seconds, cpu), making, meter.device_bytes());
    if args.scan {
        for cold in [false, true] {
            if cold {
                if !args.cold {
                    break;
                }
                load::drop_page_cache();
            }
            scan(&db, load, cold, &mut meter);
        }
    }
}

fn scan(db: &DB, load: &Load, cold: bool, meter: &mut Meter) {
    meter.reset();
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_total_order_seek(true);
    options.set_readahead_size(2 << 20);
    let mut rows = db.raw_iterator_cf_opt(&db.cf_handle("data").unwrap(), options);
    rows.seek_to_first();
    let mut bytes = 0;
    while let Some(value) = rows.value() {
        bytes += std::hint::black_box(bytes::Bytes::copy_from_slice(value)).len();
        rows.next();
    }
    assert_eq!(bytes as u64, load.count * load.size as u64);
    let (seconds, cpu) = meter.read();
    let gb = bytes as f64 / 1e9;
    let name = if cold { "cold" } else { "warm" };
    println!("a: {name} scan {:.0} MB/s  cpu {:.2} s/GB", gb * 1e3 / seconds, cpu / gb);
}
