//! Leaders and followers: what is committed, who is in sync, what is cut off.
#![allow(clippy::unwrap_used)]

mod cluster;

use std::time::Duration;

use cluster::*;
use futures::FutureExt;
use millrace_metadata::record::PartitionDelta;
use millrace_replica::{CommitError, Feed, FetchSpec, Isolation, ReadError, Reader};
use millrace_store::LogStore;

fn consumer(reader: Reader, offset: i64) -> FetchSpec {
    FetchSpec {
        reader,
        offset,
        max_bytes: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_high_watermark_waits_for_all_that_are_in_sync_and_durable() {
    let mut c = Cluster::new(3, 2);
    let last = c.append(1, 1000, -1).unwrap();
    let mut acked = std::pin::pin!(c.p(1).committed(last, TIMEOUT));
    c.commit(1);
    c.fetch(2, true);
    c.fetch(3, true);
    assert_eq!((c.p(2).log_end_offset(), c.p(2).durable_end_offset()), (1, 0));
    // What is not durable cannot be acknowledged by asking for more.
    c.fetch(2, true);
    assert_eq!(c.p(1).high_watermark(), 0);
    c.commit(2);
    c.fetch(2, true);
    assert_eq!(c.p(1).high_watermark(), 0, "broker 3 is in sync as well");
    assert!(acked.as_mut().now_or_never().is_none());
    c.commit(3);
    c.fetch(3, true);
    assert_eq!(c.p(1).high_watermark(), 1);
    acked.await.unwrap();
    c.fetch(2, true);
    assert_eq!(c.p(2).high_watermark(), 1);
    assert!(matches!(c.p(2).read_now(consumer(Reader::Consumer, 0)), Err(ReadError::NotLeader)));
    assert_eq!(c.p(2).read_now(consumer(Reader::ConsumerAnywhere, 0)).unwrap().batches.len(), 1);
}

#[tokio::test]
async fn the_leaders_own_log_must_be_durable_too() {
    let mut c = Cluster::new(2, 1);
    c.append(1, 1000, -1).unwrap();
    c.fetch(2, true);
    c.commit(2);
    c.fetch(2, true);
    assert_eq!(c.p(1).high_watermark(), 0);
    c.commit(1);
    assert_eq!(c.p(1).high_watermark(), 1);
}

#[tokio::test]
async fn a_laggard_leaves_and_comes_back() {
    let mut c = Cluster::new(3, 2);
    let last = c.append(1, 1000, -1).unwrap();
    c.commit(1);
    c.fetch(2, true);
    c.commit(2);
    c.now_ms += LONG_MS;
    c.fetch(2, true);
    c.node(1).manager.tick(c.now_ms);
    assert_eq!(c.p(1).high_watermark(), 0);
    c.isr_round(1);
    assert_eq!(&c.state().isr[..], &[1, 2]);
    assert_eq!(c.p(1).high_watermark(), 0, "the decision counts with the image");
    c.apply_all();
    assert_eq!(c.p(1).high_watermark(), last + 1);
    // It catches up; from its proposal on the high watermark waits for it again.
    c.fetch(3, true);
    c.commit(3);
    c.fetch(3, true);
    c.append(1, 1001, -1).unwrap();
    c.commit(1);
    c.fetch(2, true);
    c.commit(2);
    c.fetch(2, true);
    assert_eq!(c.p(1).high_watermark(), last + 1);
    c.isr_round(1);
    c.apply_all();
    assert_eq!(c.state().isr.len(), 3);
    c.fetch(3, true);
    c.commit(3);
    c.fetch(3, true);
    assert_eq!(c.p(1).high_watermark(), last + 2);
}

#[tokio::test]
async fn a_replica_that_comes_back_is_waited_for_only_when_it_is_near() {
    let mut c = Cluster::new(3, 2);
    c.append(1, 1000, -1).unwrap();
    c.settle();
    c.change(PartitionDelta { isr: Some(vec![1, 2].into()), ..PartitionDelta::default() });
    c.apply_all();
    let both = |c: &mut Cluster, value| {
        let end = c.append(1, value, -1).unwrap() + 1;
        c.commit(1);
        c.fetch(2, true);
        c.commit(2);
        c.fetch(2, true);
        end
    };
    for value in 1001..1006 {
        both(&mut c, value);
    }
    // It was in sync a moment ago, and lacks most of the log.
    c.fetch(3, true);
    let end = both(&mut c, 1006);
    assert_eq!(c.p(1).high_watermark(), end);
    // It takes several fetches; once it asks for what comes after the end, it is waited for.
    while c.p(3).log_end_offset() < end {
        c.commit(3);
        c.fetch(3, true);
    }
    c.commit(3);
    c.fetch(3, true);
    both(&mut c, 1007);
    assert_eq!(c.p(1).high_watermark(), end);
    c.commit(3);
    c.fetch(3, true);
    c.settle();
    assert_eq!((c.state().isr.len(), c.p(1).high_watermark()), (3, end + 1));
}

#[tokio::test]
async fn unknown_outcomes_stay_pending_and_refusals_do_not() {
    let mut c = Cluster::new(2, 1);
    c.append(1, 1000, -1).unwrap();
    c.commit(1);
    c.now_ms += LONG_MS;
    c.node(1).manager.tick(c.now_ms);
    let manager = c.node(1).manager.clone();
    let sent = manager.isr_changes(c.now_ms);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].isr, vec![(1, 1)]);
    assert!(manager.isr_changes(c.now_ms).is_empty(), "one in flight");
    manager.isr_answered(sent.clone(), None);
    assert_eq!(manager.isr_changes(c.now_ms), sent, "asked again");
    assert_eq!(c.p(1).high_watermark(), 0);
    let refused = vec![(KEY, Err(millrace_metadata::ErrorCode::IneligibleReplica.into()))];
    manager.isr_answered(sent, Some(refused));
    assert!(manager.isr_changes(c.now_ms).is_empty());
    manager.tick(c.now_ms);
    assert_eq!(manager.isr_changes(c.now_ms).len(), 1);
}

