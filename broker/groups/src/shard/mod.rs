//! The coordinator of the groups that hash to one partition of `__consumer_offsets`: a state machine without clock,
//! randomness or IO. A transition takes the time as a parameter and returns what is to be done as [`Effects`].
//!
//! State changes at once, before the records behind it are committed. That is safe because everything which a later
//! answer could depend on has an earlier place in the same log: an answer that must not be taken back is released
//! when the records produced so far are committed, and if an append fails, the shard is dropped and read again.

mod admin;
mod join;
mod load;
mod members;
mod offsets;
mod rebalance;
mod sync;
mod tick;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_metadata::ErrorCode;

use crate::classic::ClassicGroup;
use crate::config::{GroupSettings, MAX_STRING};
use crate::effects::{Effects, Waiters};
use crate::timers::{Now, Timers};
use crate::types::{JoinAnswer, SyncAnswer};
use offsets::Offsets;
use rebalance::Turn;

/// Makes the random part of member ids.
pub type UuidSource = Box<dyn FnMut() -> [u8; 16] + Send>;

/// A group of any protocol. Consumer (KIP-848) and share groups become variants of their own.
enum Group<W: Waiters> {
    Classic(ClassicGroup<W>),
}

struct Entry<W: Waiters> {
    group: Group<W>,
    offsets: Offsets,
    /// The value of the group's latest record, for rewriting the log: the group itself may be ahead of it.
    stored: Option<Bytes>,
}

impl<W: Waiters> Entry<W> {
    fn new(wall_ms: i64) -> Entry<W> {
        Entry { group: Group::Classic(ClassicGroup::new(wall_ms)), offsets: Offsets::default(), stored: None }
    }

    /// Whether forgetting the entry loses nothing.
    fn is_unused(&self) -> bool {
        let Group::Classic(group) = &self.group;
        group.is_deserted() && self.offsets.is_empty() && self.stored.is_none()
    }
}

/// All groups of one partition. See the module.
pub struct Shard<W: Waiters> {
    settings: Arc<GroupSettings>,
    uuids: UuidSource,
    groups: BTreeMap<Arc<str>, Entry<W>>,
    timers: Timers,
    /// Estimated bytes of the records that describe the present state.
    live_bytes: u64,
    /// The log holds records of protocols that this version does not know: it must not be rewritten.
    has_unknown_records: bool,
}

impl<W: Waiters> Shard<W> {
    pub fn new(settings: Arc<GroupSettings>, uuids: UuidSource) -> Shard<W> {
        Shard {
            settings,
            uuids,
            groups: BTreeMap::new(),
            timers: Timers::default(),
            live_bytes: 0,
            has_unknown_records: false,
        }
    }

    /// New settings; they count from the next transition on.
    pub fn configure(&mut self, settings: Arc<GroupSettings>) {
        self.settings = settings;
    }

    /// When [`tick`](Self::tick) has something to do, by the steady clock.
    pub fn next_due(&self) -> Option<i64> {
        self.timers.next()
    }

    /// Estimated bytes that a rewritten log would have.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Refuses every request that waits: the shard is about to be dropped.
    pub fn refuse_all(&mut self, error: ErrorCode, out: &mut Effects<W>) {
        use crate::effects::Release::Now;
        for entry in self.groups.values_mut() {
            let Group::Classic(group) = &mut entry.group;
            let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
            for id in ids {
                if let Some(waiter) = group.take_join(&id) {
                    out.joins.push((waiter, JoinAnswer::error(error, &*id), Now));
                }
                let sync = group.members.get_mut(&id).and_then(|m| m.awaiting_sync.take());
                if let Some(waiter) = sync {
                    out.syncs.push((waiter, SyncAnswer::error(error), Now));
                }
            }
        }
    }

    /// A transition of an existing group.
    fn turn<'a>(&'a mut self, id: &str, now: Now, out: &'a mut Effects<W>) -> Option<Turn<'a, W>> {
        let id = self.groups.get_key_value(id)?.0.clone();
        let entry = self.groups.get_mut(&id)?;
        let Group::Classic(group) = &mut entry.group;
        Some(Turn {
            id,
            group,
            stored: &mut entry.stored,
            live_bytes: &mut self.live_bytes,
            settings: &self.settings,
            timers: &mut self.timers,
            now,
            out,
        })
    }

    /// Forgets a group that holds nothing.
    fn forget_if_unused(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Entry::is_unused) {
            self.groups.remove(id);
        }
    }
}

/// Whether a string of a request can be stored.
fn storable(text: &str) -> bool {
    text.len() <= MAX_STRING
}

#[cfg(test)]
mod tests;
