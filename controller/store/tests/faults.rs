//! Crashes with a torn journal, failing disks, full disks, directories that must not be opened.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use millrace_store::*;

fn open(s: &Real, id: PlogId) -> (Arc<dyn Plog>, Arc<Watch>) {
    let watch = Watch::new();
    (s.store().open(id, DAY, watch.clone()).unwrap(), watch)
}

fn segments(s: &Real) -> Vec<PathBuf> {
    let dir = fs::read_dir(s.path().join("journal")).unwrap();
    dir.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "seg")).collect()
}

/// Where groups start in the segment that was written last, in order.
fn groups(s: &Real) -> (fs::File, Vec<u64>) {
    let mut newest = None;
    for path in segments(s) {
        let bytes = fs::read(&path).unwrap();
        if bytes.starts_with(b"MRj1") {
            let number = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
            let starts: Vec<u64> = (0..bytes.len())
                .step_by(64)
                .filter(|at| bytes[*at..].starts_with(b"MRj1"))
                .filter(|at| bytes[at + 8..at + 16] == number.to_le_bytes())
                .map(|at| at as u64)
                .collect();
            newest = newest.max(Some((number, path, starts)));
        }
    }
    let (_, path, starts) = newest.unwrap();
    (fs::OpenOptions::new().write(true).read(true).open(path).unwrap(), starts)
}

/// Writes `n` batches, each a group of its own.
fn write_groups(s: &Real, n: i64, size: usize) {
    let (log, watch) = open(s, 1);
    for _ in 0..n {
        let end = log.bounds().end;
        log.append(batch(end, 1, size)).unwrap();
        watch.wait_durable(end + 1);
    }
}

fn end_of(s: &Real) -> i64 {
    let (log, _) = open(s, 1);
    let end = log.bounds().end;
    assert_eq!(bases(&*log, 0), (0..end).collect::<Vec<_>>());
    for b in log.read(spec(0, i64::MAX)).unwrap().batches {
        assert_eq!(b, batch(base_of(&b), 1, b.len()).bytes);
    }
    end
}

#[test]
fn a_torn_last_group_is_forgotten_and_nothing_before_it() {
    // Cut at some places and corrupt single bytes of the last group, in bodies with and without a checksum of their
    // own.
    for size in [9_001, 9_002] {
        for damage in 0..6u64 {
            let mut s = Real::new();
            write_groups(&s, 10, size);
            s.crash();
            let (file, starts) = groups(&s);
            let start = *starts.last().unwrap();
            if damage < 3 {
                // The rest of the group has not reached the disk.
                file.write_all_at(&[0; 10_000], start + damage * 4_096).unwrap();
            } else {
                let at = start + [3, 100, 7_000][damage as usize - 3];
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            }
            s.reopen();
            assert_eq!(end_of(&s), 9, "size {size} damage {damage}");
            // What is written now takes the place of the torn group and survives.
            write_groups(&s, 2, size + 2);
            s.crash();
            s.reopen();
            assert_eq!(end_of(&s), 11);
        }
    }
}

#[test]
fn a_hole_hides_what_lies_behind_it_for_good() {
    let mut s = Real::new();
    // Two blocks each with its header, so that writing one leaves the next as it is.
    let size = 2 * ALIGN - 64 - 56;
    write_groups(&s, 8, size);
    s.crash();
    let (file, starts) = groups(&s);
    assert!(starts.iter().all(|at| at % 4_096 == 0));
    // Group 6 is torn; 7 and 8 are intact, but were never acknowledged if 6 was not.
    file.write_all_at(&[0; ALIGN], starts[5]).unwrap();
    s.reopen();
    assert_eq!(end_of(&s), 5);
    // The new group 6 has the size of the old one, so an intact old group 7 follows it on the disk.
    write_groups(&s, 1, size);
    s.crash();
    s.reopen();
    assert_eq!(end_of(&s), 6);
    s.crash();
    s.reopen();
    write_groups(&s, 1, size);
    s.crash();
    s.reopen();
    assert_eq!(end_of(&s), 7);
}

#[test]
fn recycled_segments_do_not_bring_old_groups_back() {
    let mut s = Real::new();
    for round in 1..=8 {
        write_groups(&s, 40, 20_000);
        if round % 3 == 0 {
            s.get().roll().unwrap();
        }
        s.crash();
        s.reopen();
        assert_eq!(end_of(&s), round * 40);
    }
    let (log, _) = open(&s, 1);
    log.truncate(100).unwrap();
    s.crash();
    s.reopen();
    assert_eq!(end_of(&s), 100);
}

