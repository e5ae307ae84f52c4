//! ListOffsets (`ReplicaManager.fetchOffset`, `Partition.fetchOffsetForTimestamp`).

use std::collections::HashSet;
use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_replica::{Isolation, ListSpec};
use millrace_security::Operation;
use millrace_wire::kp::messages::list_offsets_request::ListOffsetsPartition;
use millrace_wire::kp::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use millrace_wire::kp::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::codes;
use super::{Answer, Cx};

/// Replica id of a consumer.
const CONSUMER: i32 = -1;
/// Timestamps that ask for something else than a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
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
            twice: twice(&request),
        };
        let mut response = ListOffsetsResponse::default();
        for topic in &request.topics {
            let mut out = ListOffsetsTopicResponse::default();
            out.name = topic.name.clone();
            out.partitions = Vec::with_capacity(topic.partitions.len());
            let allowed = cx.may_topic(Operation::Describe, &topic.name);
            for asked in &topic.partitions {
                let found = match allowed {
                    true => find(&cx, &image, &how, &topic.name, asked).await,
                    false => Err(ErrorCode::TopicAuthorizationFailed),
                };
                out.partitions
                    .push(result(cx.version(), asked.partition_index, found));
            }
            response.topics.push(out);
        }
        Answer::Send(response)
    }
}

struct How {
    isolation: Isolation,
    /// Partitions that the request names more than once.
    twice: HashSet<(String, i32)>,
}

fn twice(request: &ListOffsetsRequest) -> HashSet<(String, i32)> {
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if !seen.insert((&*topic.name, partition.partition_index)) {
                twice.insert((topic.name.to_string(), partition.partition_index));
            }
        }
    }
    twice
}

/// Whether the version knows what the timestamp asks for.
fn is_known(timestamp: i64, version: i16) -> bool {
    let since = match timestamp {
        0.. | LATEST | EARLIEST => 1,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        _ => return false,
    };
    version >= since
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
    if !how.twice.is_empty() && how.twice.contains(&(topic.to_owned(), index)) {
        return Err(ErrorCode::InvalidRequest);
    }
    if !is_known(asked.timestamp, cx.version()) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    image
        .partition(topic, index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = cx
        .broker
        .replicas
        .partition(topic, index)
        .map_err(|error| codes::lookup(&error))?;
    let spec = ListSpec {
        timestamp: asked.timestamp,
        isolation: how.isolation,
        current_leader_epoch: asked.current_leader_epoch,
    };
    match partition.list_offset(spec).await {
        Ok(found) => Ok((found.offset, found.timestamp, found.leader_epoch)),
        Err(error) => Err(match codes::read(&error) {
            ErrorCode::OffsetNotAvailable if cx.version() < OFFSET_NOT_AVAILABLE => {
                ErrorCode::LeaderNotAvailable
            }
            code => code,
        }),
    }
}

fn result(
    version: i16,
    index: i32,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
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
        out.partitions = partitions
            .map(|p| result(version, p.partition_index, Err(error)))
            .collect();
        response.topics.push(out);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_begin_with_their_versions() {
        let first = |timestamp| (0..=11).find(|version| is_known(timestamp, *version));
        assert_eq!([0, -1, -2].map(first), [Some(1); 3]);
        assert_eq!([-3, -4, -5].map(first), [Some(7), Some(8), Some(9)]);
        assert_eq!([-6, i64::MIN].map(first), [None; 2]);
    }
}
