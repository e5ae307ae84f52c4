//! One suite that the in-memory twin and the real store both pass.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use millrace_store::*;

fn open(s: &dyn Subject, id: PlogId) -> (Arc<dyn Plog>, Arc<Watch>) {
    let watch = Watch::new();
    (s.store().open(id, DAY, watch.clone()).unwrap(), watch)
}

/// Appends batches of `count` records each from the log's end on.
fn fill(log: &dyn Plog, batches: i64, count: i64, size: usize) {
    for _ in 0..batches {
        let end = log.bounds().end;
        log.append(batch(end, count, size)).unwrap();
    }
}

fn append_and_read(s: &mut dyn Subject) {
    let (log, watch) = open(s, 1);
    assert_eq!(log.bounds(), Bounds::default());
    assert!(log.read(spec(0, i64::MAX)).unwrap().batches.is_empty());
    fill(&*log, 10, 5, 200);
    assert_eq!(log.bounds().end, 50);
    watch.wait_durable(50);
    assert_eq!(log.bounds(), Bounds { log_start: 0, end: 50, durable_end: 50, bytes: 2_000 });
    let calls = watch.calls();
    assert!(calls.is_sorted_by(|a, b| a < b), "{calls:?}");
    for round in 0..2 {
        assert_eq!(bases(&*log, 0), (0..10).map(|i| i * 5).collect::<Vec<_>>(), "round {round}");
        assert_eq!(bases(&*log, 7)[0], 5, "the batch that contains the offset");
        assert_eq!(bases(&*log, 49), [45]);
        assert!(bases(&*log, 50).is_empty());
        // Limits.
        let mut limited = spec(0, i64::MAX);
        limited.max_bytes = 450;
        assert_eq!(log.read(limited).unwrap().batches.len(), 2);
        limited.max_bytes = 10;
        assert_eq!(log.read(limited).unwrap().batches.len(), 1);
        limited.at_least_one = false;
        assert!(log.read(limited).unwrap().batches.is_empty());
        assert_eq!(log.read(spec(0, 12)).unwrap().batches.len(), 2, "whole batches below the bound only");
        assert_eq!(log.read(spec(0, 15)).unwrap().batches.len(), 3);
        assert_eq!(log.read(spec(0, 15)).unwrap().batches[2], batch(10, 5, 200).bytes);
        let index = log.index(7, 3).unwrap();
        assert_eq!(index, (1..4).map(|i| batch(i * 5, 5, 200).meta()).collect::<Vec<_>>());
        assert_eq!(log.index(0, 100).unwrap().len(), 10);
        let extents = log.extents(0, 10).unwrap();
        assert_eq!(extents.iter().map(|e| e.bytes).sum::<u64>(), 2_000);
        assert_eq!(extents[0].first_offset, 0);
        assert_eq!(extents.last().unwrap().last_offset, 49);
        assert_eq!(extents.last().unwrap().max_timestamp, 1_045);
        match log.read_tail(spec(0, i64::MAX)) {
            TailRead::Hit(chunk) => assert_eq!((chunk.batches.len(), round), (10, 0)),
            TailRead::Below => assert_eq!(round, 1),
        }
        assert!(matches!(log.read_tail(spec(50, i64::MAX)), TailRead::Hit(c) if c.batches.is_empty()));
        assert_eq!(log.tail().len(), if round == 0 { 10 } else { 0 });
        assert_eq!(log.bounds().bytes, 2_000);
        s.ingest();
    }
}

fn reads_cross_from_store_to_tail(s: &mut dyn Subject) {
    let (log, watch) = open(s, 9);
    fill(&*log, 20, 1, 40_000);
    watch.wait_durable(20);
    s.ingest();
    fill(&*log, 3, 2, 100);
    let all: Vec<i64> = (0..20).chain([20, 22, 24]).collect();
    assert_eq!(bases(&*log, 0), all);
    assert_eq!(bases(&*log, 18), [18, 19, 20, 22, 24]);
    assert_eq!(log.index(0, 100).unwrap().iter().map(|m| m.base_offset).collect::<Vec<_>>(), all);
    assert_eq!(log.tail().len(), 3);
    for (b, base) in log.read(spec(0, i64::MAX)).unwrap().batches.iter().zip(all) {
        assert_eq!(*b, batch(base, 1, b.len()).bytes);
    }
}

