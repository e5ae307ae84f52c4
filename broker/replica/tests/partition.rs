//! One partition: appends, waits, reads, lookups.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::*;
use futures::FutureExt;
use millrace_metadata::config::TopicConfig;
use millrace_metadata::record::PartitionDelta;
use millrace_metadata::{Record as Fact, TopicId};
use millrace_replica::{
    AppendError, CommitError, DeleteRecordsError, EpochEnd, Isolation, MaintenanceOptions, OffsetQuery, OffsetSpec,
    PartitionError, ReadError, Waiter,
};

fn query(spec: OffsetSpec) -> OffsetQuery {
    OffsetQuery { spec, isolation: Isolation::ReadUncommitted, current_leader_epoch: -1, any_replica: false }
}

#[tokio::test]
async fn nothing_is_committed_or_read_before_it_is_durable() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    let last = append(&p, 3);
    let mut all = std::pin::pin!(p.committed(last, LONG));
    let mut one = std::pin::pin!(p.written(last, LONG));
    assert!(all.as_mut().now_or_never().is_none() && one.as_mut().now_or_never().is_none());
    assert_eq!((p.high_watermark(), p.log_end_offset()), (0, 3));
    assert!(read(&p, 0).await.unwrap().batches.is_empty());
    assert_eq!(p.readable_bytes_from(0), 0);
    world.commit();
    all.await.unwrap();
    one.await.unwrap();
    p.committed(last, LONG).await.unwrap();
    let data = read(&p, 0).await.unwrap();
    assert_eq!((data.batches.len(), data.high_watermark, data.last_stable_offset), (1, 3, 3));
    assert!(p.readable_bytes_from(2) > 0 && p.readable_bytes_from(3) == 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_timeout() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    let last = append(&p, 1);
    assert_eq!(p.committed(last, Duration::from_millis(50)).await, Err(CommitError::TimedOut));
}

#[tokio::test]
async fn committed_batches_survive_a_crash_and_others_do_not() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    append(&p, 3);
    world.commit();
    append(&p, 3);
    drop(p);
    world.crash(&[]);
    let p = world.partition("t", 0);
    assert_eq!((p.high_watermark(), p.log_end_offset()), (3, 3));
    assert_eq!(read(&p, 1).await.unwrap().batches.len(), 1);
}

#[tokio::test]
async fn a_failed_store_answers_every_wait_and_takes_nothing_more() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    append(&p, 1);
    world.commit();
    let last = append(&p, 1);
    let wait = p.committed(last, LONG);
    let waiter = Waiter::new(1);
    p.watch(&waiter, read(&p, 1).await.unwrap().seen);
    world.stores[0].fail_next_sync();
    world.commit();
    assert_eq!(wait.await, Err(CommitError::Storage));
    waiter.woken().await;
    let refused = p.append_as_leader(batch(1, 1000), cx(-1));
    assert!(matches!(refused, Err(AppendError::Log(millrace_log::AppendError::Storage(_)))));
    assert!(world.manager.dirs()[0].is_offline());
    assert_eq!(p.high_watermark(), 1);
    // A consumer at the end is told, instead of being sent away empty again and again.
    assert!(matches!(read(&p, 1).await, Err(ReadError::Storage(_))));
}

#[tokio::test]
async fn a_full_store_refuses_appends_serves_reads_and_recovers() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    append(&p, 1);
    world.commit();
    world.stores[0].set_full(true);
    let refused = p.append_as_leader(produced(1, 1000, (5, 0, 0)), cx(-1));
    assert!(matches!(refused, Err(AppendError::Log(millrace_log::AppendError::Storage(_)))));
    assert_eq!(read(&p, 0).await.unwrap().batches.len(), 1);
    world.stores[0].set_full(false);
    assert_eq!(p.append_as_leader(produced(1, 1000, (5, 0, 0)), cx(-1)).unwrap().base_offset, 1);
    world.commit();
    assert_eq!(p.high_watermark(), 2);
}

#[tokio::test]
async fn a_fetch_over_many_partitions_wakes_once_enough_bytes_are_there() {
    let mut world = World::new(1);
    world.create("t", 1, 3);
    let parts: Vec<_> = (0..3).map(|i| world.partition("t", i)).collect();
    let size = batch(1, 1000).len();
    let waiter = Waiter::new(size * 2 + 1);
    for p in &parts {
        p.watch(&waiter, read(p, 0).await.unwrap().seen);
    }
    for (i, p) in parts.iter().enumerate() {
        assert!(waiter.woken().now_or_never().is_none(), "woken after {i} batches");
        append(p, 1);
        world.commit();
    }
    waiter.woken().await;
}

