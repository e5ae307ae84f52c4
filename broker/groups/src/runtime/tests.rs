//! The running coordinator on a log in memory, in simulated time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use millrace_metadata::{ErrorCode, TopicId};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::memory::MemoryLog;
use crate::storage::LogError;
use crate::types::*;

const GROUP: &str = "g";

fn start(log: &Arc<MemoryLog>) -> GroupCoordinator {
    let began = Instant::now();
    GroupCoordinator::start(Parts {
        settings: Arc::new(GroupSettings { initial_rebalance_delay_ms: 100, ..GroupSettings::default() }),
        partitions: 1,
        log: log.clone(),
        clock: Arc::new(move || {
            let steady_ms = began.elapsed().as_millis() as i64;
            Now { wall_ms: 1_700_000_000_000 + steady_ms, steady_ms }
        }),
        uuids: Box::new(|| {
            let mut count = 0u8;
            Box::new(move || {
                count += 1;
                [count; 16]
            })
        }),
    })
}

async fn started(log: &Arc<MemoryLog>) -> GroupCoordinator {
    let groups = start(log);
    groups.lead(0, 0);
    groups.loaded().await;
    groups
}

fn commit_of(topic: &str, offset: i64, metadata: &str) -> Commit {
    Commit {
        group_id: GROUP.into(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: None,
        missing_group: ErrorCode::IllegalGeneration,
        topics: vec![CommitTopic {
            name: topic.into(),
            id: TopicId::ZERO,
            partitions: vec![CommitPartition { index: 0, offset, leader_epoch: -1, metadata: metadata.into() }],
        }],
    }
}

async fn fetched(groups: &GroupCoordinator, topic: &str) -> i64 {
    let topics = vec![FetchTopic { name: topic.into(), id: TopicId::ZERO, partitions: vec![0] }];
    let fetch = Fetch { group_id: GROUP.into(), topics: Some(topics) };
    groups.fetch(&fetch).await.unwrap()[0].partitions[0].offset
}

fn join_request() -> Join {
    Join {
        group_id: GROUP.into(),
        member_id: String::new(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Default::default() }],
        reason: None,
        require_known_member_id: false,
        supports_skipping_assignment: true,
    }
}

fn sync_request(member: &str, generation: i32) -> Sync {
    Sync {
        group_id: GROUP.into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: vec![(member.into(), "all".into())],
    }
}

fn heartbeat(groups: &GroupCoordinator, member: &str, generation: i32) -> ErrorCode {
    groups.heartbeat(&Heartbeat { group_id: GROUP.into(), generation, member_id: member.into(), instance_id: None })
}

