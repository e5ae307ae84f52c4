//! ListOffsets (`ReplicaManager.fetchOffset`, `Partition.fetchOffsetForTimestamp`).

use std::collections::BTreeMap;
use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_replica::{Isolation, OffsetQuery, OffsetSpec};
use millrace_security::Operation;
use millrace_wire::kp::messages::list_offsets_request::ListOffsetsPartition;
use millrace_wire::kp::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use millrace_wire::kp::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::codes;
use super::convert::topic_name;
use super::{Answer, Cx};

/// Replica ids of those that ask: a consumer, and a tool that may ask any replica.
const CONSUMER: i32 = -1;
const DEBUGGING: i32 = -2;
/// First version with the leader epoch of the offset found.
const LEADER_EPOCH: i16 = 4;
/// First version that knows OFFSET_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE: i16 = 5;
const READ_COMMITTED: i8 = 1;

/// Looks the offsets up, one partition after the other.
pub fn handle(
    cx: Cx,
    request: ListOffsetsRequest,
) -> impl Future<Output = Answer<ListOffsetsResponse>> + Send + 'static {
    async move {
        let image = cx.broker.image();
        let how = How {
            isolation: match (request.replica_id.0, request.isolation_level) {
                (CONSUMER, READ_COMMITTED) => Isolation::ReadCommitted,
                (CONSUMER, _) => Isolation::ReadUncommitted,
                (_, _) => Isolation::LogEnd,
            },
            any_replica: request.replica_id.0 == DEBUGGING,
        };
        let mut response = ListOffsetsResponse::default();
        for (name, partitions) in distinct(&request) {
            let mut out = ListOffsetsTopicResponse::default();
            out.name = topic_name(name);
            out.partitions = Vec::with_capacity(partitions.len());
            let allowed = cx.may_topic(Operation::Describe, name);
            for (index, asked) in partitions {
                let found = match asked {
                    _ if !allowed => Err(ErrorCode::TopicAuthorizationFailed),
                    Asked::Twice => Err(ErrorCode::InvalidRequest),
                    Asked::Once(asked) => find(&cx, &image, &how, name, asked).await,
                };
                out.partitions.push(result(cx.version(), index, found));
            }
            response.topics.push(out);
        }
        Answer::Send(response)
    }
}

struct How {
    isolation: Isolation,
    any_replica: bool,
}

/// What is asked of a partition; one that is named twice is refused.
enum Asked<'a> {
    Once(&'a ListOffsetsPartition),
    Twice,
}

/// Each partition once. A topic without partitions is not answered, as in Kafka.
fn distinct(request: &ListOffsetsRequest) -> BTreeMap<&str, BTreeMap<i32, Asked<'_>>> {
    let mut topics: BTreeMap<&str, BTreeMap<i32, Asked<'_>>> = BTreeMap::new();
    for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions = topics.entry(&topic.name).or_default();
        for asked in &topic.partitions {
            let one = partitions.entry(asked.partition_index);
            one.and_modify(|seen| *seen = Asked::Twice).or_insert(Asked::Once(asked));
        }
    }
    topics
}

/// What a timestamp asks for, if the version knows it.
fn meaning(timestamp: i64, version: i16) -> Option<OffsetSpec> {
    let (spec, since) = match timestamp {
        -1 => (OffsetSpec::Latest, 1),
        -2 => (OffsetSpec::Earliest, 1),
        -3 => (OffsetSpec::MaxTimestamp, 7),
        -4 => (OffsetSpec::EarliestLocal, 8),
        -5 => (OffsetSpec::LatestTiered, 9),
        time if time >= 0 => (OffsetSpec::Timestamp(time), 1),
        _ => return None,
    };
    (version >= since).then_some(spec)
}

/// Offset, timestamp and leader epoch; −1 where there is none.
type Found = (i64, i64, i32);

async fn find(
    cx: &Cx,
    image: &Image,
    how: &How,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    let index = asked.partition_index;
    let spec = meaning(asked.timestamp, cx.version()).ok_or(ErrorCode::UnsupportedVersion)?;
    image.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = cx.broker.replicas.partition(topic, index).map_err(|error| codes::lookup(&error))?;
    let query = OffsetQuery {
        spec,
        isolation: how.isolation,
        current_leader_epoch: asked.current_leader_epoch,
        any_replica: how.any_replica,
    };
    match partition.list_offset(query).await {
        Ok(Some(found)) => Ok((found.offset, found.timestamp, found.leader_epoch)),
        Ok(None) => Ok((-1, -1, -1)),
        Err(error) => Err(match codes::read(&error) {
            ErrorCode::OffsetNotAvailable if cx.version() < OFFSET_NOT_AVAILABLE => ErrorCode::LeaderNotAvailable,
            code => code,
        }),
    }
}

fn result(version: i16, index: i32, found: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    let mut out = ListOffsetsPartitionResponse::default();
    out.partition_index = index;
    match found {
        Ok((offset, timestamp, leader_epoch)) => {
            out.offset = offset;
            out.timestamp = timestamp;
            if version >= LEADER_EPOCH {
                out.leader_epoch = leader_epoch;
            }
        }
        Err(error) => out.error_code = error.code(),
    }
    out
}

/// Answers every partition of the request with the error.
pub fn refuse(request: &ListOffsetsRequest, version: i16, error: ErrorCode) -> ListOffsetsResponse {
    let mut response = ListOffsetsResponse::default();
    for topic in &request.topics {
        let mut out = ListOffsetsTopicResponse::default();
        out.name = topic.name.clone();
        let partitions = topic.partitions.iter();
        out.partitions = partitions.map(|p| result(version, p.partition_index, Err(error))).collect();
        response.topics.push(out);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_wire::kp::messages::list_offsets_request::ListOffsetsTopic;

    #[test]
    fn meanings_begin_with_their_versions() {
        let first = |timestamp| (0..=11).find(|version| meaning(timestamp, *version).is_some());
        assert_eq!([0, -1, -2].map(first), [Some(1); 3]);
        assert_eq!([-3, -4, -5].map(first), [Some(7), Some(8), Some(9)]);
        assert_eq!([-6, i64::MIN].map(first), [None; 2]);
    }

    #[test]
    fn each_partition_once() {
        let partition = |index| {
            let mut partition = ListOffsetsPartition::default();
            partition.partition_index = index;
            partition
        };
        let topic = |name: &str, partitions| {
            let mut topic = ListOffsetsTopic::default();
            topic.name = topic_name(name);
            topic.partitions = partitions;
            topic
        };
        let mut request = ListOffsetsRequest::default();
        request.topics =
            vec![topic("a", vec![partition(1), partition(0)]), topic("b", Vec::new()), topic("a", vec![partition(1)])];
        let distinct = distinct(&request);
        assert_eq!(distinct.keys().collect::<Vec<_>>(), [&"a"]);
        assert!(matches!(distinct["a"][&0], Asked::Once(_)));
        assert!(matches!(distinct["a"][&1], Asked::Twice));
    }
}
