//! Reading a shard back from its partition, and writing all of it anew.

use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, Group, Shard};
use crate::batch::RECORD_OVERHEAD;
use crate::classic::{ClassicGroup, State};
use crate::effects::{Effects, Records, Waiters};
use crate::records::{DecodeError, GroupMetadata, Key, OffsetValue, group_key_len, put_group_key, put_offset_key};
use crate::timers::Now;

/// A record that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("a record has no key")]
    NoKey,
    #[error("a record cannot be read: {0}")]
    Decode(#[from] DecodeError),
}

impl<W: Waiters> Shard<W> {
    /// Applies a record of the log. A record in error changes nothing; the caller may go on.
    pub fn replay(&mut self, key: Option<Bytes>, value: Option<Bytes>, wall_ms: i64) -> Result<(), LoadError> {
        let key = Key::decode(key.ok_or(LoadError::NoKey)?);
        if key.is_err() {
            self.has_unknown_records = true;
        }
        match (key?, value) {
            (Key::Unknown { .. }, _) => self.has_unknown_records = true,
            (Key::Offset { group, topic, partition }, Some(value)) => {
                let value = OffsetValue::decode(value)?;
                if !self.groups.contains_key(&*group) {
                    self.groups.insert(Arc::from(&*group), Entry::new(wall_ms));
                }
                self.put_offset(&group, &topic, partition, value);
            }
            (Key::Offset { group, topic, partition }, None) => {
                self.remove_offset(&group, &topic, partition);
                self.forget_if_unused(&group);
            }
            (Key::Group { group }, Some(value)) => self.replay_group(&group, value, wall_ms)?,
            (Key::Group { group }, None) => self.replay_group_tombstone(&group, wall_ms),
        }
        Ok(())
    }

    fn replay_group(&mut self, id: &str, value: Bytes, wall_ms: i64) -> Result<(), LoadError> {
        let group = ClassicGroup::restore(GroupMetadata::decode(value.clone())?);
        // Copied, so that it does not hold the whole batch that it came in.
        let value = Bytes::copy_from_slice(&value);
        let entry = self.groups.entry(Arc::from(id)).or_insert_with(|| Entry::new(wall_ms));
        entry.group = Group::Classic(group);
        self.live_bytes += stored_cost(id, &value);
        if let Some(old) = entry.stored.replace(value) {
            self.live_bytes -= stored_cost(id, &old);
        }
        Ok(())
    }

    fn replay_group_tombstone(&mut self, id: &str, wall_ms: i64) {
        let Some(entry) = self.groups.get_mut(id) else {
            return;
        };
        entry.group = Group::Classic(ClassicGroup::new(wall_ms));
        if let Some(old) = entry.stored.take() {
            self.live_bytes -= stored_cost(id, &old);
        }
        self.forget_if_unused(id);
    }

    /// All records are applied: sessions begin to run.
    pub fn loaded(&mut self, now: Now, out: &mut Effects<W>) {
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(mut turn) = self.turn(&id, now, out) else {
                continue;
            };
            let members: Vec<Arc<str>> = turn.group.members.keys().cloned().collect();
            for member in &members {
                turn.restart_session(member, None);
            }
            if turn.group.state == State::Stable && members.len() > turn.settings.max_size {
                turn.prepare_rebalance("the loaded group is larger than a group may be");
            }
        }
    }

    /// Whether [`snapshot`](Self::snapshot) describes everything that the log holds.
    pub fn can_be_rewritten(&self) -> bool {
        !self.has_unknown_records
    }

    /// Records that bring an empty shard to what the log describes now.
    pub fn snapshot(&self) -> Records {
        let mut records = Records::default();
        for (id, entry) in &self.groups {
            if let Some(stored) = &entry.stored {
                records.put(|buf| put_group_key(buf, id), |buf| buf.extend_from_slice(stored));
            }
            for (topic, partition, value) in entry.offsets.iter() {
                records.put(|buf| put_offset_key(buf, id, topic, partition), |buf| value.encode(buf));
            }
        }
        records
    }

    /// What [`live_bytes`](Self::live_bytes) should be; for tests.
    #[cfg(test)]
    pub(super) fn counted_live_bytes(&self) -> u64 {
        let entry_cost = |(id, entry): (&Arc<str>, &Entry<W>)| {
            let stored = entry.stored.as_ref().map_or(0, |value| stored_cost(id, value));
            let offset_cost = |(topic, _, value)| super::offsets::record_cost(id, topic, value);
            stored + entry.offsets.iter().map(offset_cost).sum::<u64>()
        };
        self.groups.iter().map(entry_cost).sum()
    }
}

fn stored_cost(group: &str, value: &Bytes) -> u64 {
    (group_key_len(group) + value.len() + RECORD_OVERHEAD) as u64
}
