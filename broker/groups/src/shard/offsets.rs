//! Committed offsets (`OffsetMetadataManager.java`).

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_metadata::{ErrorCode, TopicId};

use super::{Entry, Group, Shard};
use crate::batch::RECORD_OVERHEAD;
use crate::classic::{ClassicGroup, State};
use crate::config::MAX_STRING;
use crate::effects::{Effects, Records, Waiters};
use crate::records::{OffsetValue, offset_key_len, put_offset_key};
use crate::timers::Now;
use crate::types::{Commit, CommitPartition, Fetch, FetchTopic, FetchedOffset, FetchedTopic, TopicResult};

/// What a group committed, by topic and partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Offsets {
    topics: BTreeMap<String, BTreeMap<i32, OffsetValue>>,
}

impl Offsets {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.topics.get(topic)?.get(&partition)
    }

    pub fn insert(&mut self, topic: &str, partition: i32, value: OffsetValue) -> Option<OffsetValue> {
        match self.topics.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, value),
            None => {
                self.topics.insert(topic.to_owned(), BTreeMap::from([(partition, value)]));
                None
            }
        }
    }

    pub fn remove(&mut self, topic: &str, partition: i32) -> Option<OffsetValue> {
        let partitions = self.topics.get_mut(topic)?;
        let old = partitions.remove(&partition);
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
        old
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, &OffsetValue)> {
        let topics = self.topics.iter();
        topics.flat_map(|(topic, partitions)| partitions.iter().map(move |(index, value)| (&**topic, *index, value)))
    }

    fn keys_where(&self, keep: impl Fn(&str, &OffsetValue) -> bool) -> Vec<(String, i32)> {
        let chosen = self.iter().filter(|(topic, _, value)| keep(topic, value));
        chosen.map(|(topic, index, _)| (topic.to_owned(), index)).collect()
    }
}

/// Estimated bytes of an offset's record.
pub(super) fn record_cost(group: &str, topic: &str, value: &OffsetValue) -> u64 {
    (offset_key_len(group, topic) + value.encoded_len() + RECORD_OVERHEAD) as u64
}

impl<W: Waiters> Shard<W> {
    /// Commits offsets. The answer may go out when the records are committed; it counts as a heartbeat.
    pub fn commit(&mut self, commit: Commit, now: Now, out: &mut Effects<W>) -> Result<Vec<TopicResult>, ErrorCode> {
        self.check_commit(&commit, now, out)?;
        if !self.groups.contains_key(&*commit.group_id) {
            self.groups.insert(Arc::from(&*commit.group_id), Entry::new(now.wall_ms));
        }
        let limit = self.settings.offset_metadata_max_bytes.min(MAX_STRING);
        let expire_time_ms = commit.retention_ms.map(|retention| now.wall_ms.saturating_add(retention));
        let group = &*commit.group_id;
        let mut answer = Vec::with_capacity(commit.topics.len());
        for topic in commit.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for CommitPartition { index, offset, leader_epoch, metadata } in topic.partitions {
                if metadata.len() > limit {
                    partitions.push((index, ErrorCode::OffsetMetadataTooLarge));
                    continue;
                }
                partitions.push((index, ErrorCode::None));
                let value = OffsetValue {
                    offset,
                    leader_epoch,
                    metadata,
                    commit_time_ms: now.wall_ms,
                    expire_time_ms,
                    topic_id: topic.id,
                };
                out.records.put(|buf| put_offset_key(buf, group, &topic.name, index), |buf| value.encode(buf));
                self.put_offset(group, &topic.name, index, value);
            }
            answer.push(TopicResult { name: topic.name, partitions });
        }
        self.forget_if_unused(group);
        Ok(answer)
    }

    fn check_commit(&mut self, commit: &Commit, now: Now, out: &mut Effects<W>) -> Result<(), ErrorCode> {
        if commit.group_id.len() > MAX_STRING {
            return Err(ErrorCode::InvalidGroupId);
        }
        let Some(mut turn) = self.turn(&commit.group_id, now, out) else {
            // A consumer without membership, or a tool: its commit makes the group.
            return if commit.generation < 0 { Ok(()) } else { Err(commit.missing_group) };
        };
        check_commit(turn.group, commit)?;
        if matches!(turn.group.state, State::Stable | State::PreparingRebalance) {
            turn.restart_session(&commit.member_id, None);
        }
        Ok(())
    }

    pub(super) fn put_offset(&mut self, group: &str, topic: &str, partition: i32, value: OffsetValue) {
        let Some(entry) = self.groups.get_mut(group) else {
            return;
        };
        self.live_bytes += record_cost(group, topic, &value);
        if let Some(old) = entry.offsets.insert(topic, partition, value) {
            self.live_bytes -= record_cost(group, topic, &old);
        }
    }

    /// Forgets an offset and writes its tombstone; does nothing if there is none.
    pub(super) fn delete_offset(&mut self, group: &str, topic: &str, partition: i32, records: &mut Records) {
        if self.remove_offset(group, topic, partition) {
            records.delete(|buf| put_offset_key(buf, group, topic, partition));
        }
    }

    pub(super) fn remove_offset(&mut self, group: &str, topic: &str, partition: i32) -> bool {
        let Some(entry) = self.groups.get_mut(group) else {
            return false;
        };
        let Some(old) = entry.offsets.remove(topic, partition) else {
            return false;
        };
        self.live_bytes -= record_cost(group, topic, &old);
        true
    }

    /// Committed offsets of a group; a missing group has none. The answer must wait until everything that it may
    /// contain is committed.
    pub fn fetch(&self, fetch: &Fetch) -> Vec<FetchedTopic> {
        let offsets = self.groups.get(&*fetch.group_id).map(|entry| &entry.offsets);
        if let Some(topics) = &fetch.topics {
            return topics.iter().map(|topic| fetch_topic(offsets, topic)).collect();
        }
        let mut all: Vec<FetchedTopic> = Vec::new();
        for (topic, index, value) in offsets.into_iter().flat_map(Offsets::iter) {
            if all.last().is_none_or(|last| last.name != topic) {
                all.push(FetchedTopic { name: topic.to_owned(), partitions: Vec::new() });
            }
            if let Some(last) = all.last_mut() {
                last.partitions.push(fetched(index, Some(value)));
            }
        }
        all
    }

    /// Deletes offsets that no member reads (KIP-496).
    pub fn delete_offsets(
        &mut self,
        group_id: &str,
        topics: Vec<(String, Vec<i32>)>,
        out: &mut Effects<W>,
    ) -> Result<Vec<TopicResult>, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let Group::Classic(group) = &self.groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?.group;
        if group.state != State::Empty && !group.uses_consumer_protocol() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let subscribed: Vec<bool> = topics.iter().map(|(topic, _)| group.is_subscribed(topic)).collect();
        let mut answer = Vec::with_capacity(topics.len());
        for ((name, indexes), subscribed) in topics.into_iter().zip(subscribed) {
            let error = if subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            let mut partitions = Vec::with_capacity(indexes.len());
            for index in indexes {
                if !subscribed {
                    self.delete_offset(group_id, &name, index, &mut out.records);
                }
                partitions.push((index, error));
            }
            answer.push(TopicResult { name, partitions });
        }
        Ok(answer)
    }

    /// Removes the offsets of topics that were deleted; `topics` is sorted.
    pub fn topics_deleted(&mut self, topics: &[String], out: &mut Effects<W>) {
        let deleted = |topic: &str| topics.binary_search_by(|name| name.as_str().cmp(topic)).is_ok();
        self.delete_where(&mut out.records, |_, topic, _| deleted(topic));
    }

    /// Removes offsets that nobody has used for the retention time, then groups that hold nothing any more.
    pub fn expire(&mut self, now: Now, out: &mut Effects<W>) {
        let retention_ms = self.settings.offsets_retention_ms;
        self.delete_where(&mut out.records, |group, topic, value| {
            is_expired(group, topic, value, now.wall_ms, retention_ms)
        });
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(entry) = self.groups.get(&id) else {
                continue;
            };
            let Group::Classic(group) = &entry.group;
            if group.is_deserted() && entry.offsets.is_empty() {
                self.delete_group(&id, &mut out.records);
            }
        }
    }

    fn delete_where(
        &mut self,
        records: &mut Records,
        condition: impl Fn(&ClassicGroup<W>, &str, &OffsetValue) -> bool,
    ) {
        let mut doomed = Vec::new();
        for (id, entry) in &self.groups {
            let Group::Classic(group) = &entry.group;
            let keys = entry.offsets.keys_where(|topic, value| condition(group, topic, value));
            doomed.extend(keys.into_iter().map(|(topic, index)| (id.clone(), topic, index)));
        }
        for (id, topic, index) in doomed {
            self.delete_offset(&id, &topic, index, records);
        }
    }
}

