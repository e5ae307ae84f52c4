//! The partitions of one fetch, in the order in which they are read.
//!
//! Layout: rows stand in a slab, so that a slot number stays valid while the row lives; `order` lists the slots
//! in reading order; `index` finds a slot by (topic, partition). A partition costs about 75 bytes, a topic's name
//! is kept once. Moving the partitions that returned data to the end (KIP-74) is one stable pass over `order`.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use millrace_metadata::ids::TopicId;

/// How a client names the topic: by name up to Fetch v12, by id from v13 on (KIP-516).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// The topic's name.
    Name(Arc<str>),
    /// The topic's id.
    Id(TopicId),
}

/// What the client wants of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// First offset that is wanted.
    pub offset: i64,
    /// Most bytes for this partition.
    pub max_bytes: i32,
    /// Leader epoch that the client believes in, or -1.
    pub leader_epoch: i32,
    /// Epoch of the last record that the client has, or -1.
    pub last_fetched_epoch: i32,
    /// Log start offset of a fetching follower, or -1.
    pub log_start: i64,
}

/// What was answered last for one partition of a session; -1 when nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
}

pub(crate) const NOTHING_SENT: Sent = Sent { high_watermark: -1, log_start: -1 };

#[derive(Debug, Clone, Copy)]
struct Row {
    topic: u32,
    partition: i32,
    wanted: Wanted,
    sent: Sent,
    /// Whether the partition tells the session's feed of news.
    fed: bool,
}

#[derive(Debug, Clone)]
struct Topic {
    key: TopicKey,
    /// The name that an id once stood for. It is kept when the topic goes away, so that the client is told that
    /// the topic is gone or was made anew, and not that its id was never known.
    name: Option<Arc<str>>,
    partitions: u32,
}

/// One partition to read: a copy of its row, taken while the session was locked.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub(crate) slot: u32,
    /// Index into [`Targets::topics`].
    pub topic: u32,
    /// Partition index.
    pub partition: i32,
    /// What the client asked for.
    pub wanted: Wanted,
    /// Whether the partition tells the session's feed of news already.
    pub(crate) fed: bool,
}

/// A topic of [`Targets`].
#[derive(Debug, Clone)]
pub struct TargetTopic {
    /// How the client named it.
    pub key: TopicKey,
    /// For a topic named by id: the name that the id stood for when it was last resolved.
    pub known_name: Option<Arc<str>>,
}

/// All partitions of a fetch in reading order.
#[derive(Debug, Default)]
pub struct Targets {
    /// The topics, each once.
    pub topics: Vec<TargetTopic>,
    /// The partitions in reading order.
    pub partitions: Vec<Target>,
}