fn gaps_and_misplaced_batches(s: &mut dyn Subject) {
    let (log, _) = open(s, 2);
    log.append(batch(100, 10, 80)).unwrap();
    log.append(batch(200, 10, 80)).unwrap();
    assert!(matches!(log.append(batch(209, 1, 80)), Err(StoreError::Corrupt { .. })));
    assert!(matches!(log.append(batch(0, 1, 80)), Err(StoreError::Corrupt { .. })));
    for _ in 0..2 {
        assert_eq!(bases(&*log, 0), [100, 200]);
        assert_eq!(bases(&*log, 110), [200]);
        assert_eq!(bases(&*log, 150), [200]);
        assert_eq!(log.bounds().end, 210);
        s.store().sync().unwrap();
        s.ingest();
    }
}

fn truncation(s: &mut dyn Subject) {
    for id in [10, 11] {
        let (log, watch) = open(s, id);
        fill(&*log, 10, 10, 300);
        watch.wait_durable(100);
        if id == 11 {
            s.ingest();
        }
        // In the middle of a batch: it goes as a whole.
        log.truncate(75).unwrap();
        assert_eq!(log.bounds(), Bounds { log_start: 0, end: 70, durable_end: 70, bytes: 2_100 });
        assert_eq!(bases(&*log, 0), (0..7).map(|i| i * 10).collect::<Vec<_>>());
        log.append(batch(70, 2, 500)).unwrap();
        log.append(batch(72, 8, 600)).unwrap();
        assert_eq!(bases(&*log, 60), [60, 70, 72]);
        log.truncate(1_000).unwrap();
        assert_eq!(log.bounds().end, 80);
        // In a gap: the end is the target.
        log.append(batch(200, 1, 100)).unwrap();
        log.truncate(150).unwrap();
        assert_eq!(log.bounds().end, 150);
        s.ingest();
        assert_eq!(bases(&*log, 60), [60, 70, 72]);
        assert_eq!(log.read(spec(70, 72)).unwrap().batches[0], batch(70, 2, 500).bytes);
        assert_eq!(log.bounds().bytes, 2_100 + 1_100);
    }
    s.crash();
    s.reopen();
    for id in [10, 11] {
        let (log, _) = open(s, id);
        assert_eq!(log.bounds(), Bounds { log_start: 0, end: 150, durable_end: 150, bytes: 3_200 });
        assert_eq!(bases(&*log, 60), [60, 70, 72]);
        log.truncate(0).unwrap();
        assert_eq!(log.bounds(), Bounds::default());
        assert!(bases(&*log, 0).is_empty());
    }
    s.crash();
    s.reopen();
    let (log, _) = open(s, 11);
    assert_eq!(log.bounds(), Bounds::default());
    assert!(bases(&*log, 0).is_empty() && log.index(0, 9).unwrap().is_empty());
}

