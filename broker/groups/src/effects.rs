//! What a transition asks the runtime to do.

use crate::types::{JoinAnswer, SyncAnswer};

/// The two requests that wait inside a group. A waiter is moved into its answer, so that it gets one at most.
pub trait Waiters {
    type Join;
    type Sync;
}

/// When an answer may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// At once: it says nothing that a crash could take back.
    Now,
    /// When all records that the shard has produced so far are committed.
    Committed,
}

/// The outcome of a transition, to be performed in this order: records, then answers.
pub struct Effects<W: Waiters> {
    pub records: Records,
    pub joins: Vec<(W::Join, JoinAnswer, Release)>,
    pub syncs: Vec<(W::Sync, SyncAnswer, Release)>,
}

impl<W: Waiters> Default for Effects<W> {
    fn default() -> Self {
        Effects { records: Records::default(), joins: Vec::new(), syncs: Vec::new() }
    }
}

/// Records to append, in one buffer: no allocation for each of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    key_end: usize,
    /// None: a tombstone.
    value_end: Option<usize>,
}

impl Records {
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Adds a record; returns the length of its value.
    pub fn put(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let key_end = self.bytes.len();
        value(&mut self.bytes);
        let value_end = self.bytes.len();
        self.spans.push(Span { start, key_end, value_end: Some(value_end) });
        value_end - key_end
    }

    /// Adds a tombstone.
    pub fn delete(&mut self, key: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        self.spans.push(Span { start, key_end: self.bytes.len(), value_end: None });
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.spans.iter().map(|span| {
            let value = span.value_end.map(|end| &self.bytes[span.key_end..end]);
            (&self.bytes[span.start..span.key_end], value)
        })
    }
}
