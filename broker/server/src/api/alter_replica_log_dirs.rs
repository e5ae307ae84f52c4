//! AlterReplicaLogDirs (KIP-113; `ReplicaManager.alterReplicaLogDirs`): moves replicas between the directories of
//! this broker. The answer goes out when the moves have begun.

use std::collections::BTreeMap;
use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::Image;
use millrace_wire::kp::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use millrace_wire::kp::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use super::codes;
use super::convert::topic_name;
use super::{Answer, Cx};

/// What Kafka adds to topic and partition in the name of a copy's directory, `.<id>-future` with an id of 32 characters.
/// Names that do not leave room for it are refused here too, so that they fit everywhere.
const SUFFIX: usize = "-".len() + ".".len() + 32 + "-future".len();
/// Longest name of a file or directory.
const FILE_NAME_MAX: usize = 255;

/// Starts the moves; a partition that is named twice goes where it was named last.
pub fn handle(
    cx: Cx,
    request: AlterReplicaLogDirsRequest,
) -> impl Future<Output = Answer<AlterReplicaLogDirsResponse>> + Send + 'static {
    async move {
        let mut moves: BTreeMap<(String, i32), String> = BTreeMap::new();
        for dir in &request.dirs {
            for topic in &dir.topics {
                for index in &topic.partitions {
                    moves.insert((topic.name.to_string(), *index), dir.path.to_string());
                }
            }
        }
        let image = cx.broker.image();
        let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
        for ((topic, index), path) in moves {
            let error = start(&cx, &image, &topic, index, &path).await.err().unwrap_or(ErrorCode::None);
            results.entry(topic).or_default().push(result(index, error));
        }
        Answer::Send(response(results))
    }
}

async fn start(cx: &Cx, image: &Image, topic: &str, index: i32, path: &str) -> Result<(), ErrorCode> {
    if topic.len() + index.to_string().len() + SUFFIX > FILE_NAME_MAX {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !cx.broker.replicas.has_dir(path) {
        return Err(ErrorCode::LogDirNotFound);
    }
    image.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let moved = cx.broker.replicas.move_to_dir(topic, index, path).await;
    moved.map_err(|error| codes::move_dir(&error))
}

fn result(index: i32, error: ErrorCode) -> AlterReplicaLogDirPartitionResult {
    let mut out = AlterReplicaLogDirPartitionResult::default();
    out.partition_index = index;
    out.error_code = error.code();
    out
}

fn response(results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>>) -> AlterReplicaLogDirsResponse {
    let mut response = AlterReplicaLogDirsResponse::default();
    for (name, partitions) in results {
        let mut topic = AlterReplicaLogDirTopicResult::default();
        topic.topic_name = topic_name(&name);
        topic.partitions = partitions;
        response.results.push(topic);
    }
    response
}

/// Answers every partition of the request with the error.
pub fn refuse(request: &AlterReplicaLogDirsRequest, _version: i16, error: ErrorCode) -> AlterReplicaLogDirsResponse {
    let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for topic in request.dirs.iter().flat_map(|dir| &dir.topics) {
        let partitions = results.entry(topic.name.to_string()).or_default();
        partitions.extend(topic.partitions.iter().map(|index| result(*index, error)));
    }
    response(results)
}
