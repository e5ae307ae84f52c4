//! Incremental fetch sessions (KIP-227; Kafka's `FetchSession`, `FetchContext`, `FetchSessionCacheShard`).
//!
//! A session remembers which partitions a client reads and what it was told last, so that a request names only
//! changes and an answer only news. The cache has a fixed number of slots and a bound on all partitions together;
//! a client that finds no room is answered with session id 0 and sends full requests.
//!
//! Locks: the cache's lock may be held while a session's lock is taken, never the other way round, and neither is
//! held while partitions are read.

mod cache;
mod parts;

use std::sync::Arc;

use millrace_replica::Feed;
use parking_lot::Mutex;

pub use cache::FetchSessions;
use parts::NOTHING_SENT;
pub use parts::{Parts, Target, TargetTopic, Targets, TopicKey, Wanted};

/// Epoch of a full request that asks for a session.
pub const INITIAL_EPOCH: i32 = 0;
/// Epoch of a full request that wants no session, or ends the one it names.
pub const FINAL_EPOCH: i32 = -1;
/// Session id that means "none".
pub const NO_SESSION: i32 = 0;

/// The session part of a fetch request.
#[derive(Debug)]
pub struct Ask {
    /// Session id, 0 for none.
    pub id: i32,
    /// Session epoch.
    pub epoch: i32,
    /// Whether topics are named by id (v13 and later).
    pub by_topic_id: bool,
    /// Whether a follower asks; its session is not pushed out by a consumer's, and knows which partitions have news.
    pub follower: Option<Follower>,
    /// Partitions that are named in the request, in its order; the last mention of a partition counts.
    pub wanted: Vec<(TopicKey, i32, Wanted)>,
    /// Partitions that the session shall forget.
    pub forgotten: Vec<(TopicKey, i32)>,
}

/// A follower that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Whether it is to hear at once of a high watermark that moved: consumers read from it (KIP-392).
    pub eager: bool,
}

/// Why a session could not be used. The client then falls back to a full request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// No such session: FETCH_SESSION_ID_NOT_FOUND.
    NotFound,
    /// Not the next epoch: INVALID_FETCH_SESSION_EPOCH.
    InvalidEpoch,
    /// The session names topics in the other way: FETCH_SESSION_TOPIC_ID_ERROR.
    TopicIdMismatch,
}

/// What a request turned out to be.
#[derive(Debug)]
pub enum Context {
    /// A full request without a session.
    Sessionless(Parts),
    /// A full request that asks for a session; it is made when the answer is.
    Full {
        /// The partitions of the request.
        parts: Parts,
        /// As in [`Ask`].
        by_topic_id: bool,
        /// Of a follower: what has news.
        feed: Option<Arc<Feed>>,
    },
    /// A request within a session.
    Incremental {
        /// The session.
        session: Arc<Session>,
        /// The epoch that the session must still have when the answer is made.
        epoch: i32,
        /// Slots of the partitions that the request names.
        named: Vec<u32>,
    },
}

/// What was found for one partition of [`Targets`], as far as the session cares.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// High watermark, -1 if unknown.
    pub high_watermark: i64,
    /// Log start offset, -1 if unknown.
    pub log_start: i64,
    /// Whether records are returned.
    pub data: bool,
    /// Whether an error is returned.
    pub error: bool,
    /// Whether the partition must be answered for another reason: a diverging epoch or a preferred replica.
    pub urgent: bool,
}

/// How to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Session id for the answer.
    pub session_id: i32,
    /// Error for the whole answer, which then has no partitions.
    pub error: Option<SessionError>,
    /// Which of the partitions to answer, in the order of [`Targets`]; `None` = all.
    pub answer: Option<Vec<bool>>,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    id: i32,
    by_topic_id: bool,
    /// Of a follower's session.
    feed: Option<Arc<Feed>>,
    created_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    epoch: i32,
    parts: Parts,
}

/// The epoch of the request after one of the given epoch; 2³¹−1 is followed by 1.
fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        negative if negative < 0 => FINAL_EPOCH,
        other => other + 1,
    }
}

impl Context {
    /// Everything that is to be read, in reading order.
    pub fn targets(&self) -> Targets {
        match self {
            Context::Sessionless(parts) | Context::Full { parts, .. } => parts.targets(),
            Context::Incremental { session, .. } => session.state.lock().parts.targets(),
        }
    }

