//! JoinGroup (`GroupMetadataManager.java`: classicGroupJoin and below).

use std::sync::Arc;

use millrace_metadata::ErrorCode;

use super::rebalance::Turn;
use super::{Entry, Shard, UuidSource, storable};
use crate::classic::{Member, State, Timeouts};
use crate::config::NEW_MEMBER_JOIN_TIMEOUT_MS;
use crate::effects::{Effects, Release, Waiters};
use crate::timers::{Due, Moving, Now};
use crate::types::{Join, JoinAnswer, SyncAnswer};

/// Bytes of a dash and a UUID.
const ID_SUFFIX: usize = 37;

impl<W: Waiters> Shard<W> {
    /// A client joins. The answer may come with a later transition.
    pub fn join(&mut self, join: Join, waiter: W::Join, now: Now, out: &mut Effects<W>) {
        if let Err(error) = self.check_join(&join) {
            out.joins.push((waiter, JoinAnswer::error(error, join.member_id), Release::Now));
            return;
        }
        if !self.groups.contains_key(&*join.group_id) {
            if !join.member_id.is_empty() {
                let answer = JoinAnswer::error(ErrorCode::UnknownMemberId, join.member_id);
                out.joins.push((waiter, answer, Release::Now));
                return;
            }
            self.groups.insert(Arc::from(&*join.group_id), Entry::new(now.wall_ms));
        }
        // Taken out so that the group can be borrowed meanwhile.
        let mut uuids: UuidSource = std::mem::replace(&mut self.uuids, Box::new(|| [0; 16]));
        if let Some(mut turn) = self.turn(&join.group_id, now, out) {
            turn.join(&join, waiter, &mut uuids);
        }
        self.uuids = uuids;
        self.forget_if_unused(&join.group_id);
    }

    fn check_join(&self, join: &Join) -> Result<(), ErrorCode> {
        if join.group_id.is_empty() || !storable(&join.group_id) {
            return Err(ErrorCode::InvalidGroupId);
        }
        let session = self.settings.min_session_timeout_ms..=self.settings.max_session_timeout_ms;
        if !session.contains(&join.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        // Strings that the group's record could not hold.
        let prefix = join.instance_id.as_ref().map_or(join.client_id.len(), String::len);
        let stored = [&join.member_id, &join.client_host, &join.protocol_type];
        let fits = prefix + ID_SUFFIX <= crate::config::MAX_STRING
            && storable(&join.client_id)
            && stored.into_iter().all(|text| storable(text))
            && join.protocols.iter().all(|p| storable(&p.name));
        if fits { Ok(()) } else { Err(ErrorCode::InvalidRequest) }
    }
}

impl<W: Waiters> Turn<'_, W> {
    fn join(&mut self, join: &Join, waiter: W::Join, uuids: &mut UuidSource) {
        if !self.has_room_for(&join.member_id) {
            self.dismiss(&join.member_id);
            self.refuse_join(waiter, ErrorCode::GroupMaxSizeReached, "");
        } else if !self.group.supports(&join.protocol_type, &join.protocols) {
            self.refuse_join(waiter, ErrorCode::InconsistentGroupProtocol, &join.member_id);
        } else if !join.member_id.is_empty() {
            self.join_known(join, waiter);
        } else {
            let prefix = join.instance_id.as_deref().unwrap_or(&join.client_id);
            let id: Arc<str> = Arc::from(format!("{prefix}-{}", Uuid(uuids())));
            self.join_new(join, id, waiter);
        }
    }

    fn refuse_join(&mut self, waiter: W::Join, error: ErrorCode, member_id: &str) {
        self.answer_join(waiter, JoinAnswer::error(error, member_id), Release::Now);
    }

    /// `group.max.size`. While a rebalance is prepared, those who have joined count, so that a group that became too
    /// large loses the last ones to come back.
    fn has_room_for(&self, member_id: &str) -> bool {
        let group = &*self.group;
        let member = group.members.get(member_id);
        match group.state {
            State::Empty => true,
            State::PreparingRebalance => {
                member.is_some_and(|m| m.awaiting_join.is_some()) || group.awaiting_joins() < self.settings.max_size
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || group.members.len() < self.settings.max_size
            }
        }
    }

    fn join_new(&mut self, join: &Join, id: Arc<str>, waiter: W::Join) {
        if let Some(instance) = &join.instance_id {
            match self.group.static_members.get(instance).cloned() {
                Some(old) => self.join_in_place_of(&old, join, id, waiter),
                None => self.add_member(join, id, waiter),
            }
        } else if join.require_known_member_id {
            let mut session = Moving::default();
            let due = || Due::Session { group: self.id.clone(), member: id.clone() };
            session.move_to(self.timers, self.now.steady_ms + i64::from(join.session_timeout_ms), due);
            self.refuse_join(waiter, ErrorCode::MemberIdRequired, &id);
            self.group.pending_joins.insert(id, session);
        } else {
            self.add_member(join, id, waiter);
        }
    }

