//! CreatePartitions (`ReplicationControlManager.createPartitions`).

use std::collections::BTreeMap;

use millrace_metadata::command::{MorePartitions, TopicResult};
use millrace_metadata::limits::PARTITIONS_PER_REQUEST_MAX;
use millrace_metadata::{ApiError, ErrorCode, PartitionImage, Record, TopicImage};

use crate::create::{place, validate_assignment};
use crate::placement::{Loads, new_partition};
use crate::{Cx, Draft};

pub(crate) fn topics(draft: &mut Draft, wanted: &[MorePartitions], cx: &mut Cx<'_>) -> Vec<TopicResult<String>> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    wanted.iter().for_each(|t| *times.entry(&t.name).or_default() += 1);
    let mut loads = Loads::of(draft.image());
    let mut answered = std::collections::BTreeSet::new();
    let mut results = Vec::with_capacity(wanted.len());
    for topic in wanted.iter().filter(|t| answered.insert(t.name.as_str())) {
        let result = if times[topic.name.as_str()] > 1 {
            Err(ApiError::new(ErrorCode::InvalidRequest, "The request names this topic more than once."))
        } else {
            one(draft, topic, &mut loads, cx)
        };
        results.push(result.map(|()| topic.name.clone()).map_err(|e| (topic.name.clone(), e)));
    }
    results
}

fn one(draft: &mut Draft, wanted: &MorePartitions, loads: &mut Loads, cx: &mut Cx<'_>) -> Result<(), ApiError> {
    let topic = draft.image().topic(&wanted.name).ok_or(ErrorCode::UnknownTopicOrPartition)?.clone();
    let have = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let invalid = |text: String| Err(ApiError::new(ErrorCode::InvalidPartitions, text));
    if wanted.count == have {
        return invalid(format!("Topic already has {have} partition(s)."));
    }
    if wanted.count < have {
        return invalid(format!("Topic has {have} partition(s); {} would not be more.", wanted.count));
    }
    let more = wanted.count - have;
    if let Some(assignments) = &wanted.assignments
        && i32::try_from(assignments.len()) != Ok(more)
    {
        let text = format!("{more} partition(s) to add, but {} assignment(s).", assignments.len());
        return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
    }
    if more as usize > PARTITIONS_PER_REQUEST_MAX {
        let text = format!("The request creates more than {PARTITIONS_PER_REQUEST_MAX} partitions.");
        return Err(ApiError::new(ErrorCode::PolicyViolation, text));
    }
    let factor = topic.partitions.first().map_or(1, |p| p.replicas.len());
    let parts = match &wanted.assignments {
        Some(assignments) => manual(draft, assignments, factor)?,
        None => {
            let factor = i16::try_from(factor).unwrap_or(i16::MAX);
            place((draft.image(), &topic.partitions), loads, (more, factor), cx.rng)?
        }
    };
    append(draft, &topic, parts);
    Ok(())
}

fn manual(draft: &Draft, assignments: &[Vec<i32>], factor: usize) -> Result<Vec<PartitionImage>, ApiError> {
    let mut parts = Vec::with_capacity(assignments.len());
    for replicas in assignments {
        validate_assignment(draft.image(), replicas, Some(factor))?;
        parts.push(new_partition(draft.image(), replicas).ok_or_else(|| {
            let text = "All brokers of an assignment are fenced or shutting down.";
            ApiError::new(ErrorCode::InvalidReplicaAssignment, text)
        })?);
    }
    Ok(parts)
}

fn append(draft: &mut Draft, topic: &TopicImage, parts: Vec<PartitionImage>) {
    let first = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    for (index, partition) in (first..).zip(parts) {
        draft.push(Record::Partition { topic: topic.id, index, partition: Box::new(partition) });
    }
}
