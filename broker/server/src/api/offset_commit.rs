//! OffsetCommit (`KafkaApis.handleOffsetCommitRequest`).

use std::future::Future;

use futures::future::{Either, ready};
use millrace_groups::types::{Commit, CommitPartition, CommitTopic, TopicResult};
use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_security::Operation;
use millrace_wire::kp::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use millrace_wire::kp::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};

use super::convert::owned;
use super::{Answer, Cx};

/// First version that tells a missing group from a wrong generation.
const GROUP_ID_NOT_FOUND: i16 = 9;
/// The broker's retention time.
const DEFAULT_RETENTION: i64 = -1;

/// Commits at once; the answer waits until it is stored.
pub fn handle(
    cx: Cx,
    request: OffsetCommitRequest,
) -> impl Future<Output = Answer<OffsetCommitResponse>> + Send + 'static {
    let version = cx.version();
    if !cx.may_group(Operation::Read, &request.group_id) {
        let refused = refuse(&request, version, ErrorCode::GroupAuthorizationFailed);
        return Either::Left(ready(Answer::Send(refused)));
    }
    let plan = Plan::of(&cx, &cx.broker.image(), &request);
    let topics = plan.commits(&request);
    if topics.is_empty() {
        return Either::Left(ready(Answer::Send(plan.response(Ok(Vec::new())))));
    }
    let committed = cx.broker.groups.commit(Commit {
        group_id: request.group_id.to_string(),
        generation: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        instance_id: owned(&request.group_instance_id),
        retention_ms: (request.retention_time_ms != DEFAULT_RETENTION).then_some(request.retention_time_ms),
        missing_group: if version >= GROUP_ID_NOT_FOUND {
            ErrorCode::GroupIdNotFound
        } else {
            ErrorCode::IllegalGeneration
        },
        topics,
    });
    Either::Right(async move { Answer::Send(plan.response(committed.await)) })
}

/// Answers with the error, for each partition.
pub fn refuse(request: &OffsetCommitRequest, _version: i16, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition_response(partition.partition_index, error));
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// What becomes of each partition: an error that is known already, or the coordinator's word.
struct Plan {
    topics: Vec<PlannedTopic>,
}

struct PlannedTopic {
    name: TopicName,
    id: millrace_metadata::TopicId,
    partitions: Vec<(i32, Option<ErrorCode>)>,
}

impl Plan {
    fn of(cx: &Cx, image: &Image, request: &OffsetCommitRequest) -> Self {
        let topics = request.topics.iter().map(|topic| {
            let allowed = cx.may_topic(Operation::Read, &topic.name);
            let known = image.topic(&topic.name).filter(|_| allowed);
            let judge = |index: i32| match known {
                _ if !allowed => Some(ErrorCode::TopicAuthorizationFailed),
                Some(known) if known.partition(index).is_some() => None,
                Some(_) | None => Some(ErrorCode::UnknownTopicOrPartition),
            };
            let partitions = topic.partitions.iter().map(|p| (p.partition_index, judge(p.partition_index)));
            PlannedTopic {
                name: topic.name.clone(),
                id: known.map(|known| known.id).unwrap_or_default(),
                partitions: partitions.collect(),
            }
        });
        Self { topics: topics.collect() }
    }

    /// What the coordinator is to commit.
    fn commits(&self, request: &OffsetCommitRequest) -> Vec<CommitTopic> {
        let mut commits = Vec::with_capacity(self.topics.len());
        for (planned, topic) in self.topics.iter().zip(&request.topics) {
            let chosen = planned.partitions.iter().zip(&topic.partitions).filter(|((_, error), _)| error.is_none());
            let partitions: Vec<CommitPartition> = chosen
                .map(|(_, partition)| CommitPartition {
                    index: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: owned(&partition.committed_metadata).unwrap_or_default(),
                })
                .collect();
            if !partitions.is_empty() {
                commits.push(CommitTopic { name: topic.name.to_string(), id: planned.id, partitions });
            }
        }
        commits
    }

    /// The answer in the order of the request. The coordinator's results are in the order of what it was sent.
    fn response(self, committed: Result<Vec<TopicResult>, ErrorCode>) -> OffsetCommitResponse {
        let mut results = match &committed {
            Ok(topics) => topics.iter().flat_map(|topic| &topic.partitions).map(|(_, error)| *error).collect(),
            Err(_) => Vec::new(),
        }
        .into_iter();
        let fallback = committed.err().unwrap_or(ErrorCode::UnknownServerError);
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|(index, error)| {
                let error = error.or_else(|| results.next()).unwrap_or(fallback);
                partition_response(index, error)
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }
}

fn partition_response(index: i32, error: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::convert::topic_name;

    fn plan() -> Plan {
        let topic = |name: &str, partitions: &[(i32, Option<ErrorCode>)]| PlannedTopic {
            name: topic_name(name),
            id: Default::default(),
            partitions: partitions.to_vec(),
        };
        let unknown = Some(ErrorCode::UnknownTopicOrPartition);
        Plan { topics: vec![topic("a", &[(0, None), (9, unknown), (1, None)]), topic("b", &[(0, unknown)])] }
    }

    fn errors(response: &OffsetCommitResponse) -> Vec<i16> {
        response.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect()
    }

    #[test]
    fn results_keep_the_order_of_the_request() {
        let partitions = vec![(0, ErrorCode::None), (1, ErrorCode::OffsetMetadataTooLarge)];
        let committed = vec![TopicResult { name: "a".into(), partitions }];
        assert_eq!(errors(&plan().response(Ok(committed))), [0, 3, 12, 3]);
        assert_eq!(errors(&plan().response(Err(ErrorCode::NotCoordinator))), [16, 3, 16, 3]);
    }
}
