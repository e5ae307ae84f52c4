//! The steps of a rebalance (`GroupMetadataManager.java`: prepareRebalance, completeClassicGroupJoin and around).

use std::sync::Arc;

use bytes::Bytes;
use millrace_metadata::ErrorCode;

use crate::batch::RECORD_OVERHEAD;
use crate::classic::{ClassicGroup, JoinPhase, State};
use crate::config::GroupSettings;
use crate::effects::{Effects, Release, Waiters};
use crate::records::{group_key_len, put_group_key};
use crate::timers::{Due, Now, Timers};
use crate::types::{JoinAnswer, SyncAnswer};

/// The least wait before a rebalance that nobody joined is tried again.
const MIN_RETRY_MS: i32 = 1_000;

/// Room for the header of a batch and the framing of its only record.
const BATCH_OVERHEAD: usize = 128;

/// One transition of one group.
pub(super) struct Turn<'a, W: Waiters> {
    pub id: Arc<str>,
    pub group: &'a mut ClassicGroup<W>,
    pub stored: &'a mut Option<Bytes>,
    pub live_bytes: &'a mut u64,
    pub settings: &'a GroupSettings,
    pub timers: &'a mut Timers,
    pub now: Now,
    pub out: &'a mut Effects<W>,
}

impl<W: Waiters> Turn<'_, W> {
    pub fn answer_join(&mut self, waiter: W::Join, answer: JoinAnswer, release: Release) {
        self.out.joins.push((waiter, answer, release));
    }

    pub fn answer_sync(&mut self, waiter: W::Sync, answer: SyncAnswer, release: Release) {
        self.out.syncs.push((waiter, answer, release));
    }

    /// The member's session, or its wait for the first answer, ends `timeout_ms` from now.
    pub fn restart_session(&mut self, member_id: &str, timeout_ms: Option<i32>) {
        let Some(member) = self.group.members.get_mut(member_id) else {
            return;
        };
        let timeout_ms = timeout_ms.unwrap_or(member.session_timeout_ms);
        let at_ms = self.now.steady_ms + i64::from(timeout_ms.max(0));
        let due = || Due::Session { group: self.id.clone(), member: member.id.clone() };
        member.session.move_to(self.timers, at_ms, due);
    }

    /// Takes a member out of the group; its parked requests learn that it is no member any more.
    pub fn dismiss(&mut self, member_id: &str) {
        if let Some(mut pending) = self.group.pending_joins.get(member_id).copied() {
            pending.cancel(self.timers);
        }
        let Some(mut member) = self.group.remove(member_id) else {
            return;
        };
        member.session.cancel(self.timers);
        if let Some(waiter) = member.awaiting_join {
            self.answer_join(waiter, JoinAnswer::error(ErrorCode::UnknownMemberId, ""), Release::Now);
        }
        if let Some(waiter) = member.awaiting_sync {
            self.answer_sync(waiter, SyncAnswer::error(ErrorCode::UnknownMemberId), Release::Now);
        }
    }

    /// Starts a rebalance if the group is not in one, else sees whether it can go on.
    pub fn rebalance_or_complete_join(&mut self, reason: &str) {
        match self.group.state {
            State::PreparingRebalance => self.maybe_complete_join(),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(reason),
        }
    }

    /// Goes on if everybody has joined. The initial wait is not cut short by that: more members may come.
    pub fn maybe_complete_join(&mut self) {
        let group = &*self.group;
        if group.state == State::PreparingRebalance && !group.initial_rebalance && group.has_all_members_joined() {
            self.complete_join();
        }
    }

    pub fn prepare_rebalance(&mut self, reason: &str) {
        tracing::debug!(group = &*self.id, generation = self.group.generation, reason, "rebalance");
        if self.group.state == State::CompletingRebalance {
            self.cancel_syncs(ErrorCode::RebalanceInProgress);
        }
        self.group.pending_syncs.clear();
        self.cancel_sync_timer();
        let initial = self.group.state == State::Empty;
        self.group.enter(State::PreparingRebalance, self.now.wall_ms);
        if initial {
            let delay_ms = self.settings.initial_rebalance_delay_ms.max(0);
            let remaining_ms = (self.group.rebalance_timeout_ms() - delay_ms).max(0);
            self.group.new_member_added = false;
            self.wait_for_initial_joins(delay_ms, remaining_ms);
        } else if self.group.has_all_members_joined() {
            self.complete_join();
        } else {
            self.wait_for_joins(self.group.rebalance_timeout_ms());
        }
    }

    /// Refuses the parked SyncGroups; nobody has an assignment of the generation that is given up.
    pub fn cancel_syncs(&mut self, error: ErrorCode) {
        let ids: Vec<Arc<str>> = self.group.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.group.members.get_mut(&id) else {
                continue;
            };
            member.assignment = Bytes::new();
            if let Some(waiter) = member.awaiting_sync.take() {
                self.answer_sync(waiter, SyncAnswer::error(error), Release::Now);
                self.restart_session(&id, None);
            }
        }
    }

    pub fn cancel_sync_timer(&mut self) {
        if let Some(timer) = self.group.sync_timer.take() {
            self.timers.cancel(timer);
        }
    }

    fn cancel_join_timer(&mut self) {
        if let Some(phase) = self.group.join_phase.take() {
            self.timers.cancel(phase.timer());
        }
    }

    pub fn wait_for_initial_joins(&mut self, delay_ms: i32, remaining_ms: i32) {
        self.cancel_join_timer();
        let timer = self.timers.set(self.now.steady_ms + i64::from(delay_ms), Due::Join { group: self.id.clone() });
        self.group.join_phase = Some(JoinPhase::Initial { delay_ms, remaining_ms, timer });
    }

    fn wait_for_joins(&mut self, timeout_ms: i32) {
        self.cancel_join_timer();
        let timer = self.timers.set(self.now.steady_ms + i64::from(timeout_ms), Due::Join { group: self.id.clone() });
        self.group.join_phase = Some(JoinPhase::Rebalance { timer });
    }

    /// Ends the wait for members: those who did not come are out (static ones stay until their session ends), the
    /// others get the next generation.
    pub fn complete_join(&mut self) {
        if self.group.state != State::PreparingRebalance {
            return;
        }
        self.cancel_join_timer();
        let absent = |m: &&crate::classic::Member<W>| m.awaiting_join.is_none() && !m.is_static();
        let absent: Vec<Arc<str>> = self.group.members.values().filter(absent).map(|m| m.id.clone()).collect();
        for id in &absent {
            self.dismiss(id);
        }
        if !self.group.members.is_empty() && !self.group.elect_joined_leader() {
            tracing::debug!(group = &*self.id, "no member joined, waiting again");
            self.wait_for_joins(self.group.rebalance_timeout_ms().max(MIN_RETRY_MS));
            return;
        }
        self.group.next_generation(self.now.wall_ms);
        if self.group.state == State::Empty {
            // A crash before it is committed brings back the last generation, whose members then time out.
            if let Err(error) = self.store() {
                tracing::warn!(group = &*self.id, %error, "an empty group could not be stored");
            }
        } else {
            self.announce_generation();
        }
    }

    fn announce_generation(&mut self) {
        let ids: Vec<Arc<str>> = self.group.members.keys().cloned().collect();
        for id in ids {
            if let Some(waiter) = self.group.take_join(&id) {
                let answer = self.generation_for(&id);
                self.answer_join(waiter, answer, Release::Now);
            }
            if let Some(member) = self.group.members.get_mut(&id) {
                member.is_new = false;
            }
            self.restart_session(&id, None);
            self.group.pending_syncs.insert(id);
        }
        let at_ms = self.now.steady_ms + i64::from(self.group.rebalance_timeout_ms());
        self.cancel_sync_timer();
        self.group.sync_timer = Some(self.timers.set(at_ms, Due::Sync { group: self.id.clone() }));
    }

    /// The present generation as a member of it learns it.
    pub fn generation_for(&self, member_id: &str) -> JoinAnswer {
        let group = &*self.group;
        JoinAnswer {
            error: ErrorCode::None,
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader_or_empty(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: if group.is_leader(member_id) { group.joined_members() } else { Vec::new() },
        }
    }

    /// Writes the group's record. Fails, without a change, if no batch could hold it.
    pub fn store(&mut self) -> Result<(), ErrorCode> {
        let mut value = Vec::new();
        self.group.to_record().encode(&mut value);
        if value.len() + self.id.len() + BATCH_OVERHEAD > self.settings.max_batch_bytes {
            return Err(ErrorCode::UnknownServerError);
        }
        let records = &mut self.out.records;
        records.put(|out| put_group_key(out, &self.id), |out| out.extend_from_slice(&value));
        let cost = |value: &Bytes| (group_key_len(&self.id) + value.len() + RECORD_OVERHEAD) as u64;
        let value = Bytes::from(value);
        *self.live_bytes += cost(&value);
        if let Some(old) = self.stored.replace(value) {
            *self.live_bytes -= cost(&old);
        }
        Ok(())
    }
}