#[tokio::test]
async fn bytes_that_came_between_read_and_watch_count() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    let seen = read(&p, 0).await.unwrap().seen;
    append(&p, 1);
    world.commit();
    let waiter = Waiter::new(10);
    p.watch(&waiter, seen);
    waiter.woken().await;
    let waiter = Waiter::new(10);
    p.watch(&waiter, read(&p, 1).await.unwrap().seen);
    assert!(waiter.woken().now_or_never().is_none());
    world.delete(1);
    waiter.woken().await;
    assert!(matches!(p.append_as_leader(batch(1, 1000), cx(1)), Err(AppendError::NotLeader)));
}

#[tokio::test]
async fn min_insync_replicas_counts_no_more_replicas_than_there_are() {
    let mut world = World::new(1);
    world.config = TopicConfig { min_insync_replicas: 2, ..TopicConfig::default() }.into();
    world.create("t", 1, 1);
    append(&world.partition("t", 0), 1);
    // A second replica that is not in sync.
    let delta = PartitionDelta { replicas: Some(vec![NODE, 2].into()), ..PartitionDelta::default() };
    world.image.apply(&Fact::PartitionChange { topic: TopicId([1; 16]), index: 0, delta: Box::new(delta) });
    world.apply();
    let p = world.partition("t", 0);
    let refused = p.append_as_leader(batch(1, 1000), cx(-1));
    assert!(matches!(refused, Err(AppendError::NotEnoughReplicas { in_sync: 1, needed: 2 })));
    p.append_as_leader(batch(1, 1000), cx(1)).unwrap();
    world.commit();
    assert_eq!(p.high_watermark(), 0);
}

#[tokio::test]
async fn leader_epochs_are_checked() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    append(&p, 2);
    let delta = PartitionDelta { leader: Some(NODE), ..PartitionDelta::default() };
    world.image.apply(&Fact::PartitionChange { topic: TopicId([1; 16]), index: 0, delta: Box::new(delta) });
    world.apply();
    assert_eq!(p.leader_epoch(), 1);
    world.commit();
    let at = |epoch| {
        let mut spec = spec(0);
        spec.current_leader_epoch = epoch;
        spec
    };
    assert!(matches!(p.read(at(0)).await, Err(ReadError::FencedEpoch { current: 1 })));
    assert!(matches!(p.read(at(2)).await, Err(ReadError::UnknownEpoch { current: 1 })));
    assert_eq!(p.read(at(1)).await.unwrap().batches.len(), 1);
    // The new epoch begins at the end, before it has a batch; the old one ends there.
    assert_eq!(p.end_offset_for_epoch(-1, 0).await.unwrap(), EpochEnd { epoch: 0, end: 2 });
    assert_eq!(p.end_offset_for_epoch(-1, 1).await.unwrap(), EpochEnd { epoch: 1, end: 2 });
    append(&p, 1);
    let mut ahead = spec(3);
    ahead.last_fetched_epoch = 0;
    assert_eq!(p.read(ahead).await.unwrap().diverging, Some(EpochEnd { epoch: 0, end: 2 }));
    ahead.last_fetched_epoch = 1;
    assert_eq!(p.read(ahead).await.unwrap().diverging, None);
}

#[tokio::test]
async fn offsets_are_looked_up() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    for timestamp in [1000, 3000, 2000] {
        p.append_as_leader(batch(2, timestamp), cx(-1)).unwrap();
    }
    let found = async |spec| p.list_offset(query(spec)).await.unwrap().map(|f| (f.offset, f.timestamp, f.leader_epoch));
    assert_eq!(found(OffsetSpec::Timestamp(0)).await, None, "not committed");
    world.commit();
    assert_eq!(found(OffsetSpec::Latest).await, Some((6, -1, 0)));
    assert_eq!(found(OffsetSpec::Earliest).await, Some((0, -1, 0)));
    assert_eq!(found(OffsetSpec::MaxTimestamp).await, Some((2, 3000, 0)));
    assert_eq!(found(OffsetSpec::LatestTiered).await, None);
    assert_eq!(found(OffsetSpec::Timestamp(1001)).await, Some((2, 3000, 0)));
    assert_eq!(found(OffsetSpec::Timestamp(3001)).await, None);
    assert_eq!(p.delete_records(3).await.unwrap(), 3);
    assert_eq!(found(OffsetSpec::Timestamp(0)).await, Some((3, 3000, 0)));
    assert_eq!(found(OffsetSpec::EarliestLocal).await, Some((3, -1, 0)));
    assert!(matches!(read(&p, 2).await, Err(ReadError::OutOfRange { log_start: 3, end: 6, .. })));
    assert!(matches!(p.delete_records(7).await, Err(DeleteRecordsError::OutOfRange { .. })));
    assert_eq!(p.delete_records(-1).await.unwrap(), 6);
    assert_eq!(found(OffsetSpec::MaxTimestamp).await, None);
}