/// An ordered map of partitions; see the module's text.
#[derive(Debug, Default)]
pub struct Parts {
    topics: Vec<Option<Topic>>,
    free_topics: Vec<u32>,
    topic_index: HashMap<TopicKey, u32>,
    rows: Vec<Option<Row>>,
    free_rows: Vec<u32>,
    order: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Parts {
    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds a partition at the end, or changes what is wanted of one that is there. Returns its slot.
    pub fn upsert(&mut self, key: &TopicKey, partition: i32, wanted: Wanted) -> u32 {
        let topic = self.topic_slot(key);
        let hash = self.hasher.hash_one((topic, partition));
        let (rows, hasher) = (&mut self.rows, &self.hasher);
        let same = |slot: &u32| row(rows, *slot).is_some_and(|r| (r.topic, r.partition) == (topic, partition));
        let rehash = |slot: &u32| row(rows, *slot).map_or(0, |r| hasher.hash_one((r.topic, r.partition)));
        match self.index.entry(hash, same, rehash) {
            Entry::Occupied(found) => {
                let slot = *found.get();
                if let Some(Some(row)) = rows.get_mut(slot as usize) {
                    row.wanted = wanted;
                }
                slot
            }
            Entry::Vacant(place) => {
                let new = Some(Row { topic, partition, wanted, sent: NOTHING_SENT, fed: false });
                let slot = match self.free_rows.pop() {
                    Some(slot) => slot,
                    None => rows.len() as u32,
                };
                place.insert(slot);
                match rows.get_mut(slot as usize) {
                    Some(free) => *free = new,
                    None => rows.push(new),
                }
                self.order.push(slot);
                if let Some(Some(topic)) = self.topics.get_mut(topic as usize) {
                    topic.partitions += 1;
                }
                slot
            }
        }
    }

    /// Forgets the given partitions; one that is not there is ignored.
    pub fn remove_all<'a>(&mut self, forgotten: impl Iterator<Item = (&'a TopicKey, i32)>) {
        let mut removed = false;
        for (key, partition) in forgotten {
            removed |= self.take(key, partition);
        }
        if removed {
            let rows = &self.rows;
            self.order.retain(|slot| row(rows, *slot).is_some());
            // Slots become free only now: until here each of them was still listed in `order`.
            self.free_rows.clear();
            for (slot, row) in self.rows.iter().enumerate() {
                if row.is_none() {
                    self.free_rows.push(slot as u32);
                }
            }
        }
    }

    /// A copy of everything that is to be read, in reading order.
    pub fn targets(&self) -> Targets {
        let mut renumbered = vec![u32::MAX; self.topics.len()];
        let mut topics = Vec::with_capacity(self.topic_index.len());
        for (slot, topic) in self.topics.iter().enumerate() {
            if let Some(topic) = topic {
                renumbered[slot] = topics.len() as u32;
                topics.push(TargetTopic { key: topic.key.clone(), known_name: topic.name.clone() });
            }
        }
        let mut partitions = Vec::with_capacity(self.order.len());
        for slot in &self.order {
            if let Some(row) = row(&self.rows, *slot) {
                let topic = renumbered[row.topic as usize];
                partitions.push(row.target(*slot, topic));
            }
        }
        Targets { topics, partitions }
    }

    /// A copy of what stands in the given slots, in their order; an empty slot is passed over. Costs nothing for the
    /// partitions in other slots.
    pub(crate) fn targets_of(&self, slots: &[u32]) -> Targets {
        let mut renumbered: HashMap<u32, u32> = HashMap::new();
        let mut targets = Targets::default();
        for slot in slots {
            let Some(row) = row(&self.rows, *slot) else { continue };
            let Some(Some(topic)) = self.topics.get(row.topic as usize) else { continue };
            let at = *renumbered.entry(row.topic).or_insert_with(|| {
                targets.topics.push(TargetTopic { key: topic.key.clone(), known_name: topic.name.clone() });
                targets.topics.len() as u32 - 1
            });
            targets.partitions.push(row.target(*slot, at));
        }
        targets
    }

    /// Every slot in reading order.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.order.clone()
    }

    /// Remembers whether the partition in a slot tells of news.
    pub(crate) fn set_fed(&mut self, slot: u32, fed: bool) {
        if let Some(Some(row)) = self.rows.get_mut(slot as usize) {
            row.fed = fed;
        }
    }

    /// Keeps the name that an id stands for.
    pub fn learn_name(&mut self, key: &TopicKey, name: &Arc<str>) {
        if let Some(slot) = self.topic_index.get(key)
            && let Some(Some(topic)) = self.topics.get_mut(*slot as usize)
            && topic.name.is_none()
        {
            topic.name = Some(name.clone());
        }
    }

    pub(crate) fn sent(&mut self, slot: u32) -> Option<&mut Sent> {
        self.rows.get_mut(slot as usize)?.as_mut().map(|row| &mut row.sent)
    }

    /// Moves the partitions at the given positions of the reading order to its end; positions must ascend.
    pub(crate) fn move_to_end(&mut self, positions: &[usize]) {
        if positions.is_empty() || positions.len() == self.order.len() {
            return;
        }
        let mut moved = Vec::with_capacity(positions.len());
        let mut next = positions.iter().peekable();
        let mut at = 0;
        self.order.retain(|slot| {
            let hit = next.next_if(|p| **p == at).is_some();
            at += 1;
            if hit {
                moved.push(*slot);
            }
            !hit
        });
        self.order.append(&mut moved);
    }

    fn topic_slot(&mut self, key: &TopicKey) -> u32 {
        if let Some(slot) = self.topic_index.get(key) {
            return *slot;
        }
        let topic = Some(Topic { key: key.clone(), name: None, partitions: 0 });
        let slot = match self.free_topics.pop() {
            Some(slot) => slot,
            None => self.topics.len() as u32,
        };
        match self.topics.get_mut(slot as usize) {
            Some(free) => *free = topic,
            None => self.topics.push(topic),
        }
        self.topic_index.insert(key.clone(), slot);
        slot
    }

    fn take(&mut self, key: &TopicKey, partition: i32) -> bool {
        let Some(topic) = self.topic_index.get(key).copied() else {
            return false;
        };
        let hash = self.hasher.hash_one((topic, partition));
        let rows = &self.rows;
        let same = |slot: &u32| row(rows, *slot).is_some_and(|r| (r.topic, r.partition) == (topic, partition));
        let Ok(found) = self.index.find_entry(hash, same) else {
            return false;
        };
        let (slot, _) = found.remove();
        if let Some(row) = self.rows.get_mut(slot as usize) {
            *row = None;
        }
        if let Some(Some(entry)) = self.topics.get_mut(topic as usize) {
            entry.partitions -= 1;
            if entry.partitions == 0 {
                self.topics[topic as usize] = None;
                self.topic_index.remove(key);
                self.free_topics.push(topic);
            }
        }
        true
    }
}

