use super::*;

fn wanted(offset: i64) -> Wanted {
    Wanted { offset, max_bytes: 100, leader_epoch: -1, last_fetched_epoch: -1, log_start: -1 }
}

fn name(n: &str) -> TopicKey {
    TopicKey::Name(n.into())
}

fn ask(id: i32, epoch: i32, wanted_parts: &[i32]) -> Ask {
    let wanted = wanted_parts.iter().map(|p| (name("t"), *p, wanted(0))).collect();
    Ask { id, epoch, by_topic_id: false, follower: None, wanted, forgotten: Vec::new() }
}

fn outcome(high_watermark: i64, data: bool) -> Outcome {
    Outcome { high_watermark, log_start: 0, data, error: false, urgent: false }
}

fn run(sessions: &FetchSessions, now: i64, ask: Ask, outcomes: &[Outcome]) -> Verdict {
    let context = sessions.open(now, ask).unwrap();
    let targets = context.targets();
    context.finish(sessions, now, &targets, outcomes)
}

fn order(sessions: &FetchSessions, now: i64, ask: Ask) -> Vec<i32> {
    sessions.open(now, ask).unwrap().targets().partitions.iter().map(|t| t.partition).collect()
}

#[test]
fn full_then_incremental_answers_only_news() {
    let sessions = FetchSessions::new(10, 1);
    let first = run(&sessions, 0, ask(0, 0, &[0, 1]), &[outcome(5, false), outcome(7, false)]);
    assert_ne!(first.session_id, NO_SESSION);
    assert_eq!(first.answer, None);
    let second = run(&sessions, 1, ask(first.session_id, 1, &[]), &[outcome(5, false), outcome(8, false)]);
    assert_eq!(second.answer, Some(vec![false, true]));
    let third = run(&sessions, 1, ask(first.session_id, 2, &[]), &[outcome(5, false), outcome(8, false)]);
    assert_eq!(third.answer, Some(vec![false, false]));
}

#[test]
fn an_error_is_always_answered_and_so_is_what_follows() {
    let sessions = FetchSessions::new(10, 1);
    let id = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(5, false)]).session_id;
    let bad = Outcome { high_watermark: -1, log_start: -1, data: false, error: true, urgent: false };
    assert_eq!(run(&sessions, 1, ask(id, 1, &[]), &[bad]).answer, Some(vec![true]));
    assert_eq!(run(&sessions, 1, ask(id, 2, &[]), &[bad]).answer, Some(vec![true]));
    assert_eq!(run(&sessions, 1, ask(id, 3, &[]), &[outcome(5, false)]).answer, Some(vec![true]));
    assert_eq!(run(&sessions, 1, ask(id, 4, &[]), &[outcome(5, false)]).answer, Some(vec![false]));
}

#[test]
fn partitions_with_data_move_to_the_end() {
    let sessions = FetchSessions::new(10, 1);
    let quiet = outcome(1, false);
    let id = run(&sessions, 0, ask(0, 0, &[0, 1, 2]), &[quiet; 3]).session_id;
    run(&sessions, 1, ask(id, 1, &[]), &[outcome(2, true), quiet, quiet]);
    assert_eq!(order(&sessions, 2, ask(id, 2, &[])), [1, 2, 0]);
}

#[test]
fn wrong_ids_and_epochs_are_refused() {
    let sessions = FetchSessions::new(10, 1);
    let id = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(1, false)]).session_id;
    let refused = |ask: Ask| sessions.open(1, ask).err();
    assert_eq!(refused(ask(id.wrapping_add(1), 1, &[])), Some(SessionError::NotFound));
    assert_eq!(refused(ask(id, 2, &[])), Some(SessionError::InvalidEpoch));
    assert_eq!(refused(Ask { by_topic_id: true, ..ask(id, 1, &[]) }), Some(SessionError::TopicIdMismatch));
    assert_eq!(refused(ask(id, 1, &[])), None);
    assert_eq!(refused(ask(id, 1, &[])), Some(SessionError::InvalidEpoch));
}

#[test]
fn a_duplicate_request_spoils_the_first_answer() {
    let sessions = FetchSessions::new(10, 1);
    let id = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(1, false)]).session_id;
    let slow = sessions.open(1, ask(id, 1, &[])).unwrap();
    let targets = slow.targets();
    sessions.open(1, ask(id, 2, &[])).unwrap();
    let verdict = slow.finish(&sessions, 2, &targets, &[outcome(1, false)]);
    assert_eq!(verdict.error, Some(SessionError::InvalidEpoch));
}

#[test]
fn forgetting_everything_ends_the_session() {
    let sessions = FetchSessions::new(10, 1);
    let id = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(1, false)]).session_id;
    let last = Ask { forgotten: vec![(name("t"), 0)], ..ask(id, 1, &[]) };
    let context = sessions.open(1, last).unwrap();
    assert!(matches!(context, Context::Sessionless(_)));
    assert_eq!(sessions.usage(), (0, 0));
}

#[test]
fn a_full_request_closes_the_session_it_names() {
    let sessions = FetchSessions::new(10, 1);
    let id = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(1, false)]).session_id;
    assert_eq!(run(&sessions, 0, ask(id, -1, &[0]), &[outcome(1, false)]).session_id, NO_SESSION);
    assert_eq!(sessions.usage(), (0, 0));
}

#[test]
fn eviction_follows_staleness_privilege_and_size() {
    let sessions = FetchSessions::new(1, 1);
    let small = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(1, false)]).session_id;
    // A bigger consumer may not push out a young session, a follower may.
    assert_eq!(run(&sessions, 10, ask(0, 0, &[0, 1]), &[outcome(1, false); 2]).session_id, NO_SESSION);
    let follower = Ask { follower: Some(Follower { eager: false }), ..ask(0, 0, &[0]) };
    let held = run(&sessions, 10, follower, &[outcome(1, false)]).session_id;
    assert_ne!(held, NO_SESSION);
    assert_eq!(sessions.open(11, ask(small, 1, &[])).err(), Some(SessionError::NotFound));
    // A consumer waits until the follower's session is stale.
    assert_eq!(run(&sessions, 10 + cache::EVICTION_MS, ask(0, 0, &[0]), &[outcome(1, false)]).session_id, NO_SESSION);
    assert_ne!(run(&sessions, 11 + cache::EVICTION_MS, ask(0, 0, &[0]), &[outcome(1, false)]).session_id, NO_SESSION);
}

#[test]
fn a_bigger_consumer_pushes_out_a_smaller_settled_one() {
    let sessions = FetchSessions::new(1, 1);
    let id = run(&sessions, 0, ask(0, 0, &[0]), &[outcome(1, false)]).session_id;
    let later = cache::EVICTION_MS + 1;
    run(&sessions, later, ask(id, 1, &[]), &[outcome(1, false)]);
    assert_eq!(run(&sessions, later, ask(0, 0, &[0]), &[outcome(1, false)]).session_id, NO_SESSION);
    assert_ne!(run(&sessions, later, ask(0, 0, &[0, 1]), &[outcome(1, false); 2]).session_id, NO_SESSION);
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(-1), FINAL_EPOCH);
}
