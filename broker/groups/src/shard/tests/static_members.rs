//! Static members (KIP-345, KIP-814).

use super::*;

fn stable_static(b: &mut Bench) -> (String, String) {
    let numbers = [b.join(static_join("", "i1")), b.join(static_join("", "i2"))];
    b.pass(6_000);
    let [one, two] = numbers.map(|n| b.join_answer(n).unwrap());
    assert!(one.member_id.starts_with("i1-"));
    let leader = one.leader.clone();
    let (leader, other) = if leader == one.member_id { (leader, two.member_id) } else { (leader, one.member_id) };
    b.sync_all(&[leader.clone(), other.clone()], 1);
    (leader, other)
}

fn instance(member: &str) -> &'static str {
    if member.starts_with("i1") { "i1" } else { "i2" }
}

#[test]
fn a_follower_comes_back_without_a_rebalance() {
    let mut b = Bench::new();
    let (leader, follower) = stable_static(&mut b);
    b.pass(5_000);
    b.heartbeat(&leader, 1);
    let logged = b.log.len();
    let number = b.join(static_join("", instance(&follower)));
    assert_eq!(b.joins[0].2, Release::Committed);
    let answer = b.join_answer(number).unwrap();
    assert_eq!((answer.error, answer.generation, answer.skip_assignment), (ErrorCode::None, 1, false));
    assert_ne!(answer.member_id, follower);
    assert_eq!(answer.leader, leader);
    assert_eq!(b.log.len(), logged + 1);
    assert_eq!(b.state(), "Stable");
    // Its assignment is still there, the old id is not.
    let sync_number = b.sync(sync(&answer.member_id, 1));
    assert_eq!(b.sync_answer(sync_number).unwrap().assignment, Bytes::from(format!("to {follower}")));
    assert_eq!(b.heartbeat(&follower, 1), ErrorCode::UnknownMemberId);
    let fenced = Commit { instance_id: Some(instance(&follower).into()), ..commit(&follower, 1, 3) };
    assert_eq!(b.commit(fenced), ErrorCode::FencedInstanceId);
}

#[test]
fn a_leader_comes_back_and_skips_the_assignment() {
    let mut b = Bench::new();
    let (leader, _) = stable_static(&mut b);
    let number = b.join(static_join("", instance(&leader)));
    let answer = b.join_answer(number).unwrap();
    assert!(answer.skip_assignment);
    assert_eq!((&answer.leader, answer.members.len()), (&answer.member_id, 2));
}

#[test]
fn a_leader_of_an_older_client_is_not_told_that_it_leads() {
    let mut b = Bench::new();
    let (leader, _) = stable_static(&mut b);
    let old = Join { supports_skipping_assignment: false, ..static_join("", instance(&leader)) };
    let number = b.join(old);
    let answer = b.join_answer(number).unwrap();
    assert!(!answer.skip_assignment);
    assert_eq!((answer.leader, answer.members.len()), (leader, 0));
}

#[test]
fn a_changed_protocol_choice_does_rebalance() {
    let mut b = Bench::new();
    let number = b.join(Join { protocols: protocols(&["a", "b"]), ..static_join("", "i1") });
    b.pass(3_000);
    let id = b.join_answer(number).unwrap().member_id;
    b.sync(sync(&id, 1));
    let number = b.join(Join { protocols: protocols(&["b", "a"]), ..static_join("", "i1") });
    let answer = b.join_answer(number).unwrap();
    assert_eq!((answer.generation, answer.protocol.as_deref()), (2, Some("b")));
}

#[test]
fn the_waiting_requests_of_a_replaced_member_are_fenced() {
    let mut b = Bench::new();
    let (leader, follower) = stable_static(&mut b);
    let waiting = b.join(static_join(&leader, instance(&leader)));
    assert_eq!(b.state(), "PreparingRebalance");
    let again = b.join(static_join("", instance(&leader)));
    assert_eq!(b.join_answer(waiting).unwrap().error, ErrorCode::FencedInstanceId);
    assert_eq!(b.join_answer(again), None);
    b.join(static_join(&follower, instance(&follower)));
    let answer = b.join_answer(again).unwrap();
    assert_eq!((answer.generation, answer.members.len()), (2, 2));
}

#[test]
fn a_replacement_during_completion_starts_over() {
    let mut b = Bench::new();
    let number = b.join(static_join("", "i1"));
    b.pass(3_000);
    b.join_answer(number).unwrap();
    let number = b.join(static_join("", "i1"));
    assert_eq!(b.join_answer(number).unwrap().generation, 2);
}

#[test]
fn a_wrong_id_of_an_instance_is_fenced() {
    let mut b = Bench::new();
    let (leader, _) = stable_static(&mut b);
    let number = b.join(static_join("i1-who", "i1"));
    assert_eq!(b.join_answer(number).unwrap().error, ErrorCode::FencedInstanceId);
    let number = b.join(static_join("who", "i9"));
    assert_eq!(b.join_answer(number).unwrap().error, ErrorCode::UnknownMemberId);
    assert_eq!(b.leave("who", Some(instance(&leader))), ErrorCode::FencedInstanceId);
}

#[test]
fn members_are_removed_by_their_instance() {
    let mut b = Bench::new();
    let (leader, follower) = stable_static(&mut b);
    assert_eq!(b.leave("", Some("i9")), ErrorCode::UnknownMemberId);
    assert_eq!(b.leave("", None), ErrorCode::UnknownMemberId);
    assert_eq!(b.leave("", Some(instance(&follower))), ErrorCode::None);
    assert_eq!(b.state(), "PreparingRebalance");
    assert_eq!(b.leave(&leader, Some(instance(&leader))), ErrorCode::None);
    assert_eq!(b.state(), "Empty");
}

#[test]
fn a_static_member_that_stays_away_stays_a_member_until_its_session_ends() {
    let mut b = Bench::new();
    let (leader, follower) = stable_static(&mut b);
    let join_long =
        |id: &str| Join { session_timeout_ms: 100_000, rebalance_timeout_ms: 9_000, ..static_join(id, instance(id)) };
    b.join(join_long(&leader));
    b.join(join_long(&follower));
    assert_eq!(b.state(), "CompletingRebalance");
    b.joins.clear();
    b.sync_all(&[leader.clone(), follower.clone()], 2);
    // The leader joins again; the follower does not come, and is not lost.
    let number = b.join(join_long(&leader));
    b.pass(9_000);
    let answer = b.join_answer(number).unwrap();
    assert_eq!((answer.generation, answer.members.len()), (3, 2));
}