#[tokio::test]
async fn acks_all_needs_the_least_in_sync_and_says_when_they_left() {
    let mut c = Cluster::new(2, 2);
    let last = c.append(1, 1000, -1).unwrap();
    let acked = c.p(1).committed(last, TIMEOUT);
    c.commit(1);
    c.change(PartitionDelta { isr: Some(vec![1].into()), ..PartitionDelta::default() });
    c.apply_all();
    assert_eq!(c.p(1).high_watermark(), 0, "KIP-966");
    assert!(c.append(1, 1001, -1).is_none());
    c.append(1, 1001, 1).unwrap();
    c.commit(1);
    c.settle();
    acked.await.unwrap();
    c.change(PartitionDelta { isr: Some(vec![1].into()), ..PartitionDelta::default() });
    c.apply_all();
    assert_eq!(c.p(1).committed(last, TIMEOUT).await, Err(CommitError::NotEnoughReplicas));
}

#[tokio::test]
async fn a_deposed_leader_cuts_off_what_the_new_one_does_not_have() {
    let mut c = Cluster::new(3, 2);
    c.append(1, 1000, -1).unwrap();
    c.settle();
    let lost = c.append(1, 1001, -1).unwrap();
    c.commit(1);
    let waiting = c.p(1).committed(lost, TIMEOUT);
    // The controller gives the partition to broker 2; broker 1 does not hear of it at first.
    c.change(PartitionDelta { leader: Some(2), ..PartitionDelta::default() });
    c.apply(2);
    c.apply(3);
    c.append(2, 2000, -1).unwrap();
    c.append(2, 2001, -1).unwrap();
    c.commit(2);
    c.fetch(3, true);
    c.commit(3);
    c.fetch(3, true);
    assert_eq!(c.p(2).high_watermark(), 1);
    c.apply(1);
    assert_eq!(waiting.await, Err(CommitError::NotLeader));
    c.settle();
    let values: Vec<i64> = c.contents(1).iter().map(|entry| entry.1).collect();
    assert_eq!(values, vec![1000, 2000, 2001]);
    assert_eq!((c.contents(1), c.contents(3)), (c.contents(2), c.contents(2)));
    assert_eq!(c.p(1).high_watermark(), 3);
}

#[tokio::test]
async fn a_new_replica_starts_where_the_leader_does_even_within_a_batch() {
    let mut c = Cluster::new(2, 1);
    c.kill(2);
    c.apply(1);
    let cx =
        millrace_replica::AppendCx { acks: -1, origin: millrace_replica::Origin::Client, api_version: 9, now_ms: 1 };
    c.p(1).append_as_leader(batch(10, 1000), cx).unwrap();
    c.p(1).append_as_leader(batch(10, 1001), cx).unwrap();
    c.commit(1);
    assert_eq!(c.p(1).high_watermark(), 20);
    assert_eq!(c.p(1).trim(14).await.unwrap(), 14);
    c.settle();
    assert_eq!((c.p(2).log_start_offset(), c.p(2).log_end_offset()), (14, 20));
    assert_eq!(c.state().isr.len(), 2);
    c.kill(1);
    c.apply(2);
    let data = c.p(2).read_now(consumer(Reader::Consumer, 14)).unwrap();
    assert_eq!((data.batches.len(), data.high_watermark), (1, 20));
}

