//! ListPartitionReassignments (KIP-455; `ReplicationControlManager.listPartitionReassignments`).

use std::future::{Future, ready};

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::{PartitionImage, TopicImage};
use millrace_wire::kp::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use millrace_wire::kp::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::convert::{broker_ids, topic_name};
use super::{Answer, Cx};

/// Lists the reassignments under way; partitions that have none, or do not exist, are left out.
pub fn handle(
    cx: Cx,
    request: ListPartitionReassignmentsRequest,
) -> impl Future<Output = Answer<ListPartitionReassignmentsResponse>> + Send + 'static {
    let image = cx.broker.image();
    let mut response = ListPartitionReassignmentsResponse::default();
    response.error_message = None;
    match &request.topics {
        None => {
            response.topics =
                image.topics().filter_map(|topic| ongoing(topic, 0..topic.partitions.len() as i32)).collect();
        }
        Some(topics) => {
            let known = topics.iter().filter_map(|asked| Some((image.topic(&asked.name)?, asked)));
            response.topics =
                known.filter_map(|(topic, asked)| ongoing(topic, asked.partition_indexes.iter().copied())).collect();
        }
    }
    ready(Answer::Send(response))
}

fn ongoing(topic: &TopicImage, indexes: impl Iterator<Item = i32>) -> Option<OngoingTopicReassignment> {
    let mut out = OngoingTopicReassignment::default();
    for index in indexes {
        if let Some(partition) = topic.partition(index).filter(|partition| partition.is_reassigning()) {
            out.partitions.push(reassignment(index, partition));
        }
    }
    out.name = topic_name(&topic.name);
    (!out.partitions.is_empty()).then_some(out)
}

fn reassignment(index: i32, partition: &PartitionImage) -> OngoingPartitionReassignment {
    let mut out = OngoingPartitionReassignment::default();
    out.partition_index = index;
    out.replicas = broker_ids(&partition.replicas);
    out.adding_replicas = broker_ids(&partition.adding);
    out.removing_replicas = broker_ids(&partition.removing);
    out
}

/// Answers with the error; the topics that were asked for are named without replicas.
pub fn refuse(
    request: &ListPartitionReassignmentsRequest,
    _version: i16,
    error: ErrorCode,
) -> ListPartitionReassignmentsResponse {
    let mut response = ListPartitionReassignmentsResponse::default();
    response.error_code = error.code();
    response.error_message = None;
    for topic in request.topics.iter().flatten() {
        let mut out = OngoingTopicReassignment::default();
        out.name = topic.name.clone();
        for index in &topic.partition_indexes {
            let mut partition = OngoingPartitionReassignment::default();
            partition.partition_index = *index;
            out.partitions.push(partition);
        }
        response.topics.push(out);
    }
    response
}