fn faulty() -> (Real, Arc<Faults>) {
    let io = FaultyIo::new();
    let faults = io.faults.clone();
    (Real::with(StoreOptions { io: Arc::new(io), ..StoreOptions::small() }), faults)
}

#[test]
fn a_failed_sync_or_write_poisons_and_is_never_repeated() {
    for what in ["sync", "write", "torn"] {
        let (mut s, faults) = faulty();
        write_groups(&s, 5, 9_000);
        let syncs = faults.syncs();
        match what {
            "sync" => faults.fail_syncs_after(0),
            "write" => faults.fail_writes_after(0, 0),
            _ => faults.fail_writes_after(0, 5_000),
        }
        let (log, watch) = open(&s, 1);
        let (idle, idle_watch) = open(&s, 2);
        log.append(batch(5, 1, 9_000)).unwrap();
        assert!(matches!(watch.wait_failed(), StoreError::Poisoned { .. }));
        idle_watch.wait_failed();
        assert!(watch.calls().is_empty(), "not acknowledged");
        faults.clear();
        assert!(matches!(log.append(batch(6, 1, 100)), Err(StoreError::Poisoned { .. })));
        assert!(matches!(idle.append(batch(0, 1, 100)), Err(StoreError::Poisoned { .. })));
        assert!(matches!(s.store().sync(), Err(StoreError::Poisoned { .. })));
        assert!(matches!(log.truncate(1), Err(StoreError::Poisoned { .. })));
        assert!(matches!(log.set_log_start(1), Err(StoreError::Poisoned { .. })));
        assert_eq!(faults.syncs(), syncs);
        assert_eq!(bases(&*log, 0)[..5], [0, 1, 2, 3, 4], "reads go on");
        assert!(s.store().close().is_err());
        s.crash();
        s.reopen();
        assert!(!s.get().was_clean());
        let end = end_of(&s);
        // A write whose sync failed may be there; a failed write is not.
        assert!(if what == "sync" { end == 5 || end == 6 } else { end == 5 }, "{what}: {end}");
    }
}

