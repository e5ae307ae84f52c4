//! Damages a good history in every way that the checker must see.

use std::collections::BTreeSet;

use super::*;

const PRODUCERS: u32 = 3;
const PARTITIONS: i32 = 2;
const NUMBERS: u64 = 8;
/// Moments between two sends.
const STEP: Moment = 10;

/// Three producers in two partitions, a change of the leader in the middle, and one send of each outcome.
fn good() -> History {
    let mut h = History::default();
    let mut next = [0i64; PARTITIONS as usize];
    let mut now = 0;
    for number in 0..NUMBERS {
        for producer in 0..PRODUCERS {
            let partition = (number % PARTITIONS as u64) as i32;
            let id = Id { producer, number };
            let at = At { partition, offset: next[partition as usize], id };
            next[partition as usize] += 1;
            now += STEP;
            let outcome = Outcome::Acknowledged { offset: at.offset, at: now + 2 };
            h.sends.push(Send { id, partition, begun: now, outcome, resent: false });
            let epoch = if number < NUMBERS / 2 { 4 } else { 5 };
            h.log.push(Logged { at, epoch });
            h.reads.push(Read { session: at.partition as u64, at, epoch: Some(epoch) });
            h.ends.push(End { partition, epoch, offset: at.offset + 1, begun: now + 3, ended: now + 4 });
            let commit = |kind, begun| Commit { partition, offset: at.offset + 1, kind, begun, ended: begun + 1 };
            h.commits.push(commit(CommitKind::Acknowledged, now + 5));
            h.commits.push(commit(CommitKind::Found, now + 7));
        }
    }
    let send = |number, outcome| Send {
        id: Id { producer: 0, number },
        partition: 0,
        begun: now + STEP,
        outcome,
        resent: false,
    };
    h.sends.push(send(100, Outcome::Failed));
    h.sends.push(send(101, Outcome::Unknown));
    h.sends.push(send(102, Outcome::Unknown));
    let at = At { partition: 0, offset: next[0], id: Id { producer: 0, number: 101 } };
    h.log.push(Logged { at, epoch: 5 });
    // A deposed leader that does not know it yet.
    h.ends.push(End { partition: 0, epoch: 4, offset: 6, begun: now + 20, ended: now + 21 });
    // A member begins again where the group has committed.
    h.reads.push(Read { session: 77, at: h.log[0].at, epoch: None });
    h
}

/// Where the record of a producer stands in the log.
fn place(h: &History, producer: u32, number: u64) -> usize {
    h.log.iter().position(|l| l.at.id == Id { producer, number }).unwrap()
}

fn forget(h: &mut History, id: Id) {
    h.reads.retain(|r| r.at.id != id);
    h.sends.iter_mut().filter(|s| s.id == id).for_each(|s| s.outcome = Outcome::Unknown);
}

