//! When other controllers were last in touch.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_metadata::NodeId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::options::Clock;
use crate::raft::{Peer, RaftId};

/// What the leader knows of a replica; ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    pub fetched_ms: i64,
    /// −1 if it was never seen caught up.
    pub caught_up_ms: i64,
}

/// Shared by the connections, the listener and whoever reports; one entry for each controller that was ever reached.
pub struct Contacts {
    clock: Clock,
    replicas: Mutex<BTreeMap<RaftId, Contact>>,
    heard: Mutex<Option<Call>>,
}

/// The last call of whoever led.
#[derive(Debug, Clone, Copy)]
struct Call {
    term: u64,
    leader: RaftId,
    at: Instant,
}

impl Contacts {
    pub fn new(clock: Clock) -> Contacts {
        Contacts { clock, replicas: Mutex::default(), heard: Mutex::default() }
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// A replica answered what was sent to it at `sent_ms`; `whole`: it then had all that the leader had.
    pub fn answered(&self, id: RaftId, sent_ms: i64, whole: bool) {
        let fetched_ms = self.now_ms();
        let mut replicas = self.replicas.lock();
        let contact = replicas.entry(id).or_insert(Contact { fetched_ms, caught_up_ms: -1 });
        contact.fetched_ms = fetched_ms;
        if whole {
            contact.caught_up_ms = contact.caught_up_ms.max(sent_ms);
        }
    }

    pub fn of(&self, id: RaftId) -> Option<Contact> {
        self.replicas.lock().get(&id).copied()
    }

    /// The leader of `term` called. One that was deposed and does not know it is not the leader any more.
    pub fn heard(&self, term: u64, leader: RaftId) {
        let mut heard = self.heard.lock();
        if heard.is_none_or(|last| last.term <= term) {
            *heard = Some(Call { term, leader, at: Instant::now() });
        }
    }

    /// Whether the leader called so recently.
    pub fn heard_within(&self, limit: Duration) -> bool {
        self.heard.lock().is_some_and(|last| last.at.elapsed() <= limit)
    }

    /// Who called last as the leader of a term after `term`, and for how long nothing was heard of it.
    pub fn leader_after(&self, term: u64) -> Option<(RaftId, Duration)> {
        self.heard.lock().filter(|last| last.term > term).map(|last| (last.leader, last.at.elapsed()))
    }
}

/// Where the settings say that controllers are. That stands over what the quorum agreed on, so that a quorum whose
/// controllers all move can still find itself.
#[derive(Debug, Clone, Default)]
pub struct Places(pub BTreeMap<NodeId, (String, u16)>);

impl Places {
    pub fn of<'a>(&'a self, peer: &'a Peer) -> (&'a str, u16) {
        match self.0.get(&peer.controller) {
            Some((host, port)) => (host, *port),
            None => (&peer.host, peer.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_leader_of_the_latest_term_is_the_one_that_was_heard() {
        let contacts = Contacts::new(Arc::new(|| 0));
        let leader = |after| contacts.leader_after(after).map(|(leader, _)| leader);
        assert!(leader(0).is_none() && !contacts.heard_within(Duration::MAX));
        contacts.heard(3, 7);
        contacts.heard(2, 8);
        assert_eq!((leader(0), leader(2), leader(3)), (Some(7), Some(7), None));
        contacts.heard(4, 8);
        assert_eq!((leader(3), leader(4)), (Some(8), None));
        assert!(contacts.heard_within(Duration::MAX));
    }
}
