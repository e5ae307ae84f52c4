//! Judges what happened to records: what was sent, acknowledged, read and committed, against what is in the log.
//! The definitions stand in README.md beside this file.

mod commits;
mod judge;
#[cfg(test)]
mod tests;
mod verdict;

pub use judge::check;
pub use verdict::{Violation, report};

/// Nanoseconds since the start of the test.
pub type Moment = u64;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    pub id: Id,
    pub partition: i32,
    pub begun: Moment,
    pub outcome: Outcome,
    /// The client may have sent it again by itself: what the acknowledgement came from may be a later leader than the
    /// one that wrote the record.
    pub resent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged { offset: i64, at: Moment },
    Failed,
    Unknown,
}

/// A record that a reader was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The reader's unbroken walk through one partition; unique over all readers.
    pub session: u64,
    pub at: At,
    /// The leader epoch of the batch, if the reader sees batches.
    pub epoch: Option<i32>,
}

/// The end of a partition as its leader named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub partition: i32,
    /// The leader's epoch, which the question named.
    pub epoch: i32,
    pub offset: i64,
    pub begun: Moment,
    pub ended: Moment,
}

/// An offset of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub partition: i32,
    /// −1 if none was found.
    pub offset: i64,
    pub kind: CommitKind,
    pub begun: Moment,
    pub ended: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    Acknowledged,
    Unknown,
    Found,
}

/// A record of the final read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    pub at: At,
    pub epoch: i32,
}

/// Everything that was observed.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sends: Vec<Send>,
    /// Each session's in its order.
    pub reads: Vec<Read>,
    pub ends: Vec<End>,
    pub commits: Vec<Commit>,
    /// Each partition in reading order.
    pub log: Vec<Logged>,
}

impl History {
    /// Adds what another client observed.
    pub fn add(&mut self, other: History) {
        self.sends.extend(other.sends);
        self.reads.extend(other.reads);
        self.ends.extend(other.ends);
        self.commits.extend(other.commits);
        self.log.extend(other.log);
    }

    pub fn acknowledged(&self) -> usize {
        self.sends.iter().filter(|s| matches!(s.outcome, Outcome::Acknowledged { .. })).count()
    }
}
