//! Heartbeat and LeaveGroup.

use std::sync::Arc;

use millrace_metadata::ErrorCode;

use super::Shard;
use super::rebalance::Turn;
use crate::classic::State;
use crate::effects::{Effects, Waiters};
use crate::timers::Now;
use crate::types::{Heartbeat, Leaver, LeftMember};

impl<W: Waiters> Shard<W> {
    /// A member is alive. REBALANCE_IN_PROGRESS tells it to join again.
    pub fn heartbeat(&mut self, beat: &Heartbeat, now: Now, out: &mut Effects<W>) -> Result<(), ErrorCode> {
        if beat.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let mut turn = self.turn(&beat.group_id, now, out).ok_or(ErrorCode::UnknownMemberId)?;
        turn.group.check_member(&beat.member_id, beat.instance_id.as_deref())?;
        if beat.generation != turn.group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        turn.restart_session(&beat.member_id, None);
        match turn.group.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Members leave, or are made to leave by their instance ids. An error of the whole request stands for all of
    /// them; a missing group is an unknown member for each.
    pub fn leave(
        &mut self,
        group_id: &str,
        leavers: Vec<Leaver>,
        now: Now,
        out: &mut Effects<W>,
    ) -> Result<Vec<LeftMember>, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let Some(mut turn) = self.turn(group_id, now, out) else {
            return Ok(leavers.into_iter().map(|leaver| left(leaver, ErrorCode::UnknownMemberId)).collect());
        };
        let mut answer = Vec::with_capacity(leavers.len());
        for leaver in leavers {
            let error = turn.let_go(&leaver).err().unwrap_or(ErrorCode::None);
            answer.push(left(leaver, error));
        }
        if answer.iter().any(|member| member.error == ErrorCode::None) {
            match turn.group.state {
                State::Stable | State::CompletingRebalance => turn.prepare_rebalance("members left"),
                State::PreparingRebalance => turn.maybe_complete_join(),
                State::Empty => {}
            }
        }
        self.forget_if_unused(group_id);
        Ok(answer)
    }
}

fn left(leaver: Leaver, error: ErrorCode) -> LeftMember {
    LeftMember { member_id: leaver.member_id, instance_id: leaver.instance_id, error }
}

impl<W: Waiters> Turn<'_, W> {
    fn let_go(&mut self, leaver: &Leaver) -> Result<(), ErrorCode> {
        let instance = leaver.instance_id.as_deref();
        let id: Arc<str> = if leaver.member_id.is_empty() {
            let member = instance.and_then(|instance| self.group.static_members.get(instance));
            member.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if let Some((id, _)) = self.group.pending_joins.get_key_value(&*leaver.member_id) {
            id.clone()
        } else {
            self.group.check_member(&leaver.member_id, instance)?;
            Arc::from(&*leaver.member_id)
        };
        let reason = leaver.reason.as_deref().unwrap_or("not provided");
        tracing::debug!(group = &*self.id, member = &*id, reason, "leaves");
        self.dismiss(&id);
        Ok(())
    }

    /// A session ended without a sign of life.
    pub fn expire_member(&mut self, id: &str) {
        tracing::debug!(group = &*self.id, member = id, "session expired");
        self.dismiss(id);
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance("a member's session expired"),
            State::PreparingRebalance if self.group.has_all_members_joined() => self.complete_join(),
            State::PreparingRebalance | State::Empty => {}
        }
    }

    /// A member id that was handed out was not used: nobody waits for it any longer.
    pub fn expire_pending(&mut self, id: &str) {
        self.dismiss(id);
        if self.group.state == State::PreparingRebalance && self.group.has_all_members_joined() {
            self.complete_join();
        }
    }
}