#[tokio::test]
async fn retention_and_producer_expiry_run() {
    let mut world = World::new(1);
    world.config = TopicConfig { retention_ms: 1000, ..TopicConfig::default() }.into();
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    p.append_as_leader(produced(2, 5000, (7, 0, 0)), cx(-1)).unwrap();
    world.stores[0].ingest().unwrap();
    assert_eq!(world.manager.apply_retention(6000), 0);
    assert_eq!(world.manager.apply_retention(6001), 1);
    assert_eq!((p.log_start_offset(), p.log_end_offset(), p.size_bytes()), (2, 2, 0));
    assert_eq!(p.producers().await.unwrap()[0].last_sequence, 1);
    assert_eq!(world.manager.expire_producers(6000, 1000), 1);
    assert!(p.producers().await.unwrap().is_empty());
    // The removal is not worth a sync: after a crash it is done again.
    world.crash(&[]);
    world.manager.expire_producers(6000, 1000);
    assert!(world.partition("t", 0).producers().await.unwrap().is_empty());
}

#[tokio::test]
async fn retention_by_size_keeps_at_least_that_much() {
    // Large enough that the store shows several extents.
    const RECORDS: i32 = 3000;
    let mut world = World::new(1);
    let size = batch(RECORDS, 1000).len() as u64;
    world.config = TopicConfig { retention_bytes: size as i64 * 4, ..TopicConfig::default() }.into();
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    for _ in 0..12 {
        append(&p, RECORDS);
    }
    assert_eq!(world.manager.apply_retention(2000), 0, "nothing is committed");
    world.commit();
    assert_eq!(world.manager.apply_retention(2000), 1);
    assert!(p.size_bytes() >= size * 4 && p.size_bytes() < size * 9, "{} of {size}", p.size_bytes());
    assert!(p.log_start_offset() > 0);
    assert_eq!(world.manager.apply_retention(2000), 0);
}

#[tokio::test]
async fn producers_are_remembered_over_a_restart() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    for i in 0..4 {
        p.append_as_leader(produced(2, 1000, (7, 0, i * 2)), cx(-1)).unwrap();
        if i == 1 {
            world.stores[0].ingest().unwrap();
        }
    }
    world.commit();
    world.crash(&[]);
    let p = world.partition("t", 0);
    for i in 0..4 {
        assert_eq!(p.append_as_leader(produced(2, 1000, (7, 0, i * 2)), cx(-1)).unwrap().base_offset, i64::from(i) * 2);
    }
    let gap = p.append_as_leader(produced(2, 1000, (7, 0, 10)), cx(-1));
    assert!(matches!(gap, Err(AppendError::Log(millrace_log::AppendError::OutOfOrderSequence { .. }))));
    assert!(matches!(world.manager.partition("t", 1), Err(PartitionError::Unknown)));
    assert!(matches!(world.manager.partition("u", 0), Err(PartitionError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn background_work_runs_at_its_intervals() {
    let mut world = World::new(1);
    world.config = TopicConfig { retention_ms: 1000, ..TopicConfig::default() }.into();
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    append(&p, 2);
    world.commit();
    // The time of day follows the paused clock, ten seconds after the records were made.
    let begun = tokio::time::Instant::now();
    let now = move || 11_000 + begun.elapsed().as_millis() as i64;
    let work = tokio::spawn(world.manager.clone().maintain(now, MaintenanceOptions::default));
    while p.log_start_offset() == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let first = begun.elapsed().as_secs();
    assert!((30..60).contains(&first), "{first} s");
    p.append_as_leader(batch(2, now() - 2000), cx(-1)).unwrap();
    world.commit();
    while p.log_start_offset() == 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let second = begun.elapsed().as_secs();
    assert!((330..360).contains(&second), "{second} s");
    work.abort();
}
