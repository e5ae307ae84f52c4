//! When brokers were last heard of. Known to the active controller only, and rebuilt by a new one.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_metadata::NodeId;

/// A broker that was silent before has at least this share of a session to say to a new active controller that it
/// lives: one third, in which two heartbeats are due.
const SHOW_UP_SHARE: i64 = 3;

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

    /// The broker should be alive. It gets a whole session to show up, but a successor need not wait for that. If
    /// nothing was heard of its process for a while, that counts, as long as enough is left to say that it lives.
    /// Silence of more than a session says nothing: a controller that itself was away heard nobody.
    pub fn presume(&mut self, broker: NodeId, broker_epoch: i64, now_ms: i64, silence: Duration) {
        let most = self.timeout_ms - self.timeout_ms / SHOW_UP_SHARE;
        let silent_ms = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        let silent_ms = if silent_ms < self.timeout_ms { silent_ms.min(most) } else { 0 };
        self.presumed.insert(broker, Session { broker_epoch, last_heard_ms: now_ms - silent_ms, applied: 0 });
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

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT_MS: i64 = 3000;

    /// When a broker is given up of which nothing was heard for so long before the controller became active at 10 s.
    fn given_up(silent_ms: u64) -> i64 {
        let mut sessions = Sessions::new(TIMEOUT_MS);
        sessions.presume(1, 7, 10_000, Duration::from_millis(silent_ms));
        let at = sessions.next_expiry_ms().unwrap();
        assert_eq!((sessions.expired(at - 1), sessions.expired(at)), (None, Some((1, 7))));
        at
    }

    #[test]
    fn silence_before_an_election_counts_and_leaves_time_to_show_up() {
        assert_eq!(given_up(0), 13_000);
        // The lease and the longest election timeout: the session is over when it would have been without an election.
        assert_eq!(given_up(1_600), 11_400);
        assert_eq!(given_up(2_000), 11_000);
        assert_eq!(given_up(2_999), 11_000);
        assert_eq!(given_up(3_000), 13_000);
    }

    #[test]
    fn who_shows_up_has_a_whole_session_again() {
        let mut sessions = Sessions::new(TIMEOUT_MS);
        sessions.presume(1, 7, 10_000, Duration::from_secs(2));
        assert!(!sessions.is_live(1, 10_000), "a successor need not wait");
        sessions.heard(1, Session { broker_epoch: 7, last_heard_ms: 10_900, applied: 0 });
        assert_eq!(sessions.expired(13_899), None);
        assert_eq!(sessions.expired(13_900), Some((1, 7)));
    }
}
