//! Commits, fetches, deletion and expiry.

use super::*;

const HOUR: i64 = 3_600_000;
const WEEK: i64 = 7 * 24 * HOUR;

#[test]
fn a_simple_consumer_commits_without_a_group() {
    let mut b = Bench::new();
    assert_eq!(b.commit(commit("", -1, 5)), ErrorCode::None);
    assert_eq!(b.committed("t"), 5);
    let listed = b.shard.list(&ListFilter::default());
    assert_eq!((listed[0].state, &*listed[0].protocol_type), ("Empty", ""));
    // A generation needs a group with members.
    assert_eq!(b.commit(commit("m", 1, 6)), ErrorCode::UnknownMemberId);
    let other = Commit { group_id: "other".into(), ..commit("m", 1, 6) };
    assert_eq!(b.commit(other.clone()), ErrorCode::IllegalGeneration);
    let newer = Commit { missing_group: ErrorCode::GroupIdNotFound, ..other };
    assert_eq!(b.commit(newer), ErrorCode::GroupIdNotFound);
    assert_eq!(b.committed("t"), 5);
}

#[test]
fn only_members_of_the_generation_commit_to_a_live_group() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    assert_eq!(b.commit(commit("", -1, 5)), ErrorCode::UnknownMemberId);
    assert_eq!(b.commit(commit("who", 1, 5)), ErrorCode::UnknownMemberId);
    assert_eq!(b.commit(commit(&ids[0], 2, 5)), ErrorCode::IllegalGeneration);
    assert_eq!(b.commit(commit(&ids[0], -1, 5)), ErrorCode::IllegalGeneration);
    assert_eq!(b.committed("t"), -1);
    assert_eq!(b.commit(commit(&ids[0], 1, 5)), ErrorCode::None);
    assert_eq!(b.committed("t"), 5);
}

#[test]
fn long_metadata_is_refused_for_its_partition_only() {
    let mut b = Bench::new();
    let mut long = commit("", -1, 5);
    let part = |index, len| CommitPartition { index, offset: 9, leader_epoch: -1, metadata: "x".repeat(len) };
    long.topics[0].partitions = vec![part(0, 4_097), part(1, 4_096)];
    let answer = b.collect(|shard, now, out| shard.commit(long, now, out)).unwrap();
    assert_eq!(answer[0].partitions, [(0, ErrorCode::OffsetMetadataTooLarge), (1, ErrorCode::None)]);
    assert_eq!(b.log.len(), 1);
    // Nothing but refused partitions makes no group.
    let mut b = Bench::new();
    let mut long = commit("", -1, 5);
    long.topics[0].partitions = vec![part(0, 4_097)];
    b.commit(long);
    assert_eq!(b.shard.group_count(), 0);
}

#[test]
fn fetch_gives_what_was_asked_or_everything() {
    let mut b = Bench::new();
    b.commit(commit("", -1, 5));
    let mut two = commit("", -1, 6);
    two.topics[0].name = "u".into();
    two.topics[0].partitions[0].index = 3;
    b.commit(two);
    let all = b.shard.fetch(&Fetch { group_id: "g".into(), topics: None });
    let lines: Vec<_> = all.iter().map(|t| (&*t.name, t.partitions[0].index, t.partitions[0].offset)).collect();
    assert_eq!(lines, [("t", 0, 5), ("u", 3, 6)]);
    assert_eq!((all[0].partitions[0].leader_epoch, &*all[0].partitions[0].metadata), (1, "m"));
    let none = b.shard.fetch(&Fetch { group_id: "none".into(), topics: None });
    assert!(none.is_empty());
    let asked = FetchTopic { name: "t".into(), id: TopicId::ZERO, partitions: vec![0, 1] };
    let some = b.shard.fetch(&Fetch { group_id: "g".into(), topics: Some(vec![asked]) });
    assert_eq!(some[0].partitions.iter().map(|p| p.offset).collect::<Vec<_>>(), [5, -1]);
}

#[test]
fn an_offset_of_a_deleted_topic_does_not_count_for_the_next_one_of_its_name() {
    let mut b = Bench::new();
    let mut old = commit("", -1, 5);
    old.topics[0].id = TopicId([1; 16]);
    b.commit(old);
    let fetch = |b: &Bench, id| {
        let asked = FetchTopic { name: "t".into(), id, partitions: vec![0] };
        b.shard.fetch(&Fetch { group_id: "g".into(), topics: Some(vec![asked]) })[0].partitions[0].offset
    };
    assert_eq!(fetch(&b, TopicId([1; 16])), 5);
    assert_eq!(fetch(&b, TopicId([2; 16])), -1);
    assert_eq!(fetch(&b, TopicId::ZERO), 5);
    b.collect(|shard, _, out| shard.topics_deleted(&["s".into(), "t".into()], out));
    assert_eq!(fetch(&b, TopicId::ZERO), -1);
    assert_eq!(b.log.last().unwrap().1, None);
}

