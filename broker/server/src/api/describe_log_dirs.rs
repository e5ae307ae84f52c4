//! DescribeLogDirs (KIP-113, KIP-827; `ReplicaManager.describeLogDirs`): where replicas lie and how large they are.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_replica::{DirReport, ReplicaReport};
use millrace_wire::kp::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use millrace_wire::kp::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::convert::{text, topic_name};
use super::{Answer, Cx};

/// First version with an error for the whole answer.
const TOP_LEVEL_ERROR: i16 = 3;
/// First version with the size of the disk.
const DISK_SIZES: i16 = 4;

/// Reports every directory, also one without any of the partitions asked for.
pub fn handle(
    cx: Cx,
    request: DescribeLogDirsRequest,
) -> impl Future<Output = Answer<DescribeLogDirsResponse>> + Send + 'static {
    async move {
        let wanted = wanted(&request);
        let mut response = DescribeLogDirsResponse::default();
        for dir in cx.broker.replicas.describe_dirs().await {
            response.results.push(report(cx.version(), &dir, wanted.as_ref()));
        }
        Answer::Send(response)
    }
}

/// Partitions that were asked for by name, `None` for all.
type Partitions = HashSet<(String, i32)>;

fn wanted(request: &DescribeLogDirsRequest) -> Option<Partitions> {
    let topics = request.topics.as_ref()?;
    let mut wanted = Partitions::new();
    for topic in topics {
        wanted.extend(topic.partitions.iter().map(|index| (topic.topic.to_string(), *index)));
    }
    Some(wanted)
}

fn report(version: i16, dir: &DirReport, wanted: Option<&Partitions>) -> DescribeLogDirsResult {
    let mut out = DescribeLogDirsResult::default();
    out.log_dir = text(&absolute(&dir.path));
    if dir.offline {
        out.error_code = ErrorCode::KafkaStorageError.code();
        return out;
    }
    if version >= DISK_SIZES {
        out.total_bytes = i64::try_from(dir.total_bytes).unwrap_or(i64::MAX);
        out.usable_bytes = i64::try_from(dir.usable_bytes).unwrap_or(i64::MAX);
    }
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for replica in &dir.replicas {
        let is_wanted = |wanted: &Partitions| wanted.contains(&(replica.topic.to_string(), replica.partition));
        if wanted.is_none_or(is_wanted) {
            topics.entry(&replica.topic).or_default().push(describe(replica));
        }
    }
    for (name, partitions) in topics {
        let mut topic = DescribeLogDirsTopic::default();
        topic.name = topic_name(name);
        topic.partitions = partitions;
        out.topics.push(topic);
    }
    out
}

fn describe(replica: &ReplicaReport) -> DescribeLogDirsPartition {
    let mut out = DescribeLogDirsPartition::default();
    out.partition_index = replica.partition;
    out.partition_size = i64::try_from(replica.bytes).unwrap_or(i64::MAX);
    out.offset_lag = replica.offset_lag;
    out.is_future_key = replica.is_future;
    out
}

fn absolute(path: &str) -> String {
    let absolute = std::path::absolute(path);
    absolute.map_or_else(|_| path.to_owned(), |absolute| absolute.display().to_string())
}

/// Answers with the error, which old versions can only tell by saying nothing.
pub fn refuse(_request: &DescribeLogDirsRequest, version: i16, error: ErrorCode) -> DescribeLogDirsResponse {
    let mut response = DescribeLogDirsResponse::default();
    if version >= TOP_LEVEL_ERROR {
        response.error_code = error.code();
    }
    response
}
