//! Several log directories: placement, failure, leftovers, moves.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use millrace_metadata::TopicId;
use millrace_replica::{MoveError, Partition, PartitionError, ReplicaManager};
use millrace_store::LogStore;

fn dir_of(partition: &Partition) -> String {
    partition.dir().1.display().to_string()
}

fn plogs(world: &World) -> Vec<usize> {
    world.stores.iter().map(|s| s.plogs().unwrap().len()).collect()
}

#[tokio::test]
async fn new_logs_go_where_the_fewest_are_and_are_found_again() {
    let mut world = World::new(3);
    world.create("t", 1, 4);
    world.create("u", 2, 5);
    assert_eq!(plogs(&world), vec![3, 3, 3]);
    let before: Vec<_> = world.manager.partitions().iter().map(|p| dir_of(p)).collect();
    world.crash(&[]);
    assert_eq!(world.manager.partitions().iter().map(|p| dir_of(p)).collect::<Vec<_>>(), before);
    assert_eq!(plogs(&world), vec![3, 3, 3]);
}

#[tokio::test]
async fn deleted_topics_leave_nothing_and_a_new_one_of_the_name_is_empty() {
    let mut world = World::new(1);
    world.create("t", 1, 1);
    append(&world.partition("t", 0), 3);
    world.commit();
    world.delete(1);
    assert!(matches!(world.manager.partition("t", 0), Err(PartitionError::Unknown)));
    world.create("t", 2, 1);
    assert_eq!(world.partition("t", 0).log_end_offset(), 0);
    assert_eq!(world.partition("t", 0).topic_id(), TopicId([2; 16]));
    world.commit();
    assert_eq!(plogs(&world), vec![1]);
}

#[tokio::test]
async fn logs_of_topics_that_went_while_the_broker_was_down_are_deleted() {
    let mut world = World::new(1);
    world.create("t", 1, 2);
    world.create("u", 2, 1);
    append(&world.partition("u", 0), 3);
    world.commit();
    world.image.apply(&millrace_metadata::Record::RemoveTopic { id: TopicId([1; 16]) });
    world.crash(&[]);
    world.commit();
    assert_eq!(plogs(&world), vec![1]);
    assert_eq!(world.partition("u", 0).high_watermark(), 3);
}

#[tokio::test]
async fn an_offline_directory_takes_only_its_partitions() {
    let mut world = World::new(2);
    world.create("t", 1, 2);
    for i in 0..2 {
        append(&world.partition("t", i), 2);
    }
    world.commit();
    world.crash(&[0]);
    let lost = world.manager.partition("t", 0);
    assert!(matches!(lost, Err(PartitionError::Offline(_))), "{lost:?}");
    assert_eq!(world.partition("t", 1).high_watermark(), 2);
    // Nothing empty is put in the place of what lies in the offline directory, and new partitions go elsewhere.
    world.create("u", 2, 2);
    assert!(matches!(world.manager.partition("t", 0), Err(PartitionError::Offline(_))));
    assert!(world.manager.partition("u", 0).is_ok() && world.manager.partition("u", 1).is_ok());
    let reports = world.manager.describe_dirs().await;
    assert_eq!(reports.iter().map(|r| (r.offline, r.replicas.len())).collect::<Vec<_>>(), vec![(true, 0), (false, 3)]);
    world.crash(&[]);
    assert_eq!(world.partition("t", 0).high_watermark(), 2);
}

async fn moved(manager: &Arc<ReplicaManager>, topic: &str, index: i32, to: &str) {
    manager.move_to_dir(topic, index, to).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while dir_of(&manager.partition(topic, index).unwrap()) != to
            || manager.describe_dirs().await.iter().any(|d| d.replicas.iter().any(|r| r.is_future))
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_with_everything_it_knows() {
    let mut world = World::new(2);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    for i in 0..50 {
        p.append_as_leader(produced(2, 1000 + i64::from(i), (7, 0, i * 2)), cx(-1)).unwrap();
    }
    world.commit();
    p.delete_records(51).await.unwrap();
    assert_eq!(dir_of(&p), path(0));
    let before = read(&p, 51).await.unwrap().batches;
    moved(&world.manager, "t", 0, &path(1)).await;
    assert_eq!((p.log_start_offset(), p.log_end_offset(), p.high_watermark()), (51, 100, 100));
    assert_eq!(read(&p, 51).await.unwrap().batches, before);
    assert_eq!(p.append_as_leader(produced(2, 1000, (7, 0, 98)), cx(-1)).unwrap().base_offset, 98);
    let last = p.append_as_leader(produced(2, 1000, (7, 0, 100)), cx(-1)).unwrap().last_offset;
    let wait = p.committed(last, LONG);
    world.commit();
    wait.await.unwrap();
    assert_eq!(plogs(&world), vec![0, 1]);
    drop(p);
    world.crash(&[]);
    let p = world.partition("t", 0);
    assert_eq!((dir_of(&p), p.log_start_offset(), p.high_watermark()), (path(1), 51, 102));
    assert_eq!(p.append_as_leader(produced(2, 1000, (7, 0, 100)), cx(-1)).unwrap().base_offset, 100);
    assert_eq!(plogs(&world), vec![0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_dies_after_a_move() {
    let mut world = World::new(2);
    world.create("t", 1, 1);
    let p = world.partition("t", 0);
    append(&p, 2);
    world.commit();
    // Not durable yet when the move begins.
    append(&p, 3);
    moved(&world.manager, "t", 0, &path(1)).await;
    let acknowledged = p.high_watermark();
    drop(p);
    world.crash(&[]);
    assert!(world.partition("t", 0).high_watermark() >= acknowledged && acknowledged >= 2);
}

#[tokio::test]
async fn moves_that_cannot_be_are_refused() {
    let mut world = World::new(2);
    world.create("t", 1, 1);
    let manager = &world.manager;
    assert!(manager.has_dir(&path(1)) && !manager.has_dir("/x"));
    assert!(matches!(manager.move_to_dir("t", 0, "/x").await, Err(MoveError::NoSuchDir)));
    assert!(matches!(manager.move_to_dir("u", 0, &path(1)).await, Err(MoveError::Unknown)));
    manager.move_to_dir("t", 0, &path(0)).await.unwrap();
    assert_eq!(dir_of(&world.partition("t", 0)), path(0));
}
