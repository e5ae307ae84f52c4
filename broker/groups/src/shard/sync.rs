//! SyncGroup: the leader's assignment goes to everybody (`GroupMetadataManager.java`: classicGroupSync).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_metadata::ErrorCode;

use super::Shard;
use super::rebalance::Turn;
use crate::classic::State;
use crate::effects::{Effects, Release, Waiters};
use crate::timers::Now;
use crate::types::{Sync, SyncAnswer};

impl<W: Waiters> Shard<W> {
    /// A member asks for its assignment; the leader brings everybody's. The answer may come with a later transition.
    pub fn sync(&mut self, sync: Sync, waiter: W::Sync, now: Now, out: &mut Effects<W>) {
        let refusal = if sync.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else {
            self.turn(&sync.group_id, now, out)
                .map_or(Some(ErrorCode::UnknownMemberId), |turn| turn.check_sync(&sync).err())
        };
        if let Some(error) = refusal {
            out.syncs.push((waiter, SyncAnswer::error(error), Release::Now));
        } else if let Some(mut turn) = self.turn(&sync.group_id, now, out) {
            turn.sync(sync, waiter);
        }
    }
}

impl<W: Waiters> Turn<'_, W> {
    fn check_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        let group = &*self.group;
        if group.state == State::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        group.check_member(&sync.member_id, sync.instance_id.as_deref())?;
        if sync.generation != group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |sent: &Option<String>, own: &Option<String>| sent.is_some() && own.is_some() && sent != own;
        if differs(&sync.protocol_type, &group.protocol_type) || differs(&sync.protocol, &group.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if group.state == State::PreparingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn sync(&mut self, sync: Sync, waiter: W::Sync) {
        self.group.pending_syncs.remove(&*sync.member_id);
        if self.group.pending_syncs.is_empty() {
            self.cancel_sync_timer();
        }
        if self.group.state == State::Stable {
            let assignment = self.group.members.get(&*sync.member_id).map(|m| m.assignment.clone());
            let answer = self.assignment(assignment.unwrap_or_default());
            self.answer_sync(waiter, answer, Release::Committed);
            return;
        }
        let member = self.group.members.get_mut(&*sync.member_id);
        if let Some(old) = member.and_then(|m| m.awaiting_sync.replace(waiter)) {
            self.answer_sync(old, SyncAnswer::error(ErrorCode::RebalanceInProgress), Release::Now);
        }
        if self.group.is_leader(&sync.member_id) {
            self.assign(sync.assignments);
        }
    }

    fn assignment(&self, assignment: Bytes) -> SyncAnswer {
        SyncAnswer {
            error: ErrorCode::None,
            protocol_type: self.group.protocol_type.clone(),
            protocol: self.group.protocol.clone(),
            assignment,
        }
    }

    /// Stores the leader's assignment and hands it out once it is committed. A member that the leader left out gets
    /// an empty one; one that is no member is ignored.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.group.members {
            member.assignment = assignments.remove(&**id).unwrap_or_default();
        }
        let before = self.group.state_time_ms;
        self.group.enter(State::Stable, self.now.wall_ms);
        if let Err(error) = self.store() {
            tracing::warn!(group = &*self.id, %error, "the group is too large to be stored");
            self.group.state = State::CompletingRebalance;
            self.group.state_time_ms = before;
            self.cancel_syncs(error);
            self.prepare_rebalance("the assignment could not be stored");
            return;
        }
        let ids: Vec<Arc<str>> = self.group.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.group.members.get_mut(&id) else {
                continue;
            };
            let assignment = member.assignment.clone();
            if let Some(waiter) = member.awaiting_sync.take() {
                let answer = self.assignment(assignment);
                self.answer_sync(waiter, answer, Release::Committed);
                // A session that ended while the member waited was let pass.
                self.restart_session(&id, None);
            }
        }
    }
}