fn log_start(s: &mut dyn Subject) {
    let (log, watch) = open(s, 3);
    fill(&*log, 10, 10, 100);
    watch.wait_durable(100);
    s.ingest();
    fill(&*log, 10, 10, 100);
    watch.wait_durable(200);
    log.set_log_start(35).unwrap();
    log.set_log_start(20).unwrap();
    let check = |log: &dyn Plog| {
        assert_eq!(log.bounds(), Bounds { log_start: 35, end: 200, durable_end: 200, bytes: 1_700 });
        assert_eq!(bases(log, 0), (3..20).map(|i| i * 10).collect::<Vec<_>>());
        assert_eq!(log.index(0, 1).unwrap()[0].base_offset, 30);
        assert!(log.extents(0, 1).unwrap()[0].last_offset >= 35);
    };
    check(&*log);
    s.store().reclaim().unwrap();
    check(&*log);
    s.ingest();
    check(&*log);
    s.crash();
    s.reopen();
    let (log, watch) = open(s, 3);
    check(&*log);
    log.set_log_start(155).unwrap();
    assert_eq!(log.bounds().bytes, 500);
    // Beyond the end: the log is empty and goes on there.
    log.set_log_start(1_000).unwrap();
    assert_eq!(log.bounds(), Bounds { log_start: 1_000, end: 1_000, durable_end: 1_000, bytes: 0 });
    assert!(bases(&*log, 0).is_empty());
    log.append(batch(1_000, 1, 70)).unwrap();
    watch.wait_durable(1_001);
    s.ingest();
    s.store().reclaim().unwrap();
    assert_eq!(bases(&*log, 0), [1_000]);
    s.crash();
    s.reopen();
    let (log, _) = open(s, 3);
    assert_eq!(log.bounds(), Bounds { log_start: 1_000, end: 1_001, durable_end: 1_001, bytes: 70 });
    assert_eq!(bases(&*log, 0), [1_000]);
}

fn deletion(s: &mut dyn Subject) {
    let (keep, _) = open(s, 4);
    let (log, _) = open(s, 5);
    fill(&*log, 5, 1, 100);
    fill(&*keep, 5, 1, 100);
    s.store().sync().unwrap();
    s.ingest();
    fill(&*log, 5, 1, 100);
    log.delete().unwrap();
    assert!(matches!(log.append(batch(10, 1, 100)), Err(StoreError::Closed)));
    assert!(matches!(log.read(spec(0, 9)), Err(StoreError::Closed)));
    assert!(matches!(log.delete(), Err(StoreError::Closed)));
    s.store().sync().unwrap();
    assert!(!s.store().plogs().unwrap().contains(&5));
    s.crash();
    s.reopen();
    assert_eq!(s.store().plogs().unwrap(), [4]);
    // The number may be used again without old rows coming back.
    let (log, _) = open(s, 5);
    assert_eq!(log.bounds(), Bounds::default());
    fill(&*log, 2, 1, 90);
    s.store().sync().unwrap();
    s.ingest();
    s.store().reclaim().unwrap();
    assert_eq!(bases(&*log, 0), [0, 1]);
    s.crash();
    s.reopen();
    let (log, _) = open(s, 5);
    assert_eq!(log.bounds().bytes, 180);
    assert_eq!(bases(&*log, 0), [0, 1]);
    let (keep, _) = open(s, 4);
    assert_eq!(bases(&*keep, 0), [0, 1, 2, 3, 4]);
}

fn durable_survives_every_crash(s: &mut dyn Subject) {
    let mut end = 0;
    for round in 0..6 {
        let (log, watch) = open(s, 6);
        assert!(log.bounds().end >= end, "round {round}");
        let from = log.bounds().end;
        fill(&*log, 20, 3, 1_000 + round * 2_000);
        watch.wait_durable(from + 60);
        end = from + 60;
        if round % 2 == 1 {
            s.ingest();
        }
        fill(&*log, 3, 1, 50);
        s.crash();
        s.reopen();
        let (log, _) = open(s, 6);
        let bounds = log.bounds();
        assert!(bounds.end >= end && bounds.end <= end + 3);
        assert_eq!(bounds.end, bounds.durable_end);
        let index = log.index(0, usize::MAX).unwrap();
        assert_eq!(index.last().unwrap().last_offset + 1, bounds.end);
        assert_eq!(index.iter().map(|m| u64::from(m.size)).sum::<u64>(), bounds.bytes);
        assert_eq!(bases(&*log, 0), index.iter().map(|m| m.base_offset).collect::<Vec<_>>());
    }
}

