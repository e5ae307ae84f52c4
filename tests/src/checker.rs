//! Judges what happened to records: what was sent, acknowledged, read and committed, against what is in the log.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A record as its producer knows it: values carry both numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub producer: u32,
    pub number: u64,
}

impl Id {
    pub fn to_value(self) -> Vec<u8> {
        format!("{}/{}", self.producer, self.number).into_bytes()
    }

    pub fn parse(value: &[u8]) -> Option<Id> {
        let (producer, number) = std::str::from_utf8(value).ok()?.split_once('/')?;
        Some(Id { producer: producer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A record at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub partition: i32,
    pub offset: i64,
    pub id: Id,
}

/// Everything that was observed.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Records handed to a producer, acknowledged or not.
    pub sent: BTreeSet<Id>,
    pub acknowledged: Vec<At>,
    /// What consumers saw while brokers died, with repeats.
    pub consumed: Vec<At>,
    /// The log in the end, each partition in reading order.
    pub log: Vec<At>,
    /// Committed offsets of one group: acknowledged commits and what was found later, in order of time.
    pub commits: Vec<Commit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub partition: i32,
    pub offset: i64,
    pub kind: CommitKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    Acknowledged,
    Found,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    Lost(At),
    Moved { acknowledged: At, found: Option<i64> },
    Twice(Id),
    OutOfOrder { before: At, after: At },
    Gap { partition: i32, expected: i64, found: i64 },
    NeverSent(At),
    ReadAndGone(At),
    CommitWentBack { partition: i32, from: i64, to: i64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// All violations of a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut out = Vec::new();
    let places = log_order(history, &mut out);
    for at in &history.acknowledged {
        match places.get(&at.id) {
            None => out.push(Violation::Lost(*at)),
            Some(found) if found.partition != at.partition || found.offset != at.offset => {
                out.push(Violation::Moved { acknowledged: *at, found: Some(found.offset) });
            }
            Some(_) => {}
        }
    }
    // What a consumer saw was committed, so it may not vanish or change.
    let by_offset: BTreeMap<(i32, i64), Id> = history.log.iter().map(|a| ((a.partition, a.offset), a.id)).collect();
    for at in &history.consumed {
        if by_offset.get(&(at.partition, at.offset)) != Some(&at.id) {
            out.push(Violation::ReadAndGone(*at));
        }
    }
    commits(history, &mut out);
    out
}

/// Checks the log by itself and returns where each record stands.
fn log_order(history: &History, out: &mut Vec<Violation>) -> BTreeMap<Id, At> {
    let mut places = BTreeMap::new();
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let mut newest: BTreeMap<(i32, u32), At> = BTreeMap::new();
    for at in &history.log {
        let expected = next.entry(at.partition).or_insert(0);
        if at.offset != *expected {
            out.push(Violation::Gap { partition: at.partition, expected: *expected, found: at.offset });
        }
        *expected = at.offset + 1;
        if !history.sent.contains(&at.id) {
            out.push(Violation::NeverSent(*at));
        }
        match places.entry(at.id) {
            Entry::Occupied(_) => out.push(Violation::Twice(at.id)),
            Entry::Vacant(place) => {
                place.insert(*at);
            }
        }
        if let Some(before) = newest.insert((at.partition, at.id.producer), *at)
            && before.id.number > at.id.number
        {
            out.push(Violation::OutOfOrder { before, after: *at });
        }
    }
    places
}

fn commits(history: &History, out: &mut Vec<Violation>) {
    let mut newest: BTreeMap<i32, i64> = BTreeMap::new();
    for commit in &history.commits {
        let known = newest.entry(commit.partition).or_insert(-1);
        // An acknowledged commit may be any offset; what is found later may not be older than it.
        if commit.kind == CommitKind::Found && commit.offset < *known {
            out.push(Violation::CommitWentBack { partition: commit.partition, from: *known, to: commit.offset });
        }
        *known = commit.offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64, producer: u32, number: u64) -> At {
        At { partition, offset, id: Id { producer, number } }
    }

    /// Two producers in two partitions, all well.
    fn good() -> History {
        let log = vec![at(0, 0, 1, 1), at(0, 1, 2, 1), at(0, 2, 1, 2), at(1, 0, 1, 3), at(1, 1, 2, 2)];
        let found = |offset, kind| Commit { partition: 0, offset, kind };
        History {
            sent: log.iter().map(|a| a.id).chain([Id { producer: 1, number: 9 }]).collect(),
            acknowledged: log[..4].to_vec(),
            consumed: vec![log[0], log[1], log[0]],
            log,
            commits: vec![
                found(1, CommitKind::Acknowledged),
                found(2, CommitKind::Found),
                found(3, CommitKind::Acknowledged),
                found(3, CommitKind::Found),
            ],
        }
    }

    fn damaged(damage: impl FnOnce(&mut History)) -> Vec<Violation> {
        let mut history = good();
        damage(&mut history);
        check(&history)
    }

    #[test]
    fn a_good_history_passes() {
        assert_eq!(check(&good()), []);
    }

    #[test]
    fn a_lost_record_is_seen() {
        let found = damaged(|h| {
            h.log.remove(3);
            h.log[3].offset = 0;
        });
        assert!(found.contains(&Violation::Lost(at(1, 0, 1, 3))), "{found:?}");
    }

    #[test]
    fn a_moved_record_is_seen() {
        let found = damaged(|h| h.log.swap(0, 1));
        assert!(found.iter().any(|v| matches!(v, Violation::Gap { .. })), "{found:?}");
        let found = damaged(|h| {
            let (a, b) = (h.log[0].id, h.log[1].id);
            h.log[0].id = b;
            h.log[1].id = a;
        });
        assert!(found.iter().any(|v| matches!(v, Violation::Moved { .. })), "{found:?}");
    }

    #[test]
    fn a_doubled_record_is_seen() {
        let found = damaged(|h| h.log.push(at(1, 2, 1, 3)));
        assert_eq!(found, [Violation::Twice(Id { producer: 1, number: 3 })]);
    }

    #[test]
    fn disorder_of_one_producer_is_seen() {
        let found = damaged(|h| {
            h.acknowledged.clear();
            h.consumed.clear();
            h.log[0].id.number = 2;
            h.log[2].id.number = 1;
        });
        assert_eq!(found, [Violation::OutOfOrder { before: at(0, 0, 1, 2), after: at(0, 2, 1, 1) }]);
    }

    #[test]
    fn a_gap_is_seen() {
        let found = damaged(|h| h.log.push(at(1, 5, 1, 9)));
        assert_eq!(found, [Violation::Gap { partition: 1, expected: 2, found: 5 }]);
    }

    #[test]
    fn a_record_from_nowhere_is_seen() {
        let found = damaged(|h| h.log.push(at(1, 2, 7, 7)));
        assert_eq!(found, [Violation::NeverSent(at(1, 2, 7, 7))]);
    }

    #[test]
    fn a_record_that_was_read_and_vanished_is_seen() {
        let found = damaged(|h| h.consumed.push(at(1, 2, 1, 9)));
        assert_eq!(found, [Violation::ReadAndGone(at(1, 2, 1, 9))]);
    }

    #[test]
    fn a_commit_that_goes_back_is_seen() {
        let found = damaged(|h| h.commits.push(Commit { partition: 0, offset: 2, kind: CommitKind::Found }));
        assert_eq!(found, [Violation::CommitWentBack { partition: 0, from: 3, to: 2 }]);
    }
}
