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
    heard: Mutex<Option<Instant>>,
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

    /// The leader called.
    pub fn heard(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Whether the leader called so recently.
    pub fn heard_within(&self, limit: Duration) -> bool {
        self.heard.lock().is_some_and(|at| at.elapsed() <= limit)
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
