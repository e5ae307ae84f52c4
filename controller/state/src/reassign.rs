//! AlterPartitionReassignments (KIP-455, `ReplicationControlManager.alterPartitionReassignments`).

use millrace_metadata::command::{PartitionKey, Reassignment};
use millrace_metadata::record::Nodes;
use millrace_metadata::{ApiError, ErrorCode, NodeId, TopicImage};

use crate::change::Change;
use crate::create::validate_assignment;
use crate::draft::unclean_allowed;
use crate::features::elr_enabled;
use crate::{Defaults, Draft};

pub(crate) fn partitions(
    draft: &mut Draft,
    wanted: &[Reassignment],
    allow_rf_change: bool,
    defaults: &Defaults,
) -> Vec<(PartitionKey, Result<(), ApiError>)> {
    let mut results = Vec::with_capacity(wanted.len());
    for one in wanted {
        let result = match &one.replicas {
            Some(replicas) => change(draft, one, replicas, allow_rf_change, defaults),
            None => cancel(draft, one, defaults),
        };
        results.push(((one.topic.clone(), one.partition), result));
    }
    results
}

fn find(draft: &Draft, wanted: &Reassignment) -> Result<std::sync::Arc<TopicImage>, ApiError> {
    let unknown = |what: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = draft.image().topic(&wanted.topic);
    let topic = topic.ok_or_else(|| unknown(format!("There is no topic '{}'.", wanted.topic)))?;
    if topic.partition(wanted.partition).is_none() {
        return Err(unknown(format!("There is no partition {}-{}.", wanted.topic, wanted.partition)));
    }
    Ok(topic.clone())
}

fn nodes(list: impl Iterator<Item = NodeId>) -> Nodes {
    list.collect()
}

/// The new replicas join first; the old ones leave when all new ones are in sync, at once if they are already.
fn change(
    draft: &mut Draft,
    wanted: &Reassignment,
    target: &[NodeId],
    allow_rf_change: bool,
    defaults: &Defaults,
) -> Result<(), ApiError> {
    let topic = find(draft, wanted)?;
    validate_assignment(draft.image(), target, None)?;
    let partition = topic.partition(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let factor = partition.replicas.iter().filter(|r| !partition.removing.contains(r)).count();
    if !allow_rf_change && target.len() != factor {
        let text = format!("The replication factor is {factor}, and the request does not allow to change it.");
        return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, text));
    }
    // A second reassignment replaces the first. Who was on its way in and is not wanted any more leaves at once, unless
    // it is in sync: then it stays until those that are wanted are in sync, and counts as added and removed, so that a
    // cancellation still leads back to where the first one began (Kafka keeps it as if it had always been a replica).
    let original = |r: &NodeId| !partition.adding.contains(r);
    let leaving = |r: &NodeId| !target.contains(r) && (original(r) || partition.isr.contains(r));
    let mut removing = nodes(partition.replicas.iter().copied().filter(leaving));
    removing.sort_unstable();
    let replicas = nodes(target.iter().copied().chain(removing.iter().copied()));
    let mut adding = nodes(replicas.iter().copied().filter(|r| !partition.replicas.contains(r) || !original(r)));
    adding.sort_unstable();
    let change = Change::new(draft.image(), (&topic, wanted.partition), defaults);
    if let Some(record) = change.and_then(|c| c.assignment(replicas, adding, removing).build()) {
        draft.push(record);
    }
    Ok(())
}

fn cancel(draft: &mut Draft, wanted: &Reassignment, defaults: &Defaults) -> Result<(), ApiError> {
    let topic = find(draft, wanted)?;
    let partition = topic.partition(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !partition.is_reassigning() {
        return Err(ErrorCode::NoReassignmentInProgress.into());
    }
    let stays = |r: &NodeId| !partition.adding.contains(r);
    let replicas = nodes(partition.replicas.iter().copied().filter(stays));
    let mut isr = nodes(partition.isr.iter().copied().filter(stays));
    let change = Change::new(draft.image(), (&topic, wanted.partition), defaults);
    let eligible = |c: &Change<'_>| partition.elr.iter().any(|r| stays(r) && c.acceptable(*r));
    if isr.is_empty() && !change.as_ref().is_some_and(eligible) {
        // Only replicas that were on their way in hold everything (`PartitionReassignmentRevert`).
        if !unclean_allowed(draft.image(), &topic, defaults) {
            let text = "Going back would need an unclean leader election, which the topic does not allow.";
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        if !elr_enabled(draft.image()) {
            isr.extend(replicas.first().copied());
        }
    }
    let built = change.and_then(|c| c.isr(isr).assignment(replicas, Nodes::new(), Nodes::new()).build());
    if let Some(record) = built {
        draft.push(record);
    }
    Ok(())
}