impl Row {
    fn target(&self, slot: u32, topic: u32) -> Target {
        Target { slot, topic, partition: self.partition, wanted: self.wanted, fed: self.fed }
    }
}

fn row(rows: &[Option<Row>], slot: u32) -> Option<&Row> {
    rows.get(slot as usize)?.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted(offset: i64) -> Wanted {
        Wanted { offset, max_bytes: 1, leader_epoch: -1, last_fetched_epoch: -1, log_start: -1 }
    }

    fn key(n: u8) -> TopicKey {
        TopicKey::Name(format!("t{n}").into())
    }

    fn listing(parts: &Parts) -> Vec<(TopicKey, i32, i64)> {
        let targets = parts.targets();
        let of = |t: &Target| (targets.topics[t.topic as usize].key.clone(), t.partition, t.wanted.offset);
        targets.partitions.iter().map(of).collect()
    }

    #[derive(Debug, Clone)]
    enum Op {
        Upsert(u8, i32, i64),
        Remove(Vec<(u8, i32)>),
        Move(Vec<bool>),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u8..4, 0i32..4, 0i64..100).prop_map(|(t, p, o)| Op::Upsert(t, p, o)),
            1 => proptest::collection::vec((0u8..4, 0i32..4), 0..4).prop_map(Op::Remove),
            1 => proptest::collection::vec(any::<bool>(), 16).prop_map(Op::Move),
        ]
    }

    proptest! {
        /// Against a plain list that is searched from the front.
        #[test]
        fn behaves_like_a_list(ops in proptest::collection::vec(op(), 0..60)) {
            let mut parts = Parts::default();
            let mut model: Vec<(TopicKey, i32, i64)> = Vec::new();
            for op in ops {
                match op {
                    Op::Upsert(t, p, o) => {
                        parts.upsert(&key(t), p, wanted(o));
                        match model.iter_mut().find(|m| (&m.0, m.1) == (&key(t), p)) {
                            Some(found) => found.2 = o,
                            None => model.push((key(t), p, o)),
                        }
                    }
                    Op::Remove(gone) => {
                        let gone: Vec<_> = gone.into_iter().map(|(t, p)| (key(t), p)).collect();
                        parts.remove_all(gone.iter().map(|(k, p)| (k, *p)));
                        model.retain(|m| !gone.contains(&(m.0.clone(), m.1)));
                    }
                    Op::Move(mask) => {
                        let hits: Vec<usize> = (0..model.len()).filter(|i| mask[*i]).collect();
                        parts.move_to_end(&hits);
                        let mut moved = Vec::new();
                        for i in hits.iter().rev() {
                            moved.push(model.remove(*i));
                        }
                        moved.reverse();
                        model.append(&mut moved);
                    }
                }
                prop_assert_eq!(listing(&parts), model.clone());
                prop_assert_eq!(parts.len(), model.len());
            }
        }
    }

    #[test]
    fn slots_are_listed_alone() {
        let mut parts = Parts::default();
        let slots: Vec<u32> = (0..4).map(|p| parts.upsert(&key(p % 2), i32::from(p), wanted(i64::from(p)))).collect();
        parts.set_fed(slots[3], true);
        parts.remove_all([(&key(0), 2)].into_iter());
        let some = parts.targets_of(&[slots[3], slots[2], slots[0], 99]);
        let of = |t: &Target| (some.topics[t.topic as usize].key.clone(), t.partition, t.fed);
        let listed: Vec<_> = some.partitions.iter().map(of).collect();
        assert_eq!(listed, [(key(1), 3, true), (key(0), 0, false)]);
        assert_eq!(parts.slots(), [slots[0], slots[1], slots[3]]);
    }

    #[test]
    fn a_row_is_small() {
        assert!(std::mem::size_of::<Option<Row>>() <= 72, "{}", std::mem::size_of::<Option<Row>>());
    }
}
