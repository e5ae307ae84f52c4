//! A shard that is read back is the shard that was written.

use super::*;

/// A new shard from a log, at the same time.
pub fn reload(log: &[(Bytes, Option<Bytes>)], now_ms: i64) -> Shard<Numbered> {
    let mut shard = Shard::new(Arc::new(settings()), counting_uuids());
    for (key, value) in log {
        shard.replay(Some(key.clone()), value.clone(), now_ms).unwrap();
    }
    shard.loaded(at(now_ms), &mut Effects::default());
    shard
}

/// What can be seen of a shard from outside, but for what members only keep in memory.
pub fn view(shard: &Shard<Numbered>) -> Vec<String> {
    let mut lines = Vec::new();
    for listed in shard.list(&ListFilter::default()) {
        let group_id = listed.group_id.clone();
        let described = shard.describe(&group_id);
        let offsets = shard.fetch(&Fetch { group_id, topics: None });
        lines.push(format!("{listed:?} {described:?} {offsets:?}"));
    }
    lines.push(format!("{} bytes", shard.live_bytes()));
    lines
}

#[test]
fn a_stable_group_survives_with_its_sessions() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    b.commit(commit(&ids[0], 1, 5));
    let shard = reload(&b.log, b.now_ms);
    assert_eq!(view(&shard), view(&b.shard));
    let mut again = Bench { shard, log: Vec::new(), ..Bench::new() };
    again.now_ms = b.now_ms;
    assert_eq!(again.heartbeat(&ids[0], 1), ErrorCode::None);
    assert_eq!(again.commit(commit(&ids[1], 1, 6)), ErrorCode::None);
    again.pass(10_000);
    // Neither is heard of any more.
    assert_eq!(again.state(), "Empty");
}

#[test]
fn an_unfinished_rebalance_falls_back_to_the_stored_generation() {
    let mut b = Bench::new();
    let ids = b.stable(1);
    let before = view(&reload(&b.log, b.now_ms));
    b.join(join(&ids[0]));
    assert_eq!(b.state(), "CompletingRebalance");
    assert_eq!(view(&reload(&b.log, b.now_ms)), before);
}

#[test]
fn the_snapshot_is_the_log_without_what_is_superseded() {
    let mut b = Bench::new();
    let ids = b.stable(2);
    for offset in 0..50 {
        b.commit(commit(&ids[0], 1, offset));
    }
    // In the middle of a rebalance, so that memory is ahead of the log.
    b.join(join(""));
    let snapshot: Vec<(Bytes, Option<Bytes>)> = b
        .shard
        .snapshot()
        .iter()
        .map(|(key, value)| (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)))
        .collect();
    assert_eq!(snapshot.len(), 2);
    assert!(b.shard.can_be_rewritten());
    assert_eq!(view(&reload(&snapshot, b.now_ms)), view(&reload(&b.log, b.now_ms)));
    // A crash before the old records are gone leaves both.
    let both = [&b.log[..], &snapshot[..]].concat();
    assert_eq!(view(&reload(&both, b.now_ms)), view(&reload(&b.log, b.now_ms)));
}

#[test]
fn a_group_that_became_too_large_rebalances_when_loaded() {
    let mut b = Bench::new();
    b.stable(3);
    let mut shard = Shard::<Numbered>::new(Arc::new(GroupSettings { max_size: 2, ..settings() }), counting_uuids());
    for (key, value) in &b.log {
        shard.replay(Some(key.clone()), value.clone(), b.now_ms).unwrap();
    }
    shard.loaded(at(b.now_ms), &mut Effects::default());
    assert_eq!(shard.describe("g").unwrap().state, "PreparingRebalance");
}

#[test]
fn records_that_are_not_understood_are_passed_over_and_kept() {
    let mut shard = reload(&[], 0);
    assert_eq!(shard.replay(None, None, 0), Err(load::LoadError::NoKey));
    assert!(shard.can_be_rewritten());
    shard.replay(Some(Bytes::from_static(&[0, 3, 0, 1, b'g'])), Some(Bytes::new()), 0).unwrap();
    assert!(!shard.can_be_rewritten());
    let mut shard = reload(&[], 0);
    assert!(shard.replay(Some(Bytes::from_static(&[0])), None, 0).is_err());
    assert!(!shard.can_be_rewritten());
}
