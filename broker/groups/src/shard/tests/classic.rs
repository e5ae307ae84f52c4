//! Dynamic members: joins, generations, timeouts.

use super::*;

#[test]
fn the_first_members_wait_for_the_initial_delay() {
    let mut b = Bench::new();
    let first = b.join(join(""));
    b.pass(2_999);
    assert_eq!(b.join_answer(first), None);
    assert_eq!(b.state(), "PreparingRebalance");
    b.pass(1);
    let answer = b.join_answer(first).unwrap();
    assert_eq!((answer.error, answer.generation), (ErrorCode::None, 1));
    assert_eq!(answer.member_id, "c-00000000-0000-4000-8000-000000000001");
    assert_eq!(answer.leader, answer.member_id);
    assert_eq!(answer.protocol.as_deref(), Some("range"));
    assert_eq!(answer.members.len(), 1);
    assert_eq!(b.state(), "CompletingRebalance");
}

#[test]
fn the_initial_delay_is_extended_by_newcomers_up_to_the_rebalance_timeout() {
    let mut b = Bench::new();
    let short = || Join { rebalance_timeout_ms: 7_000, ..join("") };
    let first = b.join(short());
    let mut others = Vec::new();
    for _ in 0..2 {
        b.pass(2_900);
        others.push(b.join(short()));
    }
    // 3,000 at first, 3,000 more for the second, what is left of 7,000 for the third.
    b.pass(6_999 - 5_800);
    assert_eq!(b.join_answer(first), None);
    b.pass(1);
    assert!(b.join_answer(first).is_some());
    for other in others {
        assert_eq!(b.join_answer(other).unwrap().error, ErrorCode::None);
    }
}

#[test]
fn a_new_member_gets_its_id_first_from_version_4_on() {
    let mut b = Bench::new();
    let known = |id: &str| Join { require_known_member_id: true, ..join(id) };
    let first = b.join(known(""));
    let answer = b.join_answer(first).unwrap();
    assert_eq!(answer.error, ErrorCode::MemberIdRequired);
    assert!(b.log.is_empty());
    assert_eq!(b.state(), "Empty");
    let second = b.join(known(&answer.member_id));
    b.pass(3_000);
    assert_eq!(b.join_answer(second).unwrap().member_id, answer.member_id);
}

#[test]
fn an_unused_member_id_lapses_with_its_session_and_leaves_nothing() {
    let mut b = Bench::new();
    let first = b.join(Join { require_known_member_id: true, ..join("") });
    let id = b.join_answer(first).unwrap().member_id;
    b.pass(10_000);
    assert_eq!(b.state(), "Dead");
    let late = b.join(Join { require_known_member_id: true, ..join(&id) });
    assert_eq!(b.join_answer(late).unwrap().error, ErrorCode::UnknownMemberId);
    assert!(b.log.is_empty() && b.shard.next_due().is_none());
}

#[test]
fn a_pending_member_that_lapses_does_not_disturb_a_stable_group() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    let other = b.join(Join { require_known_member_id: true, ..join("") });
    assert_eq!(b.join_answer(other).unwrap().error, ErrorCode::MemberIdRequired);
    for _ in 0..4 {
        b.pass(5_000);
        assert_eq!(b.heartbeat(&ids[0], 1), ErrorCode::None);
    }
    assert_eq!(b.state(), "Stable");
}

