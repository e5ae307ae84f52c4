//! AssignReplicasToDirs (KIP-858): a broker tells in which of its directories its replicas are.

use millrace_metadata::command::DirAssignment;
use millrace_metadata::{ApiError, DirId, ErrorCode, NodeId, TopicId};

use crate::change::Change;
use crate::{Defaults, Draft};

type Answer = ((TopicId, i32), Result<(), ApiError>);

pub(crate) fn assign(
    draft: &mut Draft,
    broker: NodeId,
    broker_epoch: i64,
    dirs: &[DirAssignment],
    defaults: &Defaults,
) -> Result<Vec<Answer>, ApiError> {
    draft.broker_at(broker, broker_epoch)?;
    let mut answers = Vec::new();
    for DirAssignment { dir, partitions } in dirs {
        for key in partitions {
            answers.push((*key, one(draft, broker, (*key, *dir), defaults)));
        }
    }
    Ok(answers)
}

fn one(
    draft: &mut Draft,
    broker: NodeId,
    ((topic, index), dir): ((TopicId, i32), DirId),
    defaults: &Defaults,
) -> Result<(), ApiError> {
    let topic = draft.image().topic_by_id(&topic).ok_or(ErrorCode::UnknownTopicId)?.clone();
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !partition.replicas.contains(&broker) {
        return Err(ErrorCode::NotLeaderOrFollower.into());
    }
    let offline = draft.image().broker(broker).is_some_and(|b| !b.dirs.contains(&dir));
    let change = Change::new(draft.image(), (&topic, index), defaults).map(|c| c.dir(broker, dir));
    let change = change.map(|c| if offline { c.without(broker) } else { c });
    if let Some(record) = change.and_then(Change::build) {
        draft.push(record);
    }
    Ok(())
}