/// Whether the sender may commit (`ClassicGroup.validateOffsetCommit`).
fn check_commit<W: Waiters>(group: &ClassicGroup<W>, commit: &Commit) -> Result<(), ErrorCode> {
    if commit.generation < 0 && group.state == State::Empty {
        return Ok(());
    }
    if commit.generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some() {
        group.check_member(&commit.member_id, commit.instance_id.as_deref())?;
        if commit.generation != group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
    } else if group.state != State::Empty {
        return Err(ErrorCode::UnknownMemberId);
    }
    if group.state == State::CompletingRebalance {
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

/// `ClassicGroup.offsetExpirationCondition` and `OffsetExpirationConditionImpl`.
fn is_expired<W: Waiters>(
    group: &ClassicGroup<W>,
    topic: &str,
    value: &OffsetValue,
    now_ms: i64,
    retention_ms: i64,
) -> bool {
    let since_ms = match group.state {
        // Simple consumers: each offset for itself.
        _ if group.protocol_type.is_none() => value.commit_time_ms,
        // The group's members are gone since its state began.
        State::Empty => group.state_time_ms.unwrap_or(value.commit_time_ms),
        // Members are there: topics that none of them reads any more.
        State::Stable if group.uses_consumer_protocol() && group.subscribed.is_some() => value.commit_time_ms,
        State::Stable | State::PreparingRebalance | State::CompletingRebalance => return false,
    };
    if group.is_subscribed(topic) {
        return false;
    }
    match value.expire_time_ms {
        Some(at_ms) => now_ms >= at_ms,
        None => now_ms.saturating_sub(since_ms) >= retention_ms,
    }
}

fn fetch_topic(offsets: Option<&Offsets>, topic: &FetchTopic) -> FetchedTopic {
    let find = |index: i32| {
        let value = offsets?.get(&topic.name, index)?;
        same_topic(value.topic_id, topic.id).then_some(value)
    };
    let partitions = topic.partitions.iter().map(|index| fetched(*index, find(*index))).collect();
    FetchedTopic { name: topic.name.clone(), partitions }
}

/// An id that is not known fits every topic of the name.
fn same_topic(stored: TopicId, asked: TopicId) -> bool {
    stored.is_zero() || asked.is_zero() || stored == asked
}

fn fetched(index: i32, value: Option<&OffsetValue>) -> FetchedOffset {
    match value {
        Some(value) => FetchedOffset {
            index,
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
        },
        None => FetchedOffset { index, offset: -1, leader_epoch: -1, metadata: String::new() },
    }
}