#[test]
fn bad_requests_are_refused() {
    let mut b = Bench::new();
    let mut error = |join: Join| {
        let number = b.join(join);
        b.join_answer(number).unwrap().error
    };
    assert_eq!(error(Join { group_id: String::new(), ..join("") }), ErrorCode::InvalidGroupId);
    assert_eq!(error(Join { session_timeout_ms: 5_999, ..join("") }), ErrorCode::InvalidSessionTimeout);
    assert_eq!(error(Join { session_timeout_ms: 1_800_001, ..join("") }), ErrorCode::InvalidSessionTimeout);
    assert_eq!(error(join("who")), ErrorCode::UnknownMemberId);
    assert_eq!(error(Join { protocols: Vec::new(), ..join("") }), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(error(Join { protocol_type: String::new(), ..join("") }), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(error(Join { client_id: "x".repeat(32_767), ..join("") }), ErrorCode::InvalidRequest);
    assert_eq!(b.shard.group_count(), 0);
    assert!(b.shard.next_due().is_none());
}

#[test]
fn protocols_must_have_one_in_common() {
    let mut b = Bench::new();
    b.stable(1);
    for bad in
        [Join { protocols: protocols(&["other"]), ..join("") }, Join { protocol_type: "connect".into(), ..join("") }]
    {
        let number = b.join(bad);
        assert_eq!(b.join_answer(number).unwrap().error, ErrorCode::InconsistentGroupProtocol);
    }
    assert_eq!(b.state(), "Stable");
}

#[test]
fn most_votes_among_common_protocols_win() {
    let mut b = Bench::new();
    let numbers: Vec<u32> = [&["a", "b", "c"][..], &["b", "c"], &["c", "b"]]
        .into_iter()
        .map(|names| b.join(Join { protocols: protocols(names), ..join("") }))
        .collect();
    b.pass(60_000);
    // The first one's favourite is not common to all; b has two votes, c one.
    for number in numbers {
        assert_eq!(b.join_answer(number).unwrap().protocol.as_deref(), Some("b"));
    }
}

#[test]
fn only_the_leader_learns_the_members() {
    let mut b = Bench::new();
    let numbers = [b.join(join("")), b.join(join(""))];
    b.pass(6_000);
    let answers = numbers.map(|n| b.join_answer(n).unwrap());
    assert_eq!(answers[0].leader, answers[1].leader);
    let counts: Vec<usize> = answers.iter().map(|a| a.members.len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 2);
    assert!(counts.contains(&0));
}

#[test]
fn a_generation_is_stored_before_its_assignment_goes_out() {
    let mut b = Bench::new();
    let first = b.join(join(""));
    b.pass(3_000);
    let id = b.join_answer(first).unwrap().member_id;
    assert!(b.log.is_empty());
    b.sync(Sync { assignments: vec![(id.clone(), Bytes::from_static(b"x"))], ..sync(&id, 1) });
    assert_eq!(b.log.len(), 1);
    assert_eq!(b.syncs[0].2, Release::Committed);
    assert_eq!(b.syncs[0].1.assignment, Bytes::from_static(b"x"));
    assert_eq!(b.syncs[0].1.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn sync_is_checked() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    let mut error = |sync: Sync| {
        let number = b.sync(sync);
        b.sync_answer(number).unwrap().error
    };
    assert_eq!(error(Sync { group_id: "other".into(), ..sync(&ids[0], 1) }), ErrorCode::UnknownMemberId);
    assert_eq!(error(sync("who", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(error(sync(&ids[0], 2)), ErrorCode::IllegalGeneration);
    let wrong = Sync { protocol: Some("other".into()), ..sync(&ids[0], 1) };
    assert_eq!(error(wrong), ErrorCode::InconsistentGroupProtocol);
    let wrong = Sync { protocol_type: Some("connect".into()), ..sync(&ids[0], 1) };
    assert_eq!(error(wrong), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(error(sync(&ids[0], 1)), ErrorCode::None);
}

#[test]
fn a_newcomer_makes_everybody_join_again() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    let newcomer = b.join(join(""));
    assert_eq!(b.state(), "PreparingRebalance");
    assert_eq!(b.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    // Offsets of the old generation may still be committed.
    assert_eq!(b.commit(commit(&ids[1], 1, 7)), ErrorCode::None);
    let again = [b.join(join(&ids[0])), b.join(join(&ids[1]))];
    let answer = b.join_answer(newcomer).unwrap();
    assert_eq!((answer.error, answer.generation), (ErrorCode::None, 2));
    for number in again {
        assert_eq!(b.join_answer(number).unwrap().generation, 2);
    }
    assert_eq!(b.commit(commit(&ids[1], 2, 7)), ErrorCode::RebalanceInProgress);
    assert_eq!(b.heartbeat(&ids[0], 1), ErrorCode::IllegalGeneration);
    assert_eq!(b.heartbeat(&ids[0], 2), ErrorCode::None);
}

#[test]
fn members_that_do_not_join_again_in_time_are_out() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    let leader = b.join(join(&ids[0]));
    // The other one lives, and does not join.
    for _ in 0..11 {
        b.pass(5_000);
        assert_eq!(b.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    }
    b.pass(5_000);
    let answer = b.join_answer(leader).unwrap();
    assert_eq!((answer.generation, answer.members.len()), (2, 1));
    assert_eq!(b.heartbeat(&ids[1], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn another_member_leads_if_the_leader_does_not_come_back() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    let changed = Join { protocols: protocols(&["range", "roundrobin"]), ..join(&ids[1]) };
    let other = b.join(changed);
    b.pass(60_000);
    let answer = b.join_answer(other).unwrap();
    assert_eq!(answer.leader, ids[1]);
    assert_eq!(answer.members.len(), 1);
}

#[test]
fn rejoining_in_a_stable_group() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    // A follower that changed nothing gets the generation as it is.
    let follower = b.join(join(&ids[1]));
    let answer = b.join_answer(follower).unwrap();
    assert_eq!((answer.error, answer.generation, answer.members.len()), (ErrorCode::None, 1, 0));
    assert_eq!(b.state(), "Stable");
    // The leader starts a rebalance.
    b.join(join(&ids[0]));
    assert_eq!(b.state(), "PreparingRebalance");
}

#[test]
fn rejoining_while_the_assignment_is_awaited() {
    let mut b = Bench::new();
    let first = b.join(join(""));
    b.pass(3_000);
    let id = b.join_answer(first).unwrap().member_id;
    let again = b.join(join(&id));
    let answer = b.join_answer(again).unwrap();
    assert_eq!((answer.generation, answer.members.len()), (1, 1));
    assert_eq!(b.state(), "CompletingRebalance");
    let changed = b.join(Join { protocols: protocols(&["roundrobin"]), ..join(&id) });
    // INCONSISTENT: the only member supports "range".
    assert_eq!(b.join_answer(changed).unwrap().error, ErrorCode::InconsistentGroupProtocol);
    let changed = b.join(Join { protocols: protocols(&["range", "roundrobin"]), ..join(&id) });
    assert_eq!(b.join_answer(changed).unwrap().generation, 2);
}

#[test]
fn a_second_join_of_the_same_member_takes_the_place_of_the_first() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    let first = b.join(join(&ids[0]));
    let second = b.join(join(&ids[0]));
    assert_eq!(b.join_answer(first).unwrap().error, ErrorCode::RebalanceInProgress);
    let other = b.join(join(&ids[1]));
    assert_eq!(b.join_answer(second).unwrap().generation, 2);
    assert_eq!(b.join_answer(other).unwrap().generation, 2);
}

#[test]
fn a_join_during_completion_refuses_the_waiting_syncs() {
    let mut b = Bench::new();
    let numbers = [b.join(join("")), b.join(join(""))];
    b.pass(6_000);
    let answers = numbers.map(|n| b.join_answer(n).unwrap());
    let follower = answers.iter().find(|a| a.members.is_empty()).unwrap().member_id.clone();
    let waiting = b.sync(sync(&follower, 1));
    assert_eq!(b.sync_answer(waiting), None);
    b.join(join(""));
    assert_eq!(b.sync_answer(waiting).unwrap().error, ErrorCode::RebalanceInProgress);
    assert_eq!(b.state(), "PreparingRebalance");
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut b = Bench::new();
    let numbers = [b.join(join("")), b.join(join(""))];
    b.pass(6_000);
    let answers = numbers.map(|n| b.join_answer(n).unwrap());
    let leader = answers[0].leader.clone();
    let follower = answers.iter().find(|a| a.member_id != leader).unwrap().member_id.clone();
    b.sync(sync(&leader, 1));
    for _ in 0..11 {
        b.pass(5_000);
        b.heartbeat(&leader, 1);
        b.heartbeat(&follower, 1);
    }
    assert_eq!(b.state(), "Stable");
    b.pass(5_000);
    assert_eq!(b.state(), "PreparingRebalance");
    assert_eq!(b.heartbeat(&follower, 1), ErrorCode::UnknownMemberId);
    assert_eq!(b.heartbeat(&leader, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_silent_member_is_removed_when_its_session_ends() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    b.pass(9_000);
    assert_eq!(b.heartbeat(&ids[0], 1), ErrorCode::None);
    b.pass(1_000);
    assert_eq!(b.state(), "PreparingRebalance");
    let again = b.join(join(&ids[0]));
    assert_eq!(b.join_answer(again).unwrap().generation, 2);
}

#[test]
fn setting_the_time_of_day_ends_no_session() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    let decade_ms = 10 * 365 * 24 * 3_600_000;
    let later = Now { wall_ms: b.now_ms + decade_ms, ..at(b.now_ms) };
    b.shard.tick(later, &mut Effects::default());
    assert_eq!(b.heartbeat(&ids[0], 1), ErrorCode::None);
}

#[test]
fn commits_are_signs_of_life() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    for offset in 0..5 {
        b.pass(9_000);
        assert_eq!(b.commit(commit(&ids[0], 1, offset)), ErrorCode::None);
    }
    assert_eq!(b.state(), "Stable");
}

#[test]
fn a_waiting_join_is_a_sign_of_life_but_not_for_ever_for_a_new_member() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    b.now_ms += 1;
    let slow = || Join { rebalance_timeout_ms: 600_000, ..join("") };
    let newcomer = b.join(slow());
    // The old member never comes back, though it lives.
    for _ in 0..59 {
        b.pass(5_000);
        assert_eq!(b.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
        assert_eq!(b.join_answer(newcomer), None);
    }
    b.pass(5_000);
    let answer = b.join_answer(newcomer).unwrap();
    assert_eq!((answer.error, &*answer.member_id), (ErrorCode::UnknownMemberId, ""));
}

#[test]
fn leaving_starts_a_rebalance_and_the_last_one_leaves_an_empty_generation() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    assert_eq!(b.leave("who", None), ErrorCode::UnknownMemberId);
    assert_eq!(b.leave(&ids[1], None), ErrorCode::None);
    assert_eq!(b.state(), "PreparingRebalance");
    let logged = b.log.len();
    assert_eq!(b.leave(&ids[0], None), ErrorCode::None);
    assert_eq!(b.state(), "Empty");
    assert_eq!(b.log.len(), logged + 1);
    let listed = b.shard.list(&ListFilter::default());
    assert_eq!((listed[0].state, &*listed[0].protocol_type), ("Empty", "consumer"));
    // The next generation counts on.
    let next = b.join(join(""));
    b.pass(3_000);
    assert_eq!(b.join_answer(next).unwrap().generation, 3);
}

#[test]
fn leaving_while_a_join_waits_answers_it() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    let waiting = b.join(join(&ids[0]));
    assert_eq!(b.leave(&ids[0], None), ErrorCode::None);
    assert_eq!(b.join_answer(waiting).unwrap().error, ErrorCode::UnknownMemberId);
}

#[test]
fn the_size_of_a_group_is_limited() {
    let mut b = Bench::with(GroupSettings { max_size: 2, ..settings() });
    let ids = b.stable(2);
    let third = b.join(join(""));
    assert_eq!(b.join_answer(third).unwrap().error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(b.state(), "Stable");
    // Members may come back.
    let again = [b.join(join(&ids[0])), b.join(join(&ids[1]))];
    for number in again {
        assert_eq!(b.join_answer(number).unwrap().generation, 2);
    }
}

#[test]
fn a_group_that_no_batch_can_hold_is_refused_and_does_not_stop_the_shard() {
    let mut b = Bench::with(GroupSettings { max_batch_bytes: 1_000, ..settings() });
    let first = b.join(join(""));
    b.pass(3_000);
    let id = b.join_answer(first).unwrap().member_id;
    let big = Bytes::from(vec![0; 2_000]);
    let number = b.sync(Sync { assignments: vec![(id.clone(), big)], ..sync(&id, 1) });
    assert_eq!(b.sync_answer(number).unwrap().error, ErrorCode::UnknownServerError);
    assert!(b.log.is_empty());
    assert_eq!(b.state(), "PreparingRebalance");
}

#[test]
fn a_rebalance_that_nobody_joins_is_tried_again_until_sessions_end() {
    let mut b = Bench::new();
    let number = b.join(Join { rebalance_timeout_ms: 0, ..static_join("", "i") });
    b.pass(3_000);
    let id = b.join_answer(number).unwrap().member_id;
    b.sync(Sync { instance_id: Some("i".into()), ..sync(&id, 1) });
    let number = b.join(Join { rebalance_timeout_ms: 0, ..join("") });
    let newcomer = b.join_answer(number);
    assert_eq!(newcomer, None);
    b.pass(100_000);
    assert_eq!(b.state(), "Empty");
}

#[test]
fn giving_up_the_shard_answers_everybody() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    let waiting = b.join(join(&ids[0]));
    b.collect(|shard, _, out| shard.refuse_all(ErrorCode::NotCoordinator, out));
    assert_eq!(b.join_answer(waiting).unwrap().error, ErrorCode::NotCoordinator);
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut b = Bench::new();
    b.stable(1);
    let count = |states: &[&str], types: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        b.shard.list(&ListFilter { states: texts(states), types: texts(types) }).len()
    };
    assert_eq!(count(&[], &[]), 1);
    assert_eq!(count(&["stable"], &["Classic"]), 1);
    assert_eq!(count(&["Empty", " Stable"], &[]), 1);
    assert_eq!(count(&["Empty"], &[]), 0);
    assert_eq!(count(&[], &["consumer"]), 0);
}

#[test]
fn a_group_is_described() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    let group = b.shard.describe("g").unwrap();
    assert_eq!((group.state, &*group.protocol_type, &*group.protocol), ("Stable", "consumer", "range"));
    assert_eq!(group.members[0].member_id, ids[0]);
    assert_eq!(group.members[0].metadata, subscription(&["t"]));
    assert_eq!(group.members[0].assignment, Bytes::from(format!("to {}", ids[0])));
    b.join(join(&ids[0]));
    b.join(join(""));
    let group = b.shard.describe("g").unwrap();
    assert_eq!((group.state, &*group.protocol), ("PreparingRebalance", ""));
    assert!(group.members.iter().all(|m| m.metadata.is_empty()));
    assert_eq!(b.shard.describe("other"), None);
}
