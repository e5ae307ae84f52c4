//! The state of a classic group (`classic/ClassicGroup.java`). No decision is taken here that needs time or records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_metadata::ErrorCode;

use super::member::Member;
use super::subscription::{CONSUMER, read_topics};
use crate::effects::Waiters;
use crate::records::{GroupMetadata, MemberMetadata};
use crate::timers::{Moving, TimerId};
use crate::types::{JoinedMember, Protocol};

/// Where the group stands.
///
/// ```text
/// Empty ──first member──▶ PreparingRebalance ◀──join, leave, failure──┐
///   ▲                        │ all joined, or time is up               │
///   └──── nobody left ───────┤                                         │
///                            ▼                                         │
///                    CompletingRebalance ──leader's assignment──▶ Stable
/// ```
/// Kafka's Dead state is a group that is no longer in the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// The wait for joining members that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinPhase {
    /// The first members of an empty group: the wait is extended while more come, `remaining_ms` longer at most.
    Initial {
        delay_ms: i32,
        remaining_ms: i32,
        timer: TimerId,
    },
    Rebalance {
        timer: TimerId,
    },
}

impl JoinPhase {
    pub fn timer(&self) -> TimerId {
        match self {
            JoinPhase::Initial { timer, .. } | JoinPhase::Rebalance { timer } => *timer,
        }
    }
}

pub struct ClassicGroup<W: Waiters> {
    pub state: State,
    /// The rebalance under way began with an empty group.
    pub initial_rebalance: bool,
    /// Unknown for a group written by a very old broker.
    pub state_time_ms: Option<i64>,
    /// None: no member ever joined; a "simple" group that only holds offsets.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub generation: i32,
    pub leader: Option<Arc<str>>,
    pub members: BTreeMap<Arc<str>, Member<W>>,
    pub static_members: BTreeMap<String, Arc<str>>,
    /// Member ids that were handed out and have not joined yet.
    pub pending_joins: BTreeMap<Arc<str>, Moving>,
    pub pending_syncs: BTreeSet<Arc<str>>,
    /// How many members support each protocol.
    pub supported: BTreeMap<String, usize>,
    /// None: not known.
    pub subscribed: Option<BTreeSet<String>>,
    /// A member came while the initial wait ran.
    pub new_member_added: bool,
    pub join_phase: Option<JoinPhase>,
    pub sync_timer: Option<TimerId>,
    awaiting_joins: usize,
}

impl<W: Waiters> ClassicGroup<W> {
    pub fn new(now_ms: i64) -> Self {
        ClassicGroup {
            state: State::Empty,
            initial_rebalance: false,
            state_time_ms: Some(now_ms),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            supported: BTreeMap::new(),
            subscribed: None,
            new_member_added: false,
            join_phase: None,
            sync_timer: None,
            awaiting_joins: 0,
        }
    }

    /// The group as a stored generation describes it. Sessions are not running yet.
    pub fn restore(stored: GroupMetadata) -> Self {
        let mut group = ClassicGroup::new(0);
        group.state = if stored.members.is_empty() { State::Empty } else { State::Stable };
        group.state_time_ms = stored.state_time_ms;
        group.generation = stored.generation;
        group.leader = stored.leader.map(Arc::from);
        let protocol = stored.protocol.clone().unwrap_or_default();
        for member in stored.members {
            group.insert(Member {
                id: Arc::from(member.member_id),
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms: member.rebalance_timeout_ms.unwrap_or(member.session_timeout_ms),
                session_timeout_ms: member.session_timeout_ms,
                protocols: vec![Protocol { name: protocol.clone(), metadata: member.subscription }],
                assignment: member.assignment,
                is_new: false,
                awaiting_join: None,
                awaiting_sync: None,
                session: Moving::default(),
            });
        }
        group.protocol = stored.protocol;
        group.protocol_type = Some(stored.protocol_type).filter(|kind| !kind.is_empty());
        group.subscribed = group.subscribed_topics();
        group
    }

    /// The generation as it is stored.
    pub fn to_record(&self) -> GroupMetadata {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &Member<W>| MemberMetadata {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: Some(member.rebalance_timeout_ms),
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_deref().map(str::to_owned),
            state_time_ms: self.state_time_ms,
            members: self.members.values().map(member).collect(),
        }
    }