type Damage = (&'static str, fn(&mut History));

/// Each class, and something that must fire it.
const DAMAGES: [Damage; 24] = [
    ("Lost", |h| h.sends.last_mut().unwrap().outcome = Outcome::Acknowledged { offset: 13, at: 999 }),
    ("Lost", |h| {
        let last = h.log.iter().rposition(|l| l.at.partition == 1).unwrap();
        h.log.remove(last);
    }),
    ("Moved", |h| {
        let (a, b) = (place(h, 0, 2), place(h, 1, 2));
        let id = h.log[a].at.id;
        h.log[a].at.id = h.log[b].at.id;
        h.log[b].at.id = id;
    }),
    ("Moved", |h| h.sends[3].partition = 0),
    ("Twice", |h| {
        let mut again = h.log[place(h, 1, 7)];
        again.at.offset = h.log.iter().filter(|l| l.at.partition == 1).count() as i64;
        h.log.push(again);
    }),
    ("OutOfOrder", |h| {
        let (a, b) = (place(h, 0, 0), place(h, 0, 2));
        let ids = (h.log[a].at.id, h.log[b].at.id);
        (h.log[a].at.id, h.log[b].at.id) = (ids.1, ids.0);
        forget(h, ids.0);
        forget(h, ids.1);
    }),
    ("Conflict", |h| {
        let send = h.sends.iter_mut().find(|s| s.id.number == 101).unwrap();
        send.outcome = Outcome::Acknowledged { offset: 0, at: 999 };
    }),
    ("Conflict", |h| h.reads[5].at.id = h.reads[6].at.id),
    ("Gap", |h| h.log.last_mut().unwrap().at.offset += 1),
    ("Gap", |h| h.log.retain(|l| l.at.partition != 0 || l.at.offset != 0)),
    ("Phantom", |h| h.log.last_mut().unwrap().at.id.producer = 99),
    ("Phantom", |h| h.log.last_mut().unwrap().at.id.number = 100),
    ("Phantom", |h| h.reads.last_mut().unwrap().at.id.producer = 99),
    ("ReadAndGone", |h| {
        let mut read = h.reads[0];
        (read.session, read.at.offset, read.at.id.number) = (88, 13, 102);
        h.reads.push(read);
    }),
    ("WentBack", |h| h.reads.push(h.reads[h.reads.len() - 2])),
    ("WentBack", |h| h.reads.last_mut().unwrap().session = 0),
    ("Skipped", |h| {
        h.reads.remove(4);
    }),
    ("StaleEnd", |h| h.ends[5].offset -= 1),
    ("StaleEnd", |h| h.ends.last_mut().unwrap().epoch = 5),
    ("EndWentBack", |h| {
        let end = h.ends[20];
        h.ends.push(End { offset: 40, begun: end.begun - 8, ended: end.begun - 7, ..end });
    }),
    ("CommitWentBack", |h| h.commits.last_mut().unwrap().offset -= 1),
    ("CommitWentBack", |h| h.commits.last_mut().unwrap().offset = -1),
    ("CommitFromNowhere", |h| h.commits.last_mut().unwrap().offset += 100),
    ("EpochWentBack", |h| h.log.last_mut().unwrap().epoch = 4),
];

#[test]
fn a_good_history_passes() {
    assert_eq!(check(&good()), []);
}

#[test]
fn a_deposed_leader_does_not_answer_for_what_its_successor_acknowledged() {
    let mut history = good();
    // The last record that the old leader wrote is acknowledged by the new one.
    let last = history.log.iter().rfind(|l| l.epoch == 4 && l.at.partition == 0).unwrap().at;
    let first = history.log.iter().find(|l| l.epoch == 5 && l.at.partition == 0).unwrap().at.id;
    let taken_over = history.sends.iter().find(|s| s.id == first).unwrap().begun;
    let send = history.sends.iter_mut().find(|s| s.id == last.id).unwrap();
    (send.outcome, send.resent) = (Outcome::Acknowledged { offset: last.offset, at: taken_over }, true);
    history.ends.retain(|end| end.partition != 0 || end.epoch != 4 || end.offset <= last.offset);
    let begun = taken_over + 10 * STEP;
    history.ends.push(End { partition: 0, epoch: 4, offset: last.offset, begun, ended: begun + 1 });
    assert_eq!(check(&history), []);
    let stale = |history: &History| check(history).iter().any(|v| matches!(v, Violation::StaleEnd { .. }));
    // What was sent once was acknowledged by the leader that wrote it.
    history.sends.iter_mut().find(|s| s.id == last.id).unwrap().resent = false;
    assert!(stale(&history));
    // One of the new epoch would have to know of it.
    history.sends.iter_mut().find(|s| s.id == last.id).unwrap().resent = true;
    history.ends.last_mut().unwrap().epoch = 5;
    assert!(stale(&history));
}

#[test]
fn every_damage_is_seen() {
    for (n, (class, damage)) in DAMAGES.iter().enumerate() {
        let mut history = good();
        damage(&mut history);
        let found: Vec<&str> = check(&history).iter().map(Violation::class).collect();
        assert!(found.contains(class), "damage {n} must fire {class}: {found:?}");
    }
    let mut history = good();
    history.reads[4].epoch = Some(9);
    assert_eq!(check(&history).iter().map(Violation::class).collect::<Vec<_>>(), ["EpochChanged"]);
}

#[test]
fn every_class_has_a_damage() {
    let fired: BTreeSet<&str> = DAMAGES.iter().map(|(class, _)| *class).chain(["EpochChanged"]).collect();
    assert_eq!(fired, Violation::CLASSES.into_iter().collect());
}

#[test]
fn events_that_overlap_promise_nothing() {
    let mut history = good();
    let (commit, end) = (history.commits[8], history.ends[8]);
    // Begun before the newest acknowledgement was there, so an older answer is right.
    history.commits.push(Commit { kind: CommitKind::Found, ..history.commits[0] });
    let last = history.commits.len() - 1;
    history.commits[last].begun = commit.begun.min(history.commits[0].ended);
    history.commits[last].ended = 5_000;
    history.ends.push(End { offset: 0, begun: 1, ended: 5_000, ..end });
    assert_eq!(check(&history), []);
}

#[test]
fn the_report_counts_classes() {
    let mut history = good();
    history.log.clear();
    let text = report(&check(&history));
    assert!(text.contains("Lost: 24") && text.contains("ReadAndGone: 25"), "{text}");
}
