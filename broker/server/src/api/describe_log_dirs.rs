//! DescribeLogDirs (KIP-113, KIP-827; `ReplicaManager.describeLogDirs`): where replicas lie and how large they are.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_replica::{LogDir, ReplicaManager};
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
        let version = cx.version();
        let replicas = cx.broker.replicas.clone();
        let work =
            tokio::task::spawn_blocking(move || describe(&replicas, version, wanted.as_ref()));
        let mut response = DescribeLogDirsResponse::default();
        match work.await {
            Ok(results) => response.results = results,
            // The broker is going down, or the work panicked, which has been reported.
            Err(_) => response = refuse(&request, version, ErrorCode::KafkaStorageError),
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
        wanted.extend(
            topic
                .partitions
                .iter()
                .map(|index| (topic.topic.to_string(), *index)),
        );
    }
    Some(wanted)
}

/// One topic's replicas in one directory.
type Topics<'a> = BTreeMap<&'a str, Vec<DescribeLogDirsPartition>>;

fn describe(
    replicas: &ReplicaManager,
    version: i16,
    wanted: Option<&Partitions>,
) -> Vec<DescribeLogDirsResult> {
    let partitions = replicas.partitions();
    let mut by_dir: BTreeMap<_, Topics<'_>> = BTreeMap::new();
    for partition in &partitions {
        let (topic, index) = (&**partition.topic(), partition.index());
        if wanted.is_some_and(|wanted| !wanted.contains(&(topic.to_owned(), index))) {
            continue;
        }
        let mut out = DescribeLogDirsPartition::default();
        out.partition_index = index;
        out.partition_size = i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX);
        out.offset_lag = (partition.high_watermark() - partition.log_end_offset()).max(0);
        by_dir
            .entry(partition.dir().0)
            .or_default()
            .entry(topic)
            .or_default()
            .push(out);
    }
    let dirs = replicas.dirs().iter();
    dirs.map(|dir| report(version, dir, by_dir.remove(&dir.id()).unwrap_or_default()))
        .collect()
}

fn report(version: i16, dir: &LogDir, topics: Topics<'_>) -> DescribeLogDirsResult {
    let mut out = DescribeLogDirsResult::default();
    out.log_dir = text(&absolute(dir));
    let Ok(usage) = dir.usage() else {
        out.error_code = ErrorCode::KafkaStorageError.code();
        return out;
    };
    if version >= DISK_SIZES {
        out.total_bytes = i64::try_from(usage.total).unwrap_or(i64::MAX);
        out.usable_bytes = i64::try_from(usage.free).unwrap_or(i64::MAX);
    }
    for (name, partitions) in topics {
        let mut topic = DescribeLogDirsTopic::default();
        topic.name = topic_name(name);
        topic.partitions = partitions;
        out.topics.push(topic);
    }
    out
}

fn absolute(dir: &LogDir) -> String {
    let path = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().clone());
    path.display().to_string()
}

/// Answers with the error, which old versions can only tell by saying nothing.
pub fn refuse(
    _request: &DescribeLogDirsRequest,
    version: i16,
    error: ErrorCode,
) -> DescribeLogDirsResponse {
    let mut response = DescribeLogDirsResponse::default();
    if version >= TOP_LEVEL_ERROR {
        response.error_code = error.code();
    }
    response
}