#[tokio::test]
async fn a_trim_is_done_when_the_live_replicas_have_followed() {
    const SOON: std::time::Duration = std::time::Duration::from_millis(1);
    const LATE: std::time::Duration = std::time::Duration::from_secs(60);
    let mut c = Cluster::new(3, 1);
    for value in 0..5 {
        c.append(1, 1000 + value, -1).unwrap();
    }
    c.settle();
    assert_eq!(c.p(1).low_watermark(), 0);
    assert_eq!(c.p(1).trim(3).await.unwrap(), 3);
    let partition = c.p(1);
    assert_eq!(partition.trimmed_everywhere(3, SOON).await, Err(CommitError::TimedOut));
    let everywhere = tokio::spawn(async move { partition.trimmed_everywhere(3, LATE).await });
    c.settle();
    assert_eq!(everywhere.await.unwrap(), Ok(()));
    assert_eq!((c.p(2).log_start_offset(), c.p(3).log_start_offset(), c.p(1).low_watermark()), (3, 3, 3));
    // A dead replica is not waited for, also if it dies meanwhile.
    assert_eq!(c.p(1).trim(4).await.unwrap(), 4);
    c.fetch(2, true);
    c.fetch(2, true);
    let partition = c.p(1);
    assert_eq!(partition.trimmed_everywhere(4, SOON).await, Err(CommitError::TimedOut));
    c.kill(3);
    c.apply(1);
    assert_eq!(partition.trimmed_everywhere(4, SOON).await, Ok(()));
    assert_eq!(partition.low_watermark(), 4);
    // Another leader has not promised it.
    assert_eq!(partition.trim(5).await.unwrap(), 5);
    let ended = tokio::spawn(async move { partition.trimmed_everywhere(5, LATE).await });
    tokio::task::yield_now().await;
    c.change(PartitionDelta { leader: Some(2), ..PartitionDelta::default() });
    c.apply(1);
    assert_eq!(ended.await.unwrap(), Err(CommitError::NotLeader));
}

#[tokio::test]
async fn after_an_unclean_election_a_follower_goes_back_below_its_log_start() {
    let mut c = Cluster::new(2, 1);
    c.append(1, 1000, -1).unwrap();
    c.settle();
    c.kill(2);
    c.apply(1);
    for value in 0..5 {
        c.append(1, 1001 + value, -1).unwrap();
    }
    c.commit(1);
    assert_eq!(c.p(1).trim(4).await.unwrap(), 4);
    c.kill(1);
    c.restart(2);
    let delta = PartitionDelta { isr: Some(vec![2].into()), leader: Some(2), ..PartitionDelta::default() };
    c.change(delta);
    c.apply(2);
    c.append(2, 2000, -1).unwrap();
    c.settle();
    let values: Vec<i64> = c.contents(1).iter().map(|entry| entry.1).collect();
    assert_eq!(values, vec![1000, 2000]);
    assert_eq!((c.p(1).log_start_offset(), c.state().isr.len()), (0, 2));
    // The new log is the one that a restart finds.
    c.kill(1);
    c.settle();
    assert_eq!(c.contents(1), c.contents(2));
}

#[tokio::test]
async fn the_high_watermark_is_remembered_over_a_restart() {
    let mut c = Cluster::new(2, 2);
    c.append(1, 1000, -1).unwrap();
    c.settle();
    assert_eq!(c.node(1).manager.checkpoint_high_watermarks(), 1);
    assert_eq!(c.node(1).manager.checkpoint_high_watermarks(), 0);
    c.node(1).store.as_ref().unwrap().rows().write(millrace_store::KvBatch::default(), true).unwrap();
    c.kill(2);
    c.kill(1);
    c.restart(1);
    // Alone it may commit nothing, and still serves what was.
    assert!(c.p(1).is_leader() && c.p(1).is_settled());
    assert_eq!(c.p(1).read_now(consumer(Reader::Consumer, 0)).unwrap().batches.len(), 1);
}

#[tokio::test]
async fn a_leader_of_an_earlier_run_does_not_lead() {
    let mut c = Cluster::new(2, 1);
    c.append(1, 1000, 1).unwrap();
    // It starts again so fast that the image, which is older than its registration, still has it lead.
    c.reopen(1);
    c.node(1).manager.registered(99);
    c.apply(1);
    assert!(!c.p(1).is_leader());
    assert!(c.append(1, 1001, 1).is_none());
    c.fetch(2, true);
    c.elect(&[1]);
    c.restart(1);
    c.settle();
    assert!(c.p(2).is_leader() && c.contents(1) == c.contents(2));
}