#[test]
fn a_full_disk_refuses_appends_keeps_reads_and_recovers() {
    let (mut s, faults) = faulty();
    write_groups(&s, 5, 9_000);
    let (log, watch) = open(&s, 1);
    faults.set_full(true);
    // The journal takes what it has room for; then appends are refused.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut accepted = 5;
    loop {
        assert!(Instant::now() < deadline);
        match log.append(batch(accepted, 1, 9_000)) {
            Ok(()) => accepted += 1,
            Err(StoreError::Full { free, needed, .. }) => {
                assert_eq!(free, 0);
                assert!(needed > 0);
                break;
            }
            Err(other) => panic!("{other}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(s.get().stats().full);
    assert_eq!(bases(&*log, 0).len() as i64, accepted, "consumers still read");
    let mut rows = KvBatch::default();
    rows.put("k", "v");
    assert!(matches!(s.store().rows().write(rows, true), Err(StoreError::Full { .. })));
    let oversize = batch(accepted, 1, 1 << 20);
    assert!(matches!(log.append(oversize.clone()), Err(StoreError::Full { .. })));
    faults.set_full(false);
    loop {
        assert!(Instant::now() < deadline);
        match log.append(batch(accepted, 1, 9_000)) {
            Ok(()) => break,
            Err(StoreError::Full { .. }) => std::thread::sleep(Duration::from_millis(10)),
            Err(other) => panic!("{other}"),
        }
    }
    // Everything that was accepted becomes durable, nothing twice.
    watch.wait_durable(accepted + 1);
    s.crash();
    s.reopen();
    assert_eq!(end_of(&s), accepted + 1);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let mut s = Real::new();
    let (log, watch) = open(&s, 1);
    for (base, size) in [(0, 100), (1, 3 << 20), (2, 200), (3, 1 << 20), (4, 5 << 20), (5, 10)] {
        log.append(batch(base, 1, size)).unwrap();
    }
    watch.wait_durable(6);
    drop(log);
    s.crash();
    s.reopen();
    assert_eq!(end_of(&s), 6);
    s.get().roll().unwrap();
    assert_eq!(end_of(&s), 6);
    let large = segments(&s).into_iter().filter(|p| fs::metadata(p).unwrap().len() > 300 << 10).count();
    assert_eq!(large, 0, "and it is given back");
}

#[test]
fn directories_that_must_not_be_opened_are_refused_unchanged() {
    let mut s = Real::new();
    write_groups(&s, 1, 100);
    let again = || open_log_store(s.path(), StoreOptions::small(), Arc::new(LargestBase)).map(|_| ());
    let refusal = |r: Result<(), StoreError>| match r {
        Err(StoreError::Refused { path, what }) => format!("{path}: {what}"),
        other => panic!("{other:?}"),
    };
    assert!(refusal(again()).contains("another process"));
    s.crash();
    let format = s.path().join("FORMAT");
    let before = fs::read(&format).unwrap();
    fs::write(&format, "millrace-store 2\n").unwrap();
    let again = || open_log_store(s.path(), StoreOptions::small(), Arc::new(LargestBase)).map(|_| ());
    assert!(refusal(again()).contains("newer version"));
    fs::write(&format, "something else").unwrap();
    assert!(refusal(again()).contains("FORMAT"));
    fs::write(&format, before).unwrap();
    let file = s.path().join("a-file");
    fs::write(&file, "").unwrap();
    let below = open_log_store(file.join("x"), StoreOptions::small(), Arc::new(LargestBase)).map(|_| ());
    assert!(refusal(below).contains("cannot be written"));
    s.reopen();
    assert_eq!(end_of(&s), 1);
}

#[test]
fn a_clean_shutdown_leaves_its_mark_once() {
    let mut s = Real::new();
    assert!(!s.get().was_clean());
    write_groups(&s, 3, 100);
    s.close();
    s.reopen();
    assert!(s.get().was_clean());
    s.crash();
    s.reopen();
    assert!(!s.get().was_clean());
    assert_eq!(end_of(&s), 3);
}

#[test]
fn os_policy_acknowledges_without_a_sync() {
    let io = FaultyIo::new();
    let faults = io.faults.clone();
    let mut s = Real::with(StoreOptions { io: Arc::new(io), flush: FlushPolicy::Os, ..StoreOptions::small() });
    write_groups(&s, 10, 500);
    assert_eq!(faults.syncs(), 0);
    s.store().sync().unwrap();
    assert_eq!(faults.syncs(), 1);
    s.crash();
    s.reopen();
    assert_eq!(end_of(&s), 10);
}

fn data_size(s: &Real) -> u64 {
    let dir = fs::read_dir(s.path().join("db")).unwrap();
    let tables = dir.map(|e| e.unwrap()).filter(|e| e.path().extension().is_some_and(|e| e == "sst"));
    tables.map(|e| e.metadata().map_or(0, |m| m.len())).sum()
}

/// RocksDB removes files in the background.
fn wait_size_below(s: &Real, limit: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while data_size(s) >= limit {
        assert!(Instant::now() < deadline, "{} bytes left", data_size(s));
        s.store().reclaim().unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn retention_gives_space_back_and_keeps_what_is_reachable() {
    let mut s = Real::new();
    let (slow, _) = open(&s, 1);
    let (fast, watch) = open(&s, 2);
    // The slow log has a little in every bucket, so that buckets must be evacuated.
    for i in 0..1_000 {
        fast.append(batch(i, 1, 10_000)).unwrap();
        if i % 50 == 0 {
            slow.append(batch(i / 50, 1, 2_000)).unwrap();
        }
        if i % 100 == 99 {
            watch.wait_durable(i + 1);
        }
    }
    s.get().roll().unwrap();
    assert!(data_size(&s) > 9_000_000);
    assert!(s.get().stats().buckets > 5);
    fast.set_log_start(990).unwrap();
    wait_size_below(&s, 1_500_000);
    let stats = s.get().stats();
    assert!(stats.evacuated_bytes > 0 && stats.dropped_buckets > 0, "{stats:?}");
    assert_eq!(bases(&*fast, 0), (990..1_000).collect::<Vec<_>>());
    assert_eq!(end_of(&s), 20);
    drop((slow, fast));
    s.crash();
    s.reopen();
    let (fast, _) = open(&s, 2);
    assert_eq!(bases(&*fast, 0), (990..1_000).collect::<Vec<_>>());
    assert_eq!(end_of(&s), 20);
    fast.delete().unwrap();
    let (slow, _) = open(&s, 1);
    slow.delete().unwrap();
    s.store().sync().unwrap();
    wait_size_below(&s, 200_000);
}

#[test]
fn what_is_below_the_log_start_is_never_ingested() {
    let s = Real::with(StoreOptions { segment_bytes: 4 << 20, first_segment_bytes: 4 << 20, ..StoreOptions::small() });
    let (log, watch) = open(&s, 1);
    for i in 0..100 {
        log.append(batch(i, 1, 10_000)).unwrap();
    }
    watch.wait_durable(100);
    log.set_log_start(95).unwrap();
    s.get().roll().unwrap();
    assert_eq!(s.get().stats().ingested_bytes, 50_000);
    assert_eq!(bases(&*log, 0), [95, 96, 97, 98, 99]);
    assert_eq!(s.store().rows().get(&largest_key(1)).unwrap().map(|v| base_of(&v)), Some(99));
}

#[test]
fn ingested_data_stays_in_the_page_cache() {
    let s = Real::with(StoreOptions { segment_bytes: 8 << 20, bucket_bytes: 64 << 20, ..StoreOptions::small() });
    let (log, watch) = open(&s, 1);
    for i in 0..60 {
        log.append(batch(i, 1, 100_000)).unwrap();
    }
    watch.wait_durable(60);
    s.get().roll().unwrap();
    let mut pages = (0, 0);
    for entry in fs::read_dir(s.path().join("db")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "sst") {
            let (cached, all) = cached_pages(&path);
            pages = (pages.0 + cached, pages.1 + all);
        }
    }
    assert!(pages.1 > 1_000 && pages.0 * 10 > pages.1 * 9, "{pages:?} of the pages are cached");
}

/// Pages of a file that are in the page cache, and all.
fn cached_pages(path: &std::path::Path) -> (usize, usize) {
    use std::os::fd::AsRawFd;
    let file = fs::File::open(path).unwrap();
    let len = file.metadata().unwrap().len() as usize;
    let mut map = vec![0u8; len.div_ceil(4096)];
    // SAFETY: a private read-only mapping of an open file, unmapped before the function returns; `map` has a byte
    // for every page.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(libc::mincore(at, len, map.as_mut_ptr()), 0);
        libc::munmap(at, len);
    }
    (map.iter().filter(|p| **p & 1 == 1).count(), map.len())
}

#[test]
fn the_small_store_keeps_what_was_synced_and_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let kv = KvStore::open(dir.path().join("raft")).unwrap();
    for i in 0..100u32 {
        let mut b = KvBatch::default();
        b.put(i.to_be_bytes(), vec![1; 100]);
        kv.write(b, true).unwrap();
    }
    let mut b = KvBatch::default();
    b.delete_range(10u32.to_be_bytes(), 20u32.to_be_bytes());
    kv.write(b, true).unwrap();
    assert!(matches!(KvStore::open(dir.path().join("raft")), Err(StoreError::Refused { .. })));
    drop(kv);
    let kv = KvStore::open(dir.path().join("raft")).unwrap();
    let mut n = 0;
    kv.scan(&[], &[0xff], &mut |_, _| {
        n += 1;
        true
    })
    .unwrap();
    assert_eq!(n, 90);
}

#[test]
fn a_full_disk_does_not_hold_up_the_shutdown() {
    let (mut s, faults) = faulty();
    write_groups(&s, 5, 9_000);
    faults.set_full(true);
    let (log, _) = open(&s, 1);
    let mut end = 5;
    while !matches!(log.append(batch(end, 1, 9_000)), Err(StoreError::Full { .. })) {
        end += 1;
        assert!(end < 100_000);
        std::thread::sleep(Duration::from_micros(100));
    }
    // The journal may still have room for what is queued; if not, it must not be waited for.
    let closed = s.store().close();
    assert!(matches!(closed, Ok(()) | Err(StoreError::Full { .. })), "{closed:?}");
    drop(log);
    s.store = None;
    faults.set_full(false);
    s.reopen();
    assert_eq!(s.get().was_clean(), closed.is_ok());
    assert!(if closed.is_ok() { end_of(&s) == end } else { end_of(&s) >= 5 });
}
