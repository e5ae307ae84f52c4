//! The controllers as one linear log: `decide` on the newest image, and every decision agreed at once. What Raft adds,
//! namely that there is one such log, is proven elsewhere; here controllers change, forget their sessions, and lose
//! requests and answers.

use std::sync::Arc;

use millrace_metadata::command::Heartbeat;
use millrace_metadata::features::{TABLE, too_early};
use millrace_metadata::{Command, Image, NodeId, Record, Reply};
use millrace_state::{Cx, Defaults, Draft, Session, Sessions, bootstrap, decide_into};
use rand::rngs::StdRng;

pub const CLUSTER: &str = "sim";
/// A broker that was not heard of for so long is fenced.
pub const SESSION_MS: i64 = 1_500;

/// Index of the entry that the cluster starts with.
const FIRST: u64 = 1;

/// One agreed entry and the image with it.
pub struct Entry {
    pub records: Vec<Record>,
    pub image: Arc<Image>,
}

pub struct Controller {
    /// The first one has index `FIRST`, and there are no gaps.
    entries: Vec<Entry>,
    sessions: Sessions,
    pub defaults: Defaults,
    rng: StdRng,
    term: u64,
    /// Until then there is no active controller, µs.
    pub down_until: u64,
}

impl Controller {
    pub fn new(rng: StdRng, now_ms: i64) -> Controller {
        let mut image = Image::at(FIRST, 1);
        let records = bootstrap(CLUSTER, TABLE, None);
        records.iter().for_each(|r| image.apply(r));
        let mut controller = Controller {
            entries: vec![Entry { records, image: Arc::new(image) }],
            sessions: Sessions::new(SESSION_MS),
            defaults: Defaults::default(),
            rng,
            term: 1,
            down_until: 0,
        };
        controller.elected(now_ms);
        controller
    }

    /// The newest image.
    pub fn image(&self) -> &Arc<Image> {
        &self.entries[self.entries.len() - 1].image
    }

    pub fn index(&self) -> u64 {
        self.image().index
    }

    /// The entry at this index, if it is agreed.
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(FIRST)?).ok()?)
    }

    /// Another controller becomes active: it knows what is agreed and gives every broker a full session.
    pub fn elected(&mut self, now_ms: i64) {
        self.term += 1;
        self.sessions = Sessions::new(SESSION_MS);
        let brokers: Vec<(NodeId, i64)> = self.image().brokers().map(|b| (b.id, b.epoch)).collect();
        for (id, broker_epoch) in brokers {
            self.sessions.heard(id, Session { broker_epoch, last_heard_ms: now_ms, applied: 0 });
        }
    }

    /// Decides and agrees on it.
    pub fn submit(&mut self, command: &Command, now_ms: i64) -> Reply {
        let mut draft = Draft::new((**self.image()).clone());
        let Controller { rng, defaults, sessions, .. } = self;
        let reply = decide_into(&mut draft, command, &mut Cx { now_ms, rng, defaults, sessions, quorum: &[] });
        match (command, &reply) {
            (Command::RegisterBroker { registration, .. }, Reply::RegisterBroker(Ok(registered))) => {
                let session = Session { broker_epoch: registered.epoch, last_heard_ms: now_ms, applied: 0 };
                self.sessions.heard(registration.id, session);
            }
            (
                Command::BrokerHeartbeat(Heartbeat { broker, broker_epoch, applied, .. }),
                Reply::BrokerHeartbeat(Ok(_)),
            ) => {
                let session = Session { broker_epoch: *broker_epoch, last_heard_ms: now_ms, applied: *applied };
                self.sessions.heard(*broker, session);
            }
            _ => {}
        }
        self.agree(draft.into_records());
        reply
    }

    /// What the controller decides by itself, such as sweeps.
    pub fn decide_own(&mut self, decide: impl FnOnce(&mut Draft, &Defaults)) {
        let mut draft = Draft::new((**self.image()).clone());
        decide(&mut draft, &self.defaults);
        self.agree(draft.into_records());
    }

    /// Makes records facts.
    pub fn agree(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        assert_eq!(too_early(&self.image().features, &records), None, "a record before its level: {records:?}");
        let mut image = (**self.image()).clone();
        image.index += 1;
        image.term = self.term;
        records.iter().for_each(|r| image.apply(r));
        self.entries.push(Entry { records, image: Arc::new(image) });
    }

    /// Fences the broker that was silent for longest, if it was for too long.
    pub fn fence_expired(&mut self, now_ms: i64) {
        if let Some((broker, broker_epoch)) = self.sessions.expired(now_ms) {
            self.submit(&Command::FenceBroker { broker, broker_epoch }, now_ms);
            self.sessions.lost(broker);
        }
    }

    /// The broker's process is gone, as its broken stream says.
    pub fn suspect(&mut self, broker: NodeId, broker_epoch: i64, now_ms: i64) {
        if self.image().broker(broker).is_some_and(|b| b.epoch == broker_epoch) {
            self.submit(&Command::FenceBroker { broker, broker_epoch }, now_ms);
            self.sessions.lost(broker);
        }
    }
}
