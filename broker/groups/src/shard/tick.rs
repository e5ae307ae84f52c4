//! Deadlines.

use std::sync::Arc;

use super::Shard;
use super::rebalance::Turn;
use crate::classic::{JoinPhase, State};
use crate::effects::{Effects, Waiters};
use crate::timers::{Due, Now, TimerId};

impl<W: Waiters> Shard<W> {
    /// Does what has fallen due.
    pub fn tick(&mut self, now: Now, out: &mut Effects<W>) {
        while let Some((timer, due)) = self.timers.pop(now.steady_ms) {
            let (Due::Session { group, .. } | Due::Join { group } | Due::Sync { group }) = &due;
            let group = group.clone();
            if let Some(mut turn) = self.turn(&group, now, out) {
                match due {
                    Due::Session { member, .. } => turn.session_due(timer, &member),
                    Due::Join { .. } => turn.join_due(timer),
                    Due::Sync { .. } => turn.sync_due(timer),
                }
            }
            self.forget_if_unused(&group);
        }
    }
}

impl<W: Waiters> Turn<'_, W> {
    fn session_due(&mut self, timer: TimerId, member: &Arc<str>) {
        let again = || Due::Session { group: self.id.clone(), member: member.clone() };
        if let Some(pending) = self.group.pending_joins.get_mut(member) {
            if pending.came_up(self.timers, timer, self.now.steady_ms, again) {
                self.expire_pending(member);
            }
        } else if let Some(found) = self.group.members.get_mut(member)
            && found.session.came_up(self.timers, timer, self.now.steady_ms, again)
            && !found.has_satisfied_heartbeat()
        {
            self.expire_member(member);
        }
    }

    fn join_due(&mut self, timer: TimerId) {
        let Some(phase) = self.group.join_phase.filter(|phase| phase.timer() == timer) else {
            return;
        };
        self.group.join_phase = None;
        match phase {
            JoinPhase::Initial { delay_ms, remaining_ms, .. } if self.group.new_member_added && remaining_ms > 0 => {
                self.group.new_member_added = false;
                let next = self.settings.initial_rebalance_delay_ms.clamp(0, remaining_ms);
                self.wait_for_initial_joins(next, (remaining_ms - delay_ms).max(0));
            }
            JoinPhase::Initial { .. } | JoinPhase::Rebalance { .. } => self.complete_join(),
        }
    }

    /// Members that joined the generation and did not ask for their assignment in time are out.
    fn sync_due(&mut self, timer: TimerId) {
        if self.group.sync_timer != Some(timer) {
            return;
        }
        self.group.sync_timer = None;
        let waiting = matches!(self.group.state, State::CompletingRebalance | State::Stable);
        if !waiting || self.group.pending_syncs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.group.pending_syncs) {
            self.dismiss(&id);
        }
        self.prepare_rebalance("members did not ask for their assignment");
    }
}