    /// What tells of news in a follower's session; `None` for consumers, and for a follower without a session.
    pub fn feed(&self) -> Option<Arc<Feed>> {
        match self {
            Context::Sessionless(_) => None,
            Context::Full { feed, .. } => feed.clone(),
            Context::Incremental { session, .. } => session.feed.clone(),
        }
    }

    /// Slots of the partitions that the request names.
    pub fn named(&self) -> Vec<u32> {
        match self {
            Context::Sessionless(parts) | Context::Full { parts, .. } => parts.slots(),
            Context::Incremental { named, .. } => named.clone(),
        }
    }

    /// What stands in the given slots, in their order.
    pub fn targets_of(&self, slots: &[u32]) -> Targets {
        match self {
            Context::Sessionless(parts) | Context::Full { parts, .. } => parts.targets_of(slots),
            Context::Incremental { session, .. } => session.state.lock().parts.targets_of(slots),
        }
    }

    /// Remembers which of the partitions in the given slots tell the feed of news.
    pub fn set_fed(&mut self, slots: impl Iterator<Item = (u32, bool)>) {
        let set = |parts: &mut Parts| slots.for_each(|(slot, fed)| parts.set_fed(slot, fed));
        match self {
            Context::Sessionless(parts) | Context::Full { parts, .. } => set(parts),
            Context::Incremental { session, .. } => set(&mut session.state.lock().parts),
        }
    }

    /// Keeps the name that a topic id was resolved to.
    pub fn learn_name(&mut self, key: &TopicKey, name: &Arc<str>) {
        match self {
            Context::Sessionless(_) => {}
            Context::Full { parts, .. } => parts.learn_name(key, name),
            Context::Incremental { session, .. } => session.state.lock().parts.learn_name(key, name),
        }
    }

    /// Decides what is answered, and remembers it. `outcomes` stand in the order of `targets`.
    pub fn finish(self, sessions: &FetchSessions, now_ms: i64, targets: &Targets, outcomes: &[Outcome]) -> Verdict {
        match self {
            Context::Sessionless(_) => Verdict { session_id: NO_SESSION, error: None, answer: None },
            Context::Full { mut parts, by_topic_id, feed } => {
                for (target, outcome) in targets.partitions.iter().zip(outcomes) {
                    if let Some(sent) = parts.sent(target.slot) {
                        sent.high_watermark = outcome.high_watermark;
                        sent.log_start = outcome.log_start;
                    }
                }
                let session_id = sessions.create(now_ms, feed, by_topic_id, parts);
                Verdict { session_id, error: None, answer: None }
            }
            Context::Incremental { session, epoch, .. } => session.news(epoch, targets, outcomes),
        }
    }
}

impl Session {
    /// Whether consumers cannot push it out.
    fn is_privileged(&self) -> bool {
        self.feed.is_some()
    }

    fn news(&self, epoch: i32, targets: &Targets, outcomes: &[Outcome]) -> Verdict {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return Verdict { session_id: self.id, error: Some(SessionError::InvalidEpoch), answer: Some(Vec::new()) };
        }
        let mut answer = Vec::with_capacity(outcomes.len());
        let mut returned_data = Vec::new();
        for (at, (target, outcome)) in targets.partitions.iter().zip(outcomes).enumerate() {
            answer.push(match state.parts.sent(target.slot) {
                Some(sent) => is_news(sent, outcome),
                None => true,
            });
            if outcome.data {
                returned_data.push(at);
            }
        }
        // A follower's request does not go through the partitions in order.
        if self.feed.is_none() {
            state.parts.move_to_end(&returned_data);
        }
        Verdict { session_id: self.id, error: None, answer: Some(answer) }
    }
}

fn is_news(sent: &mut parts::Sent, outcome: &Outcome) -> bool {
    let moved = sent.high_watermark != outcome.high_watermark || sent.log_start != outcome.log_start;
    sent.high_watermark = outcome.high_watermark;
    sent.log_start = outcome.log_start;
    if outcome.error {
        // The answer after the error must be sent, whatever it is.
        sent.high_watermark = NOTHING_SENT.high_watermark;
    }
    moved || outcome.data || outcome.error || outcome.urgent
}

#[cfg(test)]
mod tests;
