//! The bounded cache of sessions, with Kafka's rules on who may push out whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use millrace_replica::Feed;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::parts::Parts;
use super::{Ask, Context, FINAL_EPOCH, Follower, INITIAL_EPOCH, NO_SESSION, Session, SessionError, State, next_epoch};

/// A session that was idle for longer may be pushed out by any new one, in milliseconds
/// (Kafka's `min.incremental.fetch.session.eviction.ms`).
pub const EVICTION_MS: i64 = 120_000;

/// Most partitions that all sessions together may remember; a session costs about 75 bytes for each.
pub const MAX_CACHED_PARTITIONS: usize = 2_000_000;

/// All fetch sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    slots: usize,
    rng: StdRng,
    sessions: HashMap<i32, Entry>,
    partitions: usize,
    /// (last use, id).
    by_use: BTreeSet<(i64, i32)>,
    /// (privileged, partitions, id) of the sessions that are old enough to be pushed out by a bigger one.
    evictable_by_all: BTreeSet<(bool, usize, i32)>,
    /// The same, and besides them every consumer's session: what a follower may push out.
    evictable_by_privileged: BTreeSet<(bool, usize, i32)>,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    used_ms: i64,
    size: usize,
}

impl FetchSessions {
    /// An empty cache with the given number of slots (`max.incremental.fetch.session.cache.slots`); session ids are
    /// drawn from a generator that starts at `seed`.
    pub fn new(slots: usize, seed: u64) -> Self {
        let cache = Cache {
            slots,
            rng: StdRng::seed_from_u64(seed),
            sessions: HashMap::new(),
            partitions: 0,
            by_use: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_privileged: BTreeSet::new(),
        };
        Self { cache: Mutex::new(cache) }
    }

    /// Finds out what a request is, and applies its changes to the session that it names.
    pub fn open(&self, now_ms: i64, ask: Ask) -> Result<Context, SessionError> {
        if ask.epoch == INITIAL_EPOCH || ask.epoch == FINAL_EPOCH {
            if ask.id != NO_SESSION {
                self.cache.lock().remove(ask.id);
            }
            let parts = collect(&ask);
            return Ok(match ask.epoch {
                FINAL_EPOCH => Context::Sessionless(parts),
                _ => Context::Full { parts, by_topic_id: ask.by_topic_id, feed: ask.follower.map(feed) },
            });
        }
        self.cache.lock().open_incremental(now_ms, &ask)
    }

    /// Number of sessions and of the partitions that they remember.
    pub fn usage(&self) -> (usize, usize) {
        let cache = self.cache.lock();
        (cache.sessions.len(), cache.partitions)
    }

    /// Makes a session if there is room, or room can be made; else 0.
    pub(super) fn create(&self, now_ms: i64, feed: Option<Arc<Feed>>, by_topic_id: bool, parts: Parts) -> i32 {
        let privileged = feed.is_some();
        let mut cache = self.cache.lock();
        if parts.len() + cache.partitions > MAX_CACHED_PARTITIONS {
            return NO_SESSION;
        }
        if cache.sessions.len() >= cache.slots && !cache.evict_for(now_ms, privileged, parts.len()) {
            return NO_SESSION;
        }
        let id = cache.new_id();
        let state = Mutex::new(State { epoch: next_epoch(INITIAL_EPOCH), parts });
        let session = Arc::new(Session { id, by_topic_id, feed, created_ms: now_ms, state });
        cache.sessions.insert(id, Entry { session, used_ms: now_ms, size: 0 });
        cache.by_use.insert((now_ms, id));
        cache.touch(id, now_ms);
        id
    }
}

impl Cache {
    fn open_incremental(&mut self, now_ms: i64, ask: &Ask) -> Result<Context, SessionError> {
        let session = match self.sessions.get(&ask.id) {
            Some(entry) => entry.session.clone(),
            None => return Err(SessionError::NotFound),
        };
        let mut state = session.state.lock();
        if state.epoch != ask.epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.by_topic_id != ask.by_topic_id {
            return Err(SessionError::TopicIdMismatch);
        }
        if self.partitions + ask.wanted.len() > MAX_CACHED_PARTITIONS {
            drop(state);
            self.remove(ask.id);
            return Err(SessionError::NotFound);
        }
        let upsert = |(key, partition, wanted): &(_, i32, _)| state.parts.upsert(key, *partition, *wanted);
        let named = ask.wanted.iter().map(upsert).collect();
        state.parts.remove_all(ask.forgotten.iter().map(|(key, partition)| (key, *partition)));
        if state.parts.is_empty() {
            drop(state);
            self.remove(ask.id);
            return Ok(Context::Sessionless(collect(ask)));
        }
        state.epoch = next_epoch(state.epoch);
        let epoch = state.epoch;
        drop(state);
        self.touch(ask.id, now_ms);
        if let Some(feed) = &session.feed {
            // An earlier request of the session that is still parked ends.
            feed.wake();
        }
        Ok(Context::Incremental { session, epoch, named })
    }

    /// A new session may push out one that is stale, or one that is worth less: a consumer's for a follower, or a
    /// smaller one that is not young.
    fn evict_for(&mut self, now_ms: i64, privileged: bool, size: usize) -> bool {
        let Some(&(used_ms, id)) = self.by_use.first() else {
            return false;
        };
        if now_ms - used_ms > EVICTION_MS {
            self.remove(id);
            return true;
        }
        let candidates = if privileged { &self.evictable_by_privileged } else { &self.evictable_by_all };
        match candidates.first() {
            Some(&candidate) if (privileged, size, 0) > candidate => {
                self.remove(candidate.2);
                true
            }
            Some(_) | None => false,
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.sessions.remove(&id) {
            self.by_use.remove(&(entry.used_ms, id));
            let key = (entry.session.is_privileged(), entry.size, id);
            self.evictable_by_all.remove(&key);
            self.evictable_by_privileged.remove(&key);
            self.partitions -= entry.size;
        }
    }

    fn touch(&mut self, id: i32, now_ms: i64) {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        let privileged = entry.session.is_privileged();
        let size = entry.session.state.lock().parts.len();
        if entry.used_ms != now_ms {
            self.by_use.remove(&(entry.used_ms, id));
            self.by_use.insert((now_ms, id));
        }
        let old = (privileged, entry.size, id);
        self.partitions = self.partitions - entry.size + size;
        let settled = now_ms - entry.session.created_ms > EVICTION_MS;
        entry.used_ms = now_ms;
        entry.size = size;
        let new = (privileged, size, id);
        if old != new {
            self.evictable_by_all.remove(&old);
            self.evictable_by_privileged.remove(&old);
        }
        if !privileged || settled {
            self.evictable_by_privileged.insert(new);
        }
        if settled {
            self.evictable_by_all.insert(new);
        }
    }

    fn new_id(&mut self) -> i32 {
        loop {
            let id = self.rng.random_range(1..=i32::MAX);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

fn feed(follower: Follower) -> Arc<Feed> {
    if follower.eager { Feed::new_eager() } else { Feed::new() }
}

fn collect(ask: &Ask) -> Parts {
    let mut parts = Parts::default();
    for (key, partition, wanted) in &ask.wanted {
        parts.upsert(key, *partition, *wanted);
    }
    parts
}