/// Whether a future is still waiting after everything that could happen at once has happened.
async fn waits<F: Future + Unpin>(future: &mut F) -> bool {
    timeout(Duration::from_millis(1), future).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_member_joins_syncs_and_is_lost() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    let began = Instant::now();
    let joined = groups.join(join_request()).await;
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 1));
    assert_eq!(began.elapsed().as_millis(), 100);
    let synced = groups.sync(sync_request(&joined.member_id, 1)).await;
    assert_eq!((synced.error, &synced.assignment[..]), (ErrorCode::None, &b"all"[..]));
    sleep(Duration::from_secs(9)).await;
    assert_eq!(heartbeat(&groups, &joined.member_id, 1), ErrorCode::None);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(groups.describe(GROUP).unwrap().unwrap().state, "Stable");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(groups.describe(GROUP).unwrap().unwrap().state, "Empty");
    assert_eq!(heartbeat(&groups, &joined.member_id, 1), ErrorCode::UnknownMemberId);
    assert_eq!(groups.list(&ListFilter::default()).unwrap().len(), 1);
    assert_eq!(groups.delete_group(GROUP).await, Ok(()));
    assert_eq!(groups.list(&ListFilter::default()).unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn answers_wait_for_their_records_and_only_those() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    let joined = groups.join(join_request()).await;
    log.hold();
    let mut synced = Box::pin(groups.sync(sync_request(&joined.member_id, 1)));
    assert!(waits(&mut synced).await);
    assert_eq!(heartbeat(&groups, &joined.member_id, 1), ErrorCode::None);
    let member = Commit { generation: 1, member_id: joined.member_id.clone(), ..commit_of("t", 7, "") };
    let mut committed = Box::pin(groups.commit(member));
    assert!(waits(&mut committed).await);
    // A reader must not see what a crash could take back.
    let mut read = Box::pin(fetched(&groups, "t"));
    assert!(waits(&mut read).await);
    log.let_go();
    assert_eq!(synced.await.error, ErrorCode::None);
    assert_eq!(committed.await.unwrap()[0].partitions, [(0, ErrorCode::None)]);
    assert_eq!(read.await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_stands_still_does_not_hold_clients_for_ever() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    log.hold();
    let began = Instant::now();
    assert_eq!(groups.commit(commit_of("t", 1, "")).await, Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn concurrent_commits_share_a_batch() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    log.hold();
    let first = groups.commit(commit_of("first", 1, ""));
    tokio::task::yield_now().await;
    let rest: Vec<_> = (0..100).map(|i| groups.commit(commit_of(&format!("t{i}"), i, ""))).collect();
    sleep(Duration::from_millis(1)).await;
    log.let_go();
    first.await.unwrap();
    for done in join_all(rest).await {
        done.unwrap();
    }
    assert_eq!(log.batches(0), 2);
    assert_eq!(fetched(&groups, "t99").await, 99);
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_takes_back_what_it_did() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    groups.commit(commit_of("t", 1, "")).await.unwrap();
    let waiting = tokio::spawn(groups.join(Join { group_id: "other".into(), ..join_request() }));
    tokio::task::yield_now().await;
    for (error, code) in [
        (LogError::Storage("disk".into()), ErrorCode::NotCoordinator),
        (LogError::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
    ] {
        log.fail_next(error);
        assert_eq!(groups.commit(commit_of("t", 2, "")).await, Err(code));
        assert_eq!(groups.list(&ListFilter::default()), Err(ErrorCode::CoordinatorLoadInProgress));
        assert_eq!(heartbeat(&groups, "m", 1), ErrorCode::None);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(fetched(&groups, "t").await, 1);
    }
    assert_eq!(waiting.await.unwrap().error, ErrorCode::NotCoordinator);
    groups.commit(commit_of("t", 3, "")).await.unwrap();
    assert_eq!(fetched(&groups, "t").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_new_coordinator_reads_the_log_and_says_so_meanwhile() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    let joined = groups.join(join_request()).await;
    groups.sync(sync_request(&joined.member_id, 1)).await;
    for offset in 0..10 {
        let member = Commit { generation: 1, member_id: joined.member_id.clone(), ..commit_of("t", offset, "") };
        groups.commit(member).await.unwrap();
    }
    groups.shutdown();
    log.hold();
    let groups = start(&log);
    assert_eq!(groups.describe(GROUP), Err(ErrorCode::NotCoordinator));
    groups.lead(0, 0);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(groups.describe(GROUP), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(groups.join(join_request()).await.error, ErrorCode::CoordinatorLoadInProgress);
    log.let_go();
    groups.loaded().await;
    assert_eq!(fetched(&groups, "t").await, 9);
    assert_eq!(heartbeat(&groups, &joined.member_id, 1), ErrorCode::None);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(groups.describe(GROUP).unwrap().unwrap().state, "Empty");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_given_up_sends_its_clients_away() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    let waiting = tokio::spawn(groups.join(join_request()));
    tokio::task::yield_now().await;
    groups.resign(0);
    assert_eq!(waiting.await.unwrap().error, ErrorCode::NotCoordinator);
    assert_eq!(groups.commit(commit_of("t", 1, "")).await, Err(ErrorCode::NotCoordinator));
    assert_eq!(groups.list(&ListFilter::default()).unwrap(), []);
    groups.lead(0, 0);
    groups.loaded().await;
    groups.commit(commit_of("t", 1, "")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_comes_back_is_read_after_what_was_under_way() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    log.hold();
    let mut committed = Box::pin(groups.commit(commit_of("t", 1, "")));
    assert!(waits(&mut committed).await);
    groups.resign(0);
    assert_eq!(committed.await, Err(ErrorCode::NotCoordinator));
    groups.lead(0, 0);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(groups.describe(GROUP), Err(ErrorCode::CoordinatorLoadInProgress));
    log.let_go();
    groups.loaded().await;
    assert_eq!(fetched(&groups, "t").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_committed_yet_is_not_shown_by_a_new_coordinator() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    groups.commit(commit_of("t", 1, "")).await.unwrap();
    groups.resign(0);
    log.commit(false);
    groups.lead(0, 1);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(groups.describe(GROUP), Err(ErrorCode::CoordinatorLoadInProgress));
    log.commit(true);
    groups.loaded().await;
    assert_eq!(fetched(&groups, "t").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_coordinator_writes_nothing() {
    let log = Arc::new(MemoryLog::default());
    log.set_epoch(0, 1);
    let groups = start(&log);
    groups.lead(0, 1);
    groups.loaded().await;
    groups.commit(commit_of("t", 1, "")).await.unwrap();
    // Somebody else led meanwhile, and this one leads again without having been told.
    log.set_epoch(0, 3);
    let batches = log.batches(0);
    assert_eq!(groups.commit(commit_of("t", 2, "")).await, Err(ErrorCode::NotCoordinator));
    assert_eq!(log.batches(0), batches);
    groups.resign(0);
    groups.lead(0, 3);
    groups.loaded().await;
    assert_eq!(fetched(&groups, "t").await, 1);
    groups.commit(commit_of("t", 3, "")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stays_leader_reads_nothing_again() {
    let log = Arc::new(MemoryLog::default());
    log.set_epoch(0, 1);
    let groups = start(&log);
    groups.lead(0, 1);
    groups.loaded().await;
    let joined = groups.join(join_request()).await;
    groups.sync(sync_request(&joined.member_id, 1)).await;
    log.set_epoch(0, 2);
    groups.lead(0, 2);
    assert_eq!(heartbeat(&groups, &joined.member_id, 1), ErrorCode::None);
    assert_eq!(groups.led(), [(0, 2)]);
    let member = Commit { generation: 1, member_id: joined.member_id.clone(), ..commit_of("t", 7, "") };
    groups.commit(member).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_partition_stays_small_however_often_is_committed() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    let metadata = "x".repeat(4_000);
    let mut largest = 0;
    for round in 0..150i64 {
        let commit = |i: i64| groups.commit(commit_of(&format!("t{}", i % 10), round * 100 + i, &metadata));
        for done in join_all((0..100).map(commit)).await {
            done.unwrap();
        }
        largest = largest.max(log.bounds(0).unwrap().bytes);
    }
    // 60 MB were written; 16 MiB and a bit are held.
    assert!(largest > 15 << 20 && largest < 18 << 20, "{largest}");
    assert!(log.bounds(0).unwrap().start_offset > 0);
    groups.shutdown();
    let groups = started(&log).await;
    for i in 0..10 {
        assert_eq!(fetched(&groups, &format!("t{i}")).await, 149 * 100 + 90 + i);
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_expire_in_the_background() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    groups.commit(commit_of("t", 1, "")).await.unwrap();
    sleep(Duration::from_secs(7 * 24 * 3600 - 60)).await;
    assert_eq!(fetched(&groups, "t").await, 1);
    sleep(Duration::from_secs(700)).await;
    assert_eq!(fetched(&groups, "t").await, -1);
    assert_eq!(groups.list(&ListFilter::default()).unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_deleted_topics_go() {
    let log = Arc::new(MemoryLog::default());
    let groups = started(&log).await;
    groups.commit(commit_of("t", 1, "")).await.unwrap();
    groups.commit(commit_of("u", 2, "")).await.unwrap();
    groups.topics_deleted(vec!["u".into(), "a".into()]);
    assert_eq!((fetched(&groups, "t").await, fetched(&groups, "u").await), (1, -1));
}

#[tokio::test]
async fn groups_spread_as_java_has_it() {
    let log = Arc::new(MemoryLog::default());
    let groups = start(&log);
    groups.set_partitions(50);
    // "my-group".hashCode() = -1906497762.
    assert_eq!(groups.partition_for("my-group"), (-1_906_497_762i32 & i32::MAX) % 50);
    assert_eq!(groups.partition_for("a"), 47);
    assert_eq!(groups.join(Join { group_id: String::new(), ..join_request() }).await.error, ErrorCode::InvalidGroupId);
}
