//! When brokers were last heard of. Known to the active controller only, and rebuilt by a new one.

use std::collections::BTreeMap;

use millrace_metadata::NodeId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub broker_epoch: i64,
    pub last_heard_ms: i64,
    /// Raft index up to which the broker has applied the metadata.
    pub applied: u64,
}

/// Sessions of all brokers.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    brokers: BTreeMap<NodeId, Session>,
    /// Brokers that were alive under the controller before this one, and were not heard of since.
    presumed: BTreeMap<NodeId, Session>,
    timeout_ms: i64,
}

impl Sessions {
    pub fn new(timeout_ms: i64) -> Sessions {
        Sessions { brokers: BTreeMap::new(), presumed: BTreeMap::new(), timeout_ms }
    }

    pub fn heard(&mut self, broker: NodeId, session: Session) {
        self.presumed.remove(&broker);
        self.brokers.insert(broker, session);
    }

    /// The broker should be alive. It gets a whole session to show up, but a successor need not wait for that.
    pub fn presume(&mut self, broker: NodeId, session: Session) {
        self.presumed.insert(broker, session);
    }

    pub fn get(&self, broker: NodeId) -> Option<&Session> {
        self.brokers.get(&broker).or_else(|| self.presumed.get(&broker))
    }

    /// The broker's process is known to be gone.
    pub fn lost(&mut self, broker: NodeId) {
        self.brokers.remove(&broker);
        self.presumed.remove(&broker);
    }

    /// Nothing is known of anybody: another controller heard them.
    pub fn clear(&mut self) {
        self.brokers.clear();
        self.presumed.clear();
    }

    /// The controller itself heard nothing for this long: nobody's silence counts.
    pub fn forgive(&mut self, ms: i64) {
        self.brokers.values_mut().chain(self.presumed.values_mut()).for_each(|s| s.last_heard_ms += ms);
    }

    /// The broker was heard of within the session timeout.
    pub fn is_live(&self, broker: NodeId, now_ms: i64) -> bool {
        self.brokers.get(&broker).is_some_and(|s| now_ms - s.last_heard_ms < self.timeout_ms)
    }

    /// Brokers whose sessions ran out, the longest silent one first. They are fenced one at a time, so that each
    /// decision sees the effect of the one before.
    pub fn expired(&self, now_ms: i64) -> Option<(NodeId, i64)> {
        let stale =
            self.brokers.iter().chain(&self.presumed).filter(|(_, s)| now_ms - s.last_heard_ms >= self.timeout_ms);
        stale.min_by_key(|(_, s)| s.last_heard_ms).map(|(id, s)| (*id, s.broker_epoch))
    }

    /// When the next session runs out.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.brokers.values().chain(self.presumed.values()).map(|s| s.last_heard_ms + self.timeout_ms).min()
    }

    /// How far the slowest of these brokers is; `u64::MAX` without any.
    pub fn lowest_applied(&self, brokers: impl Iterator<Item = NodeId>) -> u64 {
        brokers.map(|b| self.brokers.get(&b).map_or(0, |s| s.applied)).min().unwrap_or(u64::MAX)
    }
}
