//! ListGroups, DescribeGroups, DeleteGroups.

use millrace_metadata::ErrorCode;

use super::{Entry, Group, Shard};
use crate::batch::RECORD_OVERHEAD;
use crate::classic::{ClassicGroup, Member, State};
use crate::effects::{Effects, Records, Waiters};
use crate::records::{group_key_len, put_group_key};
use crate::types::{Described, DescribedMember, ListFilter, Listed};

/// ListGroups' name of classic groups.
const CLASSIC: &str = "classic";

impl<W: Waiters> Shard<W> {
    /// The groups that pass the filter, by name.
    pub fn list(&self, filter: &ListFilter) -> Vec<Listed> {
        let passes = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let listed = |(id, entry): (&std::sync::Arc<str>, &Entry<W>)| {
            let Group::Classic(group) = &entry.group;
            (passes(&filter.states, group.state.name()) && passes(&filter.types, CLASSIC)).then(|| Listed {
                group_id: id.to_string(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state.name(),
                group_type: CLASSIC,
            })
        };
        self.groups.iter().filter_map(listed).collect()
    }

    /// A group and its members; None if there is no such group.
    pub fn describe(&self, group_id: &str) -> Option<Described> {
        let Group::Classic(group) = &self.groups.get(group_id)?.group;
        let protocol = group.protocol.as_deref().filter(|_| group.state == State::Stable);
        Some(Described {
            group_id: group_id.to_owned(),
            state: group.state.name(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: group.members.values().map(|member| describe_member(member, protocol)).collect(),
        })
    }

    /// Deletes an empty group with its offsets.
    pub fn delete(&mut self, group_id: &str, out: &mut Effects<W>) -> Result<(), ErrorCode> {
        let Group::Classic(group) = &self.groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?.group;
        if group.state != State::Empty {
            return Err(ErrorCode::NonEmptyGroup);
        }
        self.delete_group(group_id, &mut out.records);
        Ok(())
    }

    /// Forgets a group and writes the tombstones of all that was stored of it. Ids that were handed out lapse.
    pub(super) fn delete_group(&mut self, group_id: &str, records: &mut Records) {
        let Some(entry) = self.groups.get(group_id) else {
            return;
        };
        let offsets = entry.offsets.iter();
        let keys: Vec<(String, i32)> = offsets.map(|(topic, index, _)| (topic.to_owned(), index)).collect();
        for (topic, index) in keys {
            self.delete_offset(group_id, &topic, index, records);
        }
        let Some(entry) = self.groups.remove(group_id) else {
            return;
        };
        let Group::Classic(group) = entry.group;
        cancel_timers(group, &mut self.timers);
        if let Some(stored) = entry.stored {
            self.live_bytes -= (group_key_len(group_id) + stored.len() + RECORD_OVERHEAD) as u64;
            records.delete(|buf| put_group_key(buf, group_id));
        }
    }
}

fn cancel_timers<W: Waiters>(mut group: ClassicGroup<W>, timers: &mut crate::timers::Timers) {
    for pending in group.pending_joins.values_mut() {
        pending.cancel(timers);
    }
    for member in group.members.values_mut() {
        member.session.cancel(timers);
    }
    let join = group.join_phase.map(|phase| phase.timer());
    for timer in join.into_iter().chain(group.sync_timer) {
        timers.cancel(timer);
    }
}

fn describe_member<W: Waiters>(member: &Member<W>, protocol: Option<&str>) -> DescribedMember {
    DescribedMember {
        member_id: member.id.to_string(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
        assignment: member.assignment.clone(),
    }
}
