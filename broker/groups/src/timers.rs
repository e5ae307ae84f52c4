//! The deadlines of one shard, in the order in which they fall due.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The time of a transition, in milliseconds. Two clocks, because the time of day may be set: deadlines must not fall
/// due or stand still with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since 1970: what is stored.
    pub wall_ms: i64,
    /// Since any moment, never set: what deadlines are measured by.
    pub steady_ms: i64,
}

/// What falls due. A key that no longer fits the group's state is ignored, so that deadlines may be left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// A member, or a client that was given a member id, has shown no sign of life.
    Session { group: Arc<str>, member: Arc<str> },
    /// The wait for joining members is over.
    Join { group: Arc<str> },
    /// The wait for the members' SyncGroup is over.
    Sync { group: Arc<str> },
}

/// Names a deadline; deadlines of the same instant keep the order in which they were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    pub at_ms: i64,
    seq: u64,
}

#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeMap<TimerId, Due>,
    seq: u64,
}

impl Timers {
    pub fn set(&mut self, at_ms: i64, due: Due) -> TimerId {
        self.seq += 1;
        let id = TimerId { at_ms, seq: self.seq };
        self.queue.insert(id, due);
        id
    }

    pub fn cancel(&mut self, id: TimerId) {
        self.queue.remove(&id);
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<i64> {
        self.queue.first_key_value().map(|(id, _)| id.at_ms)
    }

    /// Takes the earliest deadline that has passed.
    pub fn pop(&mut self, now_ms: i64) -> Option<(TimerId, Due)> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().at_ms <= now_ms)?;
        Some(entry.remove_entry())
    }
}

/// A deadline that moves later much more often than it falls due (a session): only the first one is queued, and when
/// it comes up, it is put back at where the deadline has moved to meanwhile. A heartbeat is one store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moving {
    deadline_ms: i64,
    queued: Option<TimerId>,
}

impl Moving {
    /// Moves the deadline to `at_ms`.
    pub fn move_to(&mut self, timers: &mut Timers, at_ms: i64, due: impl FnOnce() -> Due) {
        self.deadline_ms = at_ms;
        match self.queued {
            Some(queued) if queued.at_ms <= at_ms => {}
            Some(later) => {
                timers.cancel(later);
                self.queued = Some(timers.set(at_ms, due()));
            }
            None => self.queued = Some(timers.set(at_ms, due())),
        }
    }

    pub fn cancel(&mut self, timers: &mut Timers) {
        if let Some(queued) = self.queued.take() {
            timers.cancel(queued);
        }
    }

    /// `id` came up: true if the deadline has really passed. If it has moved on, it is queued again.
    pub fn came_up(&mut self, timers: &mut Timers, id: TimerId, now_ms: i64, due: impl FnOnce() -> Due) -> bool {
        if self.queued != Some(id) {
            return false;
        }
        self.queued = None;
        if self.deadline_ms <= now_ms {
            return true;
        }
        self.queued = Some(timers.set(self.deadline_ms, due()));
        false
    }
}
