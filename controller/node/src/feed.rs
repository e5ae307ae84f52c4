//! The latest applied entries, for those who follow the metadata.

use std::collections::VecDeque;
use std::sync::Arc;

use millrace_metadata::Record;
use parking_lot::Mutex;

/// Entries and records that are kept; whoever is further behind gets a whole image.
const ENTRIES_MAX: usize = 4096;
const RECORDS_MAX: usize = 24_000;
/// Entries that are handed out at a time.
const BATCH: usize = 64;

/// An entry that was applied here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    pub index: u64,
    pub term: u64,
    /// None for an entry of Raft's own, and for a proposal that came too late.
    pub records: Arc<[Record]>,
}

/// What a follower at some index gets next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// In order, without gaps; none if there is nothing new.
    Entries(Vec<Fed>),
    /// The entries are not here any more.
    TooFarBehind,
    /// What it has applied is no part of this history.
    OtherHistory,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Fed>,
    records: usize,
}

/// A bounded window of the latest entries.
#[derive(Default)]
pub struct Feed {
    ring: Mutex<Ring>,
}

impl Feed {
    /// Entries come in order, without gaps.
    pub fn push(&self, entry: Fed) {
        let mut ring = self.ring.lock();
        ring.records += entry.records.len();
        ring.entries.push_back(entry);
        while ring.entries.len() > ENTRIES_MAX || (ring.records > RECORDS_MAX && ring.entries.len() > 1) {
            if let Some(old) = ring.entries.pop_front() {
                ring.records -= old.records.len();
            }
        }
    }

    /// Forgets everything: the image made a leap.
    pub fn clear(&self) {
        *self.ring.lock() = Ring::default();
    }

    /// What comes after the entry with this index and term.
    pub fn after(&self, index: u64, term: u64) -> Next {
        let ring = self.ring.lock();
        let Some(first) = ring.entries.front().map(|e| e.index) else {
            return Next::TooFarBehind;
        };
        if index > 0 && index >= first {
            let at = usize::try_from(index - first).unwrap_or(usize::MAX);
            if ring.entries.get(at).is_some_and(|e| e.term != term) {
                return Next::OtherHistory;
            }
        }
        if index + 1 < first {
            return Next::TooFarBehind;
        }
        let skip = usize::try_from(index + 1 - first).unwrap_or(usize::MAX);
        Next::Entries(ring.entries.iter().skip(skip).take(BATCH).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, records: usize) -> Fed {
        let record = Record::ClusterId { id: "c".into() };
        Fed { index, term: 1, records: vec![record; records].into() }
    }

    fn indexes(next: Next) -> Vec<u64> {
        let Next::Entries(entries) = next else { panic!("{next:?}") };
        entries.iter().map(|e| e.index).collect()
    }

    #[test]
    fn followers_get_what_comes_next() {
        let feed = Feed::default();
        assert_eq!(feed.after(0, 0), Next::TooFarBehind);
        (5..=8).for_each(|index| feed.push(entry(index, 1)));
        assert_eq!(feed.after(3, 1), Next::TooFarBehind);
        assert_eq!(indexes(feed.after(4, 1)), [5, 6, 7, 8]);
        assert_eq!(indexes(feed.after(7, 1)), [8]);
        assert!(indexes(feed.after(8, 1)).is_empty() && indexes(feed.after(20, 1)).is_empty());
        assert_eq!(feed.after(7, 2), Next::OtherHistory);
    }

    #[test]
    fn the_window_is_bounded_and_keeps_the_newest() {
        let feed = Feed::default();
        feed.push(entry(1, RECORDS_MAX));
        assert_eq!(indexes(feed.after(0, 0)), [1]);
        feed.push(entry(2, RECORDS_MAX + 1));
        assert_eq!(feed.after(0, 0), Next::TooFarBehind);
        assert_eq!(indexes(feed.after(1, 1)), [2]);
        (3..3 + ENTRIES_MAX as u64).for_each(|index| feed.push(entry(index, 0)));
        assert_eq!(feed.after(1, 1), Next::TooFarBehind);
        assert_eq!(indexes(feed.after(2, 1)).len(), BATCH);
    }
}