#[test]
fn offsets_of_topics_that_are_read_are_not_deleted() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    b.commit(commit(&ids[0], 1, 5));
    let mut other = commit(&ids[0], 1, 6);
    other.topics[0].name = "u".into();
    b.commit(other);
    let delete = |b: &mut Bench, group: &str, topic: &str| {
        let topics = vec![(topic.to_owned(), vec![0])];
        let result = b.collect(|shard, _, out| shard.delete_offsets(group, topics, out));
        result.map_or_else(|error| error, |topics| topics[0].partitions[0].1)
    };
    assert_eq!(delete(&mut b, "", "t"), ErrorCode::InvalidGroupId);
    assert_eq!(delete(&mut b, "none", "t"), ErrorCode::GroupIdNotFound);
    assert_eq!(delete(&mut b, "g", "t"), ErrorCode::GroupSubscribedToTopic);
    assert_eq!(delete(&mut b, "g", "u"), ErrorCode::None);
    assert_eq!((b.committed("t"), b.committed("u")), (5, -1));
    b.leave(&ids[0], None);
    assert_eq!(delete(&mut b, "g", "t"), ErrorCode::None);
    // Deleting what is not there is no error.
    assert_eq!(delete(&mut b, "g", "t"), ErrorCode::None);
}

#[test]
fn another_protocol_type_keeps_its_offsets_while_it_has_members() {
    let mut b = Bench::new();
    let number = b.join(Join { protocol_type: "connect".into(), ..join("") });
    b.pass(3_000);
    b.join_answer(number).unwrap();
    let result = b.collect(|shard, _, out| shard.delete_offsets("g", Vec::new(), out));
    assert_eq!(result, Err(ErrorCode::NonEmptyGroup));
}

#[test]
fn only_empty_groups_are_deleted_with_all_they_hold() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    b.commit(commit(&ids[0], 1, 5));
    let delete = |b: &mut Bench| b.collect(|shard, _, out| shard.delete("g", out));
    assert_eq!(delete(&mut b), Err(ErrorCode::NonEmptyGroup));
    b.leave(&ids[0], None);
    let logged = b.log.len();
    assert_eq!(delete(&mut b), Ok(()));
    assert_eq!(b.log.len(), logged + 2);
    assert!(b.log[logged..].iter().all(|(_, value)| value.is_none()));
    assert_eq!(delete(&mut b), Err(ErrorCode::GroupIdNotFound));
    assert_eq!((b.shard.live_bytes(), b.shard.next_due()), (0, None));
}

#[test]
fn offsets_of_an_empty_group_expire_after_it_became_empty() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    b.commit(commit(&ids[0], 1, 5));
    b.now_ms += 2 * WEEK;
    b.expire();
    // Read by a member, however old.
    assert_eq!(b.committed("t"), 5);
    b.leave(&ids[0], None);
    b.now_ms += WEEK - 1;
    b.expire();
    assert_eq!(b.committed("t"), 5);
    b.now_ms += 1;
    b.expire();
    assert_eq!((b.committed("t"), b.state()), (-1, "Dead"));
    assert_eq!(b.shard.live_bytes(), 0);
}

#[test]
fn offsets_of_topics_that_nobody_reads_expire_in_a_live_group() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    let mut other = commit(&ids[0], 1, 6);
    other.topics[0].name = "u".into();
    b.commit(other);
    b.commit(commit(&ids[0], 1, 5));
    b.now_ms += WEEK;
    b.expire();
    assert_eq!((b.committed("t"), b.committed("u"), b.state()), (5, -1, "Stable"));
}

#[test]
fn offsets_of_a_live_group_without_readable_subscriptions_stay() {
    let mut b = Bench::new();
    let opaque = vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"?") }];
    let number = b.join(Join { protocols: opaque, ..join("") });
    b.pass(3_000);
    let id = b.join_answer(number).unwrap().member_id;
    b.sync(sync(&id, 1));
    b.commit(commit(&id, 1, 5));
    b.now_ms += 2 * WEEK;
    b.expire();
    assert_eq!(b.committed("t"), 5);
}

#[test]
fn offsets_of_simple_consumers_expire_one_by_one() {
    let mut b = Bench::new();
    b.commit(commit("", -1, 5));
    b.now_ms += WEEK - HOUR;
    let mut later = commit("", -1, 6);
    later.topics[0].name = "u".into();
    b.commit(later);
    b.now_ms += HOUR;
    b.expire();
    assert_eq!((b.committed("t"), b.committed("u"), b.state()), (-1, 6, "Empty"));
    b.now_ms += WEEK;
    b.expire();
    assert_eq!(b.state(), "Dead");
}

#[test]
fn a_retention_time_of_the_client_counts() {
    let mut b = Bench::new();
    b.commit(Commit { retention_ms: Some(HOUR), ..commit("", -1, 5) });
    b.now_ms += HOUR - 1;
    b.expire();
    assert_eq!(b.committed("t"), 5);
    b.now_ms += 1;
    b.expire();
    assert_eq!(b.committed("t"), -1);
}
