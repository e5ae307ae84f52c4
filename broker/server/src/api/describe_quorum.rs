//! DescribeQuorum (KIP-595): the controllers' Raft state, shown as the partition `__cluster_metadata-0`
//! (`KafkaRaftClient.handleDescribeQuorumRequest`).

use std::future::Future;

use millrace_controller::{QuorumInfo, Voter};
use millrace_metadata::NO_NODE;
use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::BrokerImage;
use millrace_wire::kp::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use millrace_wire::kp::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use uuid::Uuid;

use super::convert::{text, topic_name};
use super::{Answer, Cx};

/// The topic under which the controllers' log is known.
const CLUSTER_METADATA: &str = "__cluster_metadata";
/// First version with error messages.
const MESSAGES: i16 = 2;
/// First version with the voters' addresses.
const NODES: i16 = 2;
/// First version with directory ids.
const DIRECTORIES: i16 = 2;

/// Answers with the active controller's view of the quorum.
pub fn handle(
    cx: Cx,
    request: DescribeQuorumRequest,
) -> impl Future<Output = Answer<DescribeQuorumResponse>> + Send + 'static {
    async move {
        if !asks_for_metadata(&request) {
            return Answer::Send(unknown(&request, cx.version()));
        }
        Answer::Send(match cx.broker.controller.quorum().await {
            Ok(quorum) => describe(&cx, &quorum),
            Err(error) => refuse(&request, cx.version(), error.code),
        })
    }
}

/// The only question that can be answered names exactly the one partition.
fn asks_for_metadata(request: &DescribeQuorumRequest) -> bool {
    match request.topics.as_slice() {
        [topic] => {
            &**topic.topic_name == CLUSTER_METADATA
                && matches!(topic.partitions.as_slice(), [p] if p.partition_index == 0)
        }
        _ => false,
    }
}

fn unknown(request: &DescribeQuorumRequest, version: i16) -> DescribeQuorumResponse {
    let error = ErrorCode::UnknownTopicOrPartition;
    let mut response = DescribeQuorumResponse::default();
    for topic in &request.topics {
        let mut out = TopicData::default();
        out.topic_name = topic.topic_name.clone();
        for partition in &topic.partitions {
            let mut failed = PartitionData::default();
            failed.partition_index = partition.partition_index;
            failed.error_code = error.code();
            failed.error_message = (version >= MESSAGES).then(|| text(error.default_message()));
            out.partitions.push(failed);
        }
        response.topics.push(out);
    }
    response
}

fn describe(cx: &Cx, quorum: &QuorumInfo) -> DescribeQuorumResponse {
    let replicas = |list: &[Voter]| list.iter().map(|replica| state(cx.version(), replica)).collect();
    let mut partition = PartitionData::default();
    partition.leader_id = BrokerId(quorum.leader.unwrap_or(NO_NODE));
    partition.leader_epoch = quorum.epoch;
    partition.high_watermark = quorum.high_watermark;
    partition.current_voters = replicas(&quorum.voters);
    partition.observers = replicas(&quorum.observers);
    let mut topic = TopicData::default();
    topic.topic_name = topic_name(CLUSTER_METADATA);
    topic.partitions.push(partition);
    let mut response = DescribeQuorumResponse::default();
    response.topics.push(topic);
    if cx.version() >= NODES {
        let image = cx.broker.image();
        let voters = quorum.voters.iter().filter_map(|voter| image.broker(voter.id));
        response.nodes = voters.map(|broker| node(broker)).collect();
    }
    response
}

/// Brokers take requests for the controller, so that a voter is reached at its broker's listeners.
fn node(broker: &BrokerImage) -> Node {
    let mut out = Node::default();
    out.node_id = BrokerId(broker.id);
    for endpoint in &broker.endpoints {
        let mut listener = Listener::default();
        listener.name = text(&endpoint.listener);
        listener.host = text(&endpoint.host);
        listener.port = endpoint.port;
        out.listeners.push(listener);
    }
    out
}

fn state(version: i16, replica: &Voter) -> ReplicaState {
    let mut out = ReplicaState::default();
    out.replica_id = BrokerId(replica.id);
    if version >= DIRECTORIES {
        out.replica_directory_id = Uuid::from_bytes(replica.dir.0);
    }
    out.log_end_offset = replica.log_end;
    out.last_fetch_timestamp = replica.last_fetch_ms;
    out.last_caught_up_timestamp = replica.last_caught_up_ms;
    out
}

/// Answers with the error.
pub fn refuse(_request: &DescribeQuorumRequest, version: i16, error: ErrorCode) -> DescribeQuorumResponse {
    let mut response = DescribeQuorumResponse::default();
    response.error_code = error.code();
    response.error_message = (version >= MESSAGES).then(|| text(error.default_message()));
    response
}