#[tokio::test]
async fn feeds_hear_of_appends_and_of_the_end_of_leadership() {
    let mut c = Cluster::new(2, 1);
    let feed = Feed::new();
    assert!(c.p(1).feed(2, &feed, 7));
    assert!(!c.p(1).feed(9, &feed, 8) && !c.p(2).feed(1, &feed, 8));
    assert_eq!(feed.take(), vec![7]);
    assert!(feed.woken().now_or_never().is_none());
    c.fetch(2, true);
    c.append(1, 1000, 1).unwrap();
    feed.woken().await;
    assert_eq!(feed.take(), vec![7]);
    c.change(PartitionDelta { leader: Some(2), ..PartitionDelta::default() });
    c.apply(1);
    feed.woken().await;
    assert_eq!(feed.take(), vec![7]);
}

#[tokio::test]
async fn replicas_are_added_and_taken_away() {
    let mut c = Cluster::new(3, 1);
    let two = PartitionDelta {
        replicas: Some(vec![1, 2].into()),
        dirs: Some(vec![millrace_metadata::DirId::ZERO; 2].into()),
        isr: Some(vec![1, 2].into()),
        ..PartitionDelta::default()
    };
    c.change(two);
    c.apply_all();
    assert!(c.node(3).manager.partition_by_id(&TOPIC, 0).is_err());
    c.append(1, 1000, -1).unwrap();
    c.commit(1);
    c.fetch(2, true);
    c.commit(2);
    c.fetch(2, true);
    assert_eq!(c.p(1).high_watermark(), 1);
    // Broker 3 comes for broker 1.
    let dirs = Some(vec![millrace_metadata::DirId::ZERO; 3].into());
    c.change(PartitionDelta { replicas: Some(vec![3, 2, 1].into()), dirs, ..PartitionDelta::default() });
    c.settle();
    assert_eq!(c.state().isr.len(), 3);
    let moved = PartitionDelta {
        replicas: Some(vec![3, 2].into()),
        dirs: Some(vec![millrace_metadata::DirId::ZERO; 2].into()),
        isr: Some(vec![3, 2].into()),
        leader: Some(3),
        ..PartitionDelta::default()
    };
    c.change(moved);
    c.apply_all();
    assert!(c.node(1).manager.partition_by_id(&TOPIC, 0).is_err());
    c.append(3, 1001, -1).unwrap();
    c.commit(3);
    c.fetch(2, true);
    c.commit(2);
    c.fetch(2, true);
    assert_eq!((c.p(3).high_watermark(), c.contents(3).len()), (2, 2));
    assert_eq!(c.contents(2), c.contents(3));
}

#[tokio::test]
async fn a_topic_of_the_same_name_is_another_one() {
    let mut c = Cluster::new(2, 1);
    c.append(1, 1000, -1).unwrap();
    c.settle();
    c.kill(2);
    c.tell(&millrace_metadata::Record::RemoveTopic { id: TOPIC });
    let id = millrace_metadata::TopicId([2; 16]);
    c.tell(&millrace_metadata::Record::Topic { name: "t".into(), id });
    let dirs = [millrace_metadata::DirId::ZERO; 2];
    let partition = Box::new(millrace_metadata::PartitionImage::new(&[1, 2], &dirs));
    c.tell(&millrace_metadata::Record::Partition { topic: id, index: 0, partition });
    c.reopen(2);
    c.apply_all();
    for node in 1..=2 {
        let manager = &c.node(node).manager;
        assert!(manager.partition_by_id(&TOPIC, 0).is_err());
        let partition = manager.partition("t", 0).unwrap();
        assert_eq!((partition.topic_id(), partition.log_end_offset()), (id, 0));
    }
}

#[tokio::test]
async fn a_failed_directory_stops_its_replica_and_no_other() {
    let mut c = Cluster::new(3, 2);
    c.append(1, 1000, -1).unwrap();
    c.settle();
    c.append(1, 1001, -1).unwrap();
    c.commit(1);
    c.fetch(2, true);
    c.fetch(3, true);
    c.node(3).store.as_ref().unwrap().fail_next_sync();
    c.commit(3);
    c.commit(2);
    for _ in 0..3 {
        c.now_ms += 5_000;
        c.fetch(2, true);
        c.fetch(3, true);
    }
    assert_eq!(c.p(1).high_watermark(), 1, "broker 3 never said that it has it");
    c.elect(&[3]);
    c.apply_all();
    assert_eq!(c.p(1).high_watermark(), 2);
}

#[tokio::test]
async fn a_registration_that_is_heard_of_after_its_image_counts() {
    let mut c = Cluster::new(2, 1);
    c.reopen(1);
    c.node(1).manager.registered(1);
    // The image of a later registration comes before the answer to it.
    let epoch = c.reregister(1);
    c.elect(&[1]);
    c.change(PartitionDelta { leader: Some(1), ..PartitionDelta::default() });
    c.apply(1);
    assert!(!c.p(1).is_leader());
    c.node(1).manager.registered(epoch);
    assert!(c.p(1).is_leader());
}
