//! Which brokers are connected to the active controller. A connection that breaks is the first sign of a process that
//! died, long before its session runs out.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_metadata::NodeId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A broker's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Here {
    epoch: i64,
    streams: usize,
    /// Since when it is a suspect.
    suspect_ms: Option<i64>,
}

/// A steady clock, in ms since it was made: no change of the time of day touches it.
#[derive(Debug, Clone, Copy)]
pub struct Steady(Instant);

impl Steady {
    pub fn new() -> Steady {
        Steady(Instant::now())
    }

    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub fn at(&self, ms: i64) -> Instant {
        self.0 + std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }
}

/// A broker's last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Raft index of its image then.
    pub applied: u64,
    at_ms: i64,
}

/// Brokers that are or were connected; at most one entry for each.
pub struct Presence {
    brokers: Mutex<BTreeMap<NodeId, Here>>,
    beats: Mutex<BTreeMap<NodeId, Beat>>,
    changed: Notify,
    clock: Steady,
    grace_ms: i64,
}

/// A connection of a broker; it ends when this is dropped.
pub struct Stay {
    presence: Arc<Presence>,
    broker: NodeId,
    epoch: i64,
}

impl Presence {
    /// A suspect that does not come back within `grace_ms` counts as dead.
    pub fn new(clock: Steady, grace_ms: i64) -> Presence {
        Presence { brokers: Mutex::default(), beats: Mutex::default(), changed: Notify::new(), clock, grace_ms }
    }

    /// The broker is connected, in this epoch.
    pub fn come(self: &Arc<Self>, broker: NodeId, epoch: i64) -> Stay {
        let mut brokers = self.brokers.lock();
        let here = brokers.entry(broker).or_insert(Here { epoch, streams: 0, suspect_ms: None });
        if here.epoch != epoch {
            *here = Here { epoch, streams: 0, suspect_ms: None };
        }
        here.streams += 1;
        here.suspect_ms = None;
        Stay { presence: Arc::clone(self), broker, epoch }
    }

    /// Nothing listens at the broker's address.
    pub fn refused(&self, broker: NodeId, epoch: i64) {
        let suspect_ms = Some(self.clock.now_ms());
        let mut brokers = self.brokers.lock();
        let here = brokers.entry(broker).or_insert(Here { epoch, streams: 0, suspect_ms });
        if here.epoch == epoch && here.streams == 0 {
            here.suspect_ms = here.suspect_ms.or(suspect_ms);
            self.changed.notify_one();
        }
    }

    fn leave(&self, broker: NodeId, epoch: i64) {
        let mut brokers = self.brokers.lock();
        let Some(here) = brokers.get_mut(&broker).filter(|here| here.epoch == epoch) else { return };
        here.streams = here.streams.saturating_sub(1);
        if here.streams == 0 {
            here.suspect_ms = Some(self.clock.now_ms());
            self.changed.notify_one();
        }
    }

    /// The broker was heard of.
    pub fn note(&self, broker: NodeId, applied: u64) {
        self.beats.lock().insert(broker, Beat { applied, at_ms: self.clock.now_ms() });
    }

    /// What the broker last said, and how many ms ago.
    pub fn last_beat(&self, broker: NodeId) -> Option<(u64, i64)> {
        let beat = self.beats.lock().get(&broker).copied()?;
        Some((beat.applied, self.clock.now_ms() - beat.at_ms))
    }

    /// This controller begins anew: whoever left when it did not lead may be with another one.
    pub fn begin(&self) {
        self.brokers.lock().retain(|_, here| here.streams > 0);
        self.beats.lock().clear();
    }

    pub fn is_here(&self, broker: NodeId, epoch: i64) -> bool {
        self.brokers.lock().get(&broker).is_some_and(|here| here.epoch == epoch && here.streams > 0)
    }

    /// A suspect whose grace is over: broker and epoch. It is forgotten with this.
    pub fn take_dead(&self, now_ms: i64) -> Option<(NodeId, i64)> {
        let mut brokers = self.brokers.lock();
        let over = |here: &Here| here.suspect_ms.is_some_and(|since| now_ms - since >= self.grace_ms);
        let (id, here) = brokers.iter().find(|(_, here)| over(here)).map(|(id, here)| (*id, *here))?;
        brokers.remove(&id);
        Some((id, here.epoch))
    }

    /// When the next grace is over, in ms of the steady clock.
    pub fn next_ms(&self) -> Option<i64> {
        self.brokers.lock().values().filter_map(|here| here.suspect_ms).min().map(|since| since + self.grace_ms)
    }

    /// Returns when a broker became a suspect.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.presence.leave(self.broker, self.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: i64 = 1_000_000;

    #[test]
    fn a_broken_connection_makes_a_suspect_and_a_new_one_clears_it() {
        let clock = Steady::new();
        let presence = Arc::new(Presence::new(clock, 200));
        let first = presence.come(1, 7);
        let second = presence.come(1, 7);
        drop(first);
        assert_eq!(presence.next_ms(), None);
        drop(second);
        let over = presence.next_ms().unwrap();
        assert!(over >= 200 && presence.take_dead(over - 1).is_none());
        let third = presence.come(1, 7);
        assert_eq!((presence.next_ms(), presence.take_dead(LATE)), (None, None));
        drop(third);
        assert_eq!(presence.take_dead(LATE), Some((1, 7)));
        assert_eq!(presence.take_dead(LATE), None);
    }

    #[test]
    fn only_the_present_incarnation_counts() {
        let presence = Arc::new(Presence::new(Steady::new(), 0));
        let old = presence.come(1, 7);
        let new = presence.come(1, 8);
        drop(old);
        assert!(presence.is_here(1, 8) && presence.take_dead(LATE).is_none());
        presence.refused(1, 8);
        presence.refused(2, 3);
        assert_eq!((presence.take_dead(LATE), presence.take_dead(LATE)), (Some((2, 3)), None));
        drop(new);
        assert_eq!(presence.take_dead(LATE), Some((1, 8)));
    }
}
