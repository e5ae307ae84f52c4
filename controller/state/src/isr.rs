//! AlterPartition: a leader changes the in-sync set of its partition (`ReplicationControlManager.alterPartition`).

use millrace_metadata::command::{IsrChange, IsrState};
use millrace_metadata::record::Nodes;
use millrace_metadata::{ApiError, BrokerImage, DirId, ErrorCode, Image, NodeId, PartitionImage, TopicId};

use crate::change::Change;
use crate::{Defaults, Draft};

type Answer = ((TopicId, i32), Result<IsrState, ApiError>);

pub(crate) fn alter(
    draft: &mut Draft,
    broker: NodeId,
    broker_epoch: i64,
    changes: &[IsrChange],
    defaults: &Defaults,
) -> Result<Vec<Answer>, ApiError> {
    draft.broker_at(broker, broker_epoch)?;
    let answer = |c: &IsrChange| ((c.topic, c.partition), one(draft, broker, c, defaults));
    Ok(changes.iter().map(answer).collect())
}

fn one(draft: &mut Draft, broker: NodeId, change: &IsrChange, defaults: &Defaults) -> Result<IsrState, ApiError> {
    let topic = draft.image().topic_by_id(&change.topic).ok_or(ErrorCode::UnknownTopicId)?.clone();
    let partition = topic.partition(change.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check(draft.image(), broker, partition, change)?;
    let isr: Nodes = change.isr.iter().map(|(node, _)| *node).collect();
    let built = Change::new(draft.image(), (&topic, change.partition), defaults)
        .and_then(|c| c.isr(isr).recovering(change.recovering).build());
    if let Some(record) = built {
        draft.push(record);
    }
    let now = draft.image().topic_by_id(&change.topic).and_then(|t| t.partition(change.partition));
    let now = now.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if now.leader != broker {
        // The change completed a reassignment that took the sender out: it is done, and the sender must look again.
        return Err(ErrorCode::NewLeaderElected.into());
    }
    Ok(IsrState {
        leader: now.leader,
        leader_epoch: now.leader_epoch,
        isr: now.isr.clone(),
        recovering: now.recovering,
        partition_epoch: now.partition_epoch,
    })
}

/// The order of the checks is Kafka's (`validateAlterPartitionData`).
fn check(image: &Image, broker: NodeId, partition: &PartitionImage, change: &IsrChange) -> Result<(), ApiError> {
    let refuse = |code: ErrorCode| Err(ApiError::from(code));
    if change.leader_epoch > partition.leader_epoch || change.partition_epoch > partition.partition_epoch {
        // The sender knows more than this controller, which then is likely not the active one any more.
        return refuse(ErrorCode::NotController);
    }
    if change.leader_epoch < partition.leader_epoch {
        return refuse(ErrorCode::FencedLeaderEpoch);
    }
    if broker != partition.leader {
        return refuse(ErrorCode::InvalidRequest);
    }
    if change.partition_epoch < partition.partition_epoch {
        return refuse(ErrorCode::InvalidUpdateVersion);
    }
    let mut nodes: Vec<NodeId> = change.isr.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    let distinct = nodes.windows(2).all(|pair| pair[0] != pair[1]);
    let replicas = nodes.iter().all(|node| partition.replicas.contains(node));
    if !distinct || !replicas || !nodes.contains(&partition.leader) {
        return refuse(ErrorCode::InvalidRequest);
    }
    if change.recovering && (nodes.len() > 1 || !partition.recovering) {
        return refuse(ErrorCode::InvalidRequest);
    }
    // A replica whose directory has failed may have been up to date before: its leader cannot know.
    let works = |b: &BrokerImage| partition.dir_of(b.id).is_some_and(|d| d == DirId::UNASSIGNED || b.dirs.contains(&d));
    let eligible = |(node, epoch): &(NodeId, i64)| {
        image.broker(*node).is_some_and(|b| b.is_active() && works(b) && (*epoch == -1 || *epoch == b.epoch))
    };
    if !change.isr.iter().all(eligible) {
        return refuse(ErrorCode::IneligibleReplica);
    }
    Ok(())
}