    pub fn enter(&mut self, state: State, now_ms: i64) {
        self.initial_rebalance = self.state == State::Empty && state == State::PreparingRebalance;
        self.state = state;
        self.state_time_ms = Some(now_ms);
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub fn leader_or_empty(&self) -> String {
        self.leader.as_deref().unwrap_or_default().to_owned()
    }

    pub fn awaiting_joins(&self) -> usize {
        self.awaiting_joins
    }

    pub fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_joins && self.pending_joins.is_empty()
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether nobody would miss the group: no member, none on the way.
    pub fn is_deserted(&self) -> bool {
        self.state == State::Empty && self.pending_joins.is_empty()
    }

    /// The longest rebalance timeout of the members, in milliseconds.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|m| m.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// Whether the sender is the member that it says it is: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID if not.
    pub fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if &**current != member_id => {
                    return Err(ErrorCode::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether a member with these protocols fits in.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let all = self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported.get(&p.name).copied().unwrap_or(0) == all)
    }

    /// Adds a member, which becomes the leader of a group without one.
    pub fn add(&mut self, member: Member<W>, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        self.pending_joins.remove(&member.id);
        self.insert(member);
    }

    fn insert(&mut self, member: Member<W>) {
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.count_protocols(&member, true);
        self.awaiting_joins += usize::from(member.awaiting_join.is_some());
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out; the first of the others becomes the leader if it was.
    pub fn remove(&mut self, member_id: &str) -> Option<Member<W>> {
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.count_protocols(&member, false);
        self.awaiting_joins -= usize::from(member.awaiting_join.is_some());
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    fn count_protocols(&mut self, member: &Member<W>, added: bool) {
        for protocol in &member.protocols {
            if added {
                *self.supported.entry(protocol.name.clone()).or_default() += 1;
            } else if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
    }

    /// Gives a static member a new id in place of the old one, with its protocols, assignment and leadership. The
    /// requests of the old one are handed back to be refused.
    pub fn replace_static(&mut self, old_id: &str, new_id: Arc<str>) -> Option<Parked<W>> {
        let mut member = self.members.remove(old_id)?;
        let join = member.awaiting_join.take();
        self.awaiting_joins -= usize::from(join.is_some());
        let sync = member.awaiting_sync.take();
        if self.pending_syncs.remove(old_id) {
            self.pending_syncs.insert(new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        member.id = new_id.clone();
        self.members.insert(new_id, member);
        Some(Parked { join, sync })
    }

    /// Takes over what a member sent with a new JoinGroup.
    pub fn update(&mut self, member_id: &str, protocols: &[Protocol], timeouts: Timeouts) {
        let Some(mut member) = self.members.remove(member_id) else {
            return;
        };
        self.count_protocols(&member, false);
        member.protocols = protocols.to_vec();
        member.rebalance_timeout_ms = timeouts.rebalance_ms;
        member.session_timeout_ms = timeouts.session_ms;
        self.count_protocols(&member, true);
        self.members.insert(member.id.clone(), member);
    }

    /// Parks a JoinGroup; returns the one that it takes the place of.
    pub fn park_join(&mut self, member_id: &str, waiter: W::Join) -> Option<W::Join> {
        let Some(member) = self.members.get_mut(member_id) else {
            return Some(waiter);
        };
        let old = member.awaiting_join.replace(waiter);
        self.awaiting_joins += usize::from(old.is_none());
        old
    }

    pub fn take_join(&mut self, member_id: &str) -> Option<W::Join> {
        let waiter = self.members.get_mut(member_id)?.awaiting_join.take();
        self.awaiting_joins -= usize::from(waiter.is_some());
        waiter
    }

    /// Makes sure that the leader is a member that has joined; false if none has.
    pub fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member<W>| member.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        match leader {
            Some(leader) if joined(leader) => true,
            Some(_) => match self.members.values().find(|m| joined(m)) {
                Some(member) => {
                    self.leader = Some(member.id.clone());
                    true
                }
                None => false,
            },
            None => false,
        }
    }

    /// The protocol that most members prefer among those that all support; the first by name if votes are even.
    pub fn select_protocol(&self) -> Option<String> {
        let all = self.members.len();
        let common = |name: &str| self.supported.get(name) == Some(&all);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|p| common(&p.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    /// Starts the next generation with the members that are there.
    pub fn next_generation(&mut self, now_ms: i64) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.select_protocol();
        self.subscribed = self.subscribed_topics();
        let empty = self.members.is_empty();
        self.enter(if empty { State::Empty } else { State::CompletingRebalance }, now_ms);
        self.pending_syncs.clear();
    }

    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol.as_deref()?;
        for member in self.members.values() {
            read_topics(&member.metadata(protocol), &mut topics).ok()?;
        }
        Some(topics)
    }

    /// Whether a member reads the topic; a consumer group whose subscriptions cannot be read may read any.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// All members as the leader gets them.
    pub fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let joined = |member: &Member<W>| JoinedMember {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(joined).collect()
    }
}

/// The requests of a member that wait.
pub struct Parked<W: Waiters> {
    pub join: Option<W::Join>,
    pub sync: Option<W::Sync>,
}

/// The timeouts that a member asks for, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub session_ms: i32,
    pub rebalance_ms: i32,
}
