//! OffsetFetch (`KafkaApis.handleOffsetFetchRequest`). Committed offsets are always stable here: the answer waits for
//! what is under way, whether `require_stable` is set or not.

use std::future::Future;

use futures::future::join_all;
use millrace_groups::types::{Fetch, FetchTopic, FetchedOffset, FetchedTopic};
use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_security::Operation;
use millrace_wire::kp::messages::offset_fetch_response::*;
use millrace_wire::kp::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use millrace_wire::kp::protocol::StrBytes;

use super::{Answer, Cx};

/// First version with an error for the whole group.
const GROUP_ERROR: i16 = 2;
/// First version that asks for many groups.
const GROUPS: i16 = 8;

/// Looks all groups up at once; the answer waits until what it shows is stored.
pub fn handle(
    cx: Cx,
    request: OffsetFetchRequest,
) -> impl Future<Output = Answer<OffsetFetchResponse>> + Send + 'static {
    let version = cx.version();
    let image = cx.broker.image();
    let lookups: Vec<_> = wanted(&request, version)
        .into_iter()
        .map(|wanted| {
            let allowed = cx.may_group(Operation::Describe, &wanted.group_id);
            let fetched = allowed.then(|| cx.broker.groups.fetch(&wanted.fetch(&cx, &image)));
            async move {
                let result = match fetched {
                    Some(fetched) => fetched.await,
                    None => Err(ErrorCode::GroupAuthorizationFailed),
                };
                (wanted, result)
            }
        })
        .collect();
    async move {
        let groups = join_all(lookups).await.into_iter().map(|(wanted, result)| match result {
            Ok(topics) => wanted.found(&cx, topics),
            Err(error) => wanted.failed(error, version),
        });
        Answer::Send(response(groups.collect(), version))
    }
}

/// Answers with the error, for each group.
pub fn refuse(request: &OffsetFetchRequest, version: i16, error: ErrorCode) -> OffsetFetchResponse {
    let groups = wanted(request, version).into_iter().map(|wanted| wanted.failed(error, version));
    response(groups.collect(), version)
}

/// One group of the request, whatever its version.
struct Wanted {
    group_id: GroupId,
    /// None: all.
    topics: Option<Vec<(TopicName, Vec<i32>)>>,
}

fn wanted(request: &OffsetFetchRequest, version: i16) -> Vec<Wanted> {
    if version < GROUPS {
        let topics = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect());
        return vec![Wanted { group_id: request.group_id.clone(), topics }];
    }
    let groups = request.groups.iter().map(|group| {
        let topics = group
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect());
        Wanted { group_id: group.group_id.clone(), topics }
    });
    groups.collect()
}

impl Wanted {
    /// What the coordinator is asked: topics that the client may see.
    fn fetch(&self, cx: &Cx, image: &Image) -> Fetch {
        let topics = self.topics.as_ref().map(|topics| {
            let visible = topics.iter().filter(|(name, _)| cx.may_topic(Operation::Describe, name));
            let fetch = |(name, partitions): &(TopicName, Vec<i32>)| FetchTopic {
                name: name.to_string(),
                id: image.topic_id(name).unwrap_or_default(),
                partitions: partitions.clone(),
            };
            visible.map(fetch).collect()
        });
        Fetch { group_id: self.group_id.to_string(), topics }
    }

    /// The coordinator's answer, and behind it the topics that the client may not see.
    fn found(self, cx: &Cx, fetched: Vec<FetchedTopic>) -> OffsetFetchResponseGroup {
        let hidden = |name: &str| !cx.may_topic(Operation::Describe, name);
        let mut topics: Vec<OffsetFetchResponseTopics> =
            fetched.into_iter().filter(|topic| !hidden(&topic.name)).map(found_topic).collect();
        for (name, indexes) in self.topics.unwrap_or_default() {
            if hidden(&name) {
                topics.push(failed_topic(name, &indexes, ErrorCode::TopicAuthorizationFailed));
            }
        }
        OffsetFetchResponseGroup::default().with_group_id(self.group_id).with_topics(topics)
    }

    /// The error of the group; of each partition where the version has no other place for it.
    fn failed(self, error: ErrorCode, version: i16) -> OffsetFetchResponseGroup {
        let group = OffsetFetchResponseGroup::default().with_group_id(self.group_id).with_error_code(error.code());
        if version >= GROUP_ERROR {
            return group;
        }
        let topics = self.topics.unwrap_or_default();
        group.with_topics(topics.into_iter().map(|(name, indexes)| failed_topic(name, &indexes, error)).collect())
    }
}

fn found_topic(topic: FetchedTopic) -> OffsetFetchResponseTopics {
    let partition = |offset: FetchedOffset| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(offset.index)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(offset.metadata)))
    };
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(StrBytes::from_string(topic.name)))
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

fn failed_topic(name: TopicName, indexes: &[i32], error: ErrorCode) -> OffsetFetchResponseTopics {
    let partition = |index: &i32| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::default()))
            .with_error_code(error.code())
    };
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(indexes.iter().map(partition).collect())
}

fn response(mut groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= GROUPS {
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let Some(group) = groups.pop() else {
        return OffsetFetchResponse::default();
    };
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    let response = OffsetFetchResponse::default().with_topics(topics.collect());
    if version >= GROUP_ERROR { response.with_error_code(group.error_code) } else { response }
}