    fn join_known(&mut self, join: &Join, waiter: W::Join) {
        let id = &*join.member_id;
        if let Some((id, mut session)) = self.group.pending_joins.remove_entry(id) {
            session.cancel(self.timers);
            if join.instance_id.is_some() {
                // An id that was handed out to a dynamic member.
                self.refuse_join(waiter, ErrorCode::UnknownMemberId, &id);
            } else {
                self.add_member(join, id, waiter);
            }
            return;
        }
        if let Err(error) = self.group.check_member(id, join.instance_id.as_deref()) {
            self.refuse_join(waiter, error, id);
            return;
        }
        let same = self.group.members.get(id).is_some_and(|m| m.protocols == join.protocols);
        match self.group.state {
            State::PreparingRebalance => self.update_member(join, waiter, "a member joins again"),
            // It may have missed the answer to its first JoinGroup.
            State::CompletingRebalance if same => self.answer_with_generation(id, waiter),
            State::CompletingRebalance => self.update_member(join, waiter, "a member's metadata changed"),
            // The leader joins again when something outside of the group changes the assignment.
            State::Stable if self.group.is_leader(id) => self.update_member(join, waiter, "the leader joins again"),
            State::Stable if same => self.answer_with_generation(id, waiter),
            State::Stable => self.update_member(join, waiter, "a member's metadata changed"),
            State::Empty => self.refuse_join(waiter, ErrorCode::UnknownMemberId, id),
        }
    }

    fn answer_with_generation(&mut self, id: &str, waiter: W::Join) {
        let answer = self.generation_for(id);
        self.answer_join(waiter, answer, Release::Now);
    }

    fn add_member(&mut self, join: &Join, id: Arc<str>, waiter: W::Join) {
        if self.group.state == State::PreparingRebalance && self.group.initial_rebalance {
            self.group.new_member_added = true;
        }
        let member = Member {
            id: id.clone(),
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols.clone(),
            assignment: Default::default(),
            is_new: true,
            awaiting_join: Some(waiter),
            awaiting_sync: None,
            session: Moving::default(),
        };
        self.group.add(member, &join.protocol_type);
        // It cannot send heartbeats before it has its id, and a lost connection does not show while the request
        // waits: a member that gave up must not hold up the group for ever.
        self.restart_session(&id, Some(NEW_MEMBER_JOIN_TIMEOUT_MS));
        self.rebalance_or_complete_join("a new member joins");
    }

    fn update_member(&mut self, join: &Join, waiter: W::Join, reason: &str) {
        self.group.update(&join.member_id, &join.protocols, timeouts(join));
        self.park(&join.member_id, waiter);
        self.rebalance_or_complete_join(reason);
    }

    /// Parks a JoinGroup. One that the same member sent before gives way: its sender tries again if it still listens.
    fn park(&mut self, member_id: &str, waiter: W::Join) {
        if let Some(old) = self.group.park_join(member_id, waiter) {
            self.refuse_join(old, ErrorCode::RebalanceInProgress, member_id);
        }
    }

    /// A static member came back without its id (KIP-345): it gets a new one and everything else of the old one.
    fn join_in_place_of(&mut self, old_id: &str, join: &Join, new_id: Arc<str>, waiter: W::Join) {
        let old_leader = self.group.leader_or_empty();
        let Some(old) = self.group.replace_static(old_id, new_id.clone()) else {
            return;
        };
        if let Some(waiter) = old.join {
            self.refuse_join(waiter, ErrorCode::FencedInstanceId, old_id);
        }
        if let Some(waiter) = old.sync {
            self.answer_sync(waiter, SyncAnswer::error(ErrorCode::FencedInstanceId), Release::Now);
        }
        if let Some(member) = self.group.members.get_mut(&new_id) {
            member.session.cancel(self.timers);
            member.client_id = join.client_id.clone();
            member.client_host = join.client_host.clone();
        }
        self.group.update(&new_id, &join.protocols, timeouts(join));
        self.restart_session(&new_id, None);
        match self.group.state {
            State::Stable if self.group.select_protocol() == self.group.protocol => {
                self.keep_generation(join, old_leader, &new_id, waiter);
            }
            State::Stable => {
                self.park(&new_id, waiter);
                self.prepare_rebalance("a static member's protocols change the group's");
            }
            // The leader may be assigning to the old id already.
            State::CompletingRebalance => {
                self.park(&new_id, waiter);
                self.prepare_rebalance("a static member was replaced");
            }
            State::PreparingRebalance => {
                self.park(&new_id, waiter);
                self.maybe_complete_join();
            }
            // An empty group has no members to take the place of.
            State::Empty => self.refuse_join(waiter, ErrorCode::UnknownMemberId, ""),
        }
    }

    /// The returning member takes its part of the generation; nobody else notices.
    fn keep_generation(&mut self, join: &Join, old_leader: String, new_id: &str, waiter: W::Join) {
        if let Err(error) = self.store() {
            self.park(new_id, waiter);
            self.prepare_rebalance("a replaced static member could not be stored");
            tracing::warn!(group = &*self.id, %error, "the group is too large to be stored");
            return;
        }
        let mut answer = self.generation_for(new_id);
        if join.supports_skipping_assignment {
            answer.skip_assignment = self.group.is_leader(new_id);
        } else {
            // A client that cannot skip the assignment must not take itself for the leader.
            answer.leader = old_leader;
            answer.members = Vec::new();
        }
        self.answer_join(waiter, answer, Release::Committed);
    }
}

fn timeouts(join: &Join) -> Timeouts {
    Timeouts { session_ms: join.session_timeout_ms, rebalance_ms: join.rebalance_timeout_ms }
}

/// Writes 16 random bytes as a version 4 UUID.
struct Uuid([u8; 16]);

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = self.0;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