fn derived_rows_and_tail_cover_everything(s: &mut dyn Subject) {
    let state = |s: &dyn Subject, log: &dyn Plog| {
        let tail = log.tail();
        let stored = s.store().rows().get(&largest_key(7)).unwrap().map_or(-1, |v| base_of(&v));
        tail.iter().map(|b| base_of(b)).fold(stored, i64::max)
    };
    for round in 1..=5 {
        let (log, watch) = open(s, 7);
        fill(&*log, 10, 1, 300);
        watch.wait_durable(round * 10);
        assert_eq!(state(s, &*log), round * 10 - 1);
        if round % 2 == 0 {
            s.ingest();
            assert_eq!(state(s, &*log), round * 10 - 1);
        }
        s.crash();
        s.reopen();
        let (log, _) = open(s, 7);
        assert_eq!(state(s, &*log), round * 10 - 1);
    }
}

fn rows(s: &mut dyn Subject) {
    let rows = s.store().rows();
    let mut b = KvBatch::default();
    b.put("a1", "1").put("a2", "2").put("a3", "3").put("b", "4").delete("a2").delete_range("a3", "a4");
    rows.write(b, true).unwrap();
    let all = |rows: &dyn Kv| {
        let mut seen = Vec::new();
        rows.scan(b"a", b"c", &mut |k, v| {
            seen.push((k.to_vec(), v.to_vec()));
            true
        })
        .unwrap();
        seen
    };
    let want = vec![(b"a1".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"4".to_vec())];
    assert_eq!(all(&*rows), want);
    assert_eq!(rows.get(b"a2").unwrap(), None);
    let mut seen = 0;
    rows.scan(b"a", b"c", &mut |_, _| {
        seen += 1;
        false
    })
    .unwrap();
    assert_eq!(seen, 1);
    rows.scan(b"c", b"a", &mut |_, _| panic!("an empty range has no rows")).unwrap();
    drop(rows);
    s.crash();
    s.reopen();
    assert_eq!(all(&*s.store().rows()), want);
}

fn closing(s: &mut dyn Subject) {
    let (log, watch) = open(s, 8);
    fill(&*log, 10, 1, 100);
    s.close();
    assert_eq!(watch.calls().last(), Some(&10), "close makes everything durable");
    assert!(matches!(log.append(batch(10, 1, 10)), Err(StoreError::Closed)));
    s.reopen();
    let (log, _) = open(s, 8);
    assert_eq!(log.bounds().end, 10);
    assert_eq!(bases(&*log, 0).len(), 10);
}

fn many_logs_share_groups(s: &mut dyn Subject) {
    let logs: Vec<_> = (100..400).map(|id| open(s, id)).collect();
    for round in 0..4 {
        for (i, (log, _)) in logs.iter().enumerate() {
            log.append(batch(round * 2, 2, 100 + i)).unwrap();
        }
        if round == 2 {
            s.ingest();
        }
    }
    for (log, watch) in &logs {
        watch.wait_durable(8);
        assert_eq!(bases(&**log, 0), [0, 2, 4, 6]);
        assert!(watch.calls().len() <= 4);
    }
    s.crash();
    s.reopen();
    assert_eq!(s.store().plogs().unwrap(), (100..400).collect::<Vec<_>>());
    for (i, id) in (100..400).enumerate() {
        let (log, _) = open(s, id);
        assert_eq!(log.bounds().bytes, 4 * (100 + i as u64));
        assert_eq!(bases(&*log, 3), [2, 4, 6]);
    }
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod twin {
            $(#[test] fn $name() { super::$name(&mut super::Twin::new()); })*
        }
        mod real {
            $(#[test] fn $name() { super::$name(&mut super::Real::new()); })*
        }
    };
}

suite!(
    append_and_read,
    reads_cross_from_store_to_tail,
    gaps_and_misplaced_batches,
    truncation,
    log_start,
    deletion,
    durable_survives_every_crash,
    derived_rows_and_tail_cover_everything,
    rows,
    closing,
    many_logs_share_groups,
);
