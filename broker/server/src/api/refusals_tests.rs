//! Every refusal can be encoded in every version that is served: no field is set that a version lacks.

use millrace_metadata::error::ErrorCode;
use millrace_wire::kp::messages::*;
use millrace_wire::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use millrace_wire::{WireRequest, WireResponse};

use super::convert::topic_name;
use super::*;

fn check<R: WireRequest, S: WireResponse>(request: &R, refuse: impl Fn(&R, i16, ErrorCode) -> S) {
    let row = table::row(R::KEY).unwrap();
    for version in row.min..=row.max {
        let frame = refuse(request, version, ErrorCode::ClusterAuthorizationFailed).encode_frame(R::KEY, version, 7);
        assert!(frame.is_ok(), "{} v{version}: {}", row.name, frame.unwrap_err());
    }
}

macro_rules! with {
    ($value:expr, $($field:ident = $to:expr),* $(,)?) => {{
        let mut value = $value;
        $(value.$field = $to;)*
        value
    }};
}

#[test]
fn of_data() {
    let records = Some(bytes::BytesMut::from(&b"x"[..]));
    let topic = ProduceTopic {
        name: "t".to_owned(),
        topic_id: [0; 16],
        partitions: vec![ProducePartition { index: 3, records }],
    };
    let request = ProduceRequest { transactional_id: None, acks: 1, timeout_ms: 1, topics: vec![topic] };
    check(&request, produce::refuse);

    let partition = with!(fetch_request::FetchPartition::default(), partition = 3);
    let topic = with!(fetch_request::FetchTopic::default(), topic = topic_name("t"), partitions = vec![partition]);
    check(&with!(FetchRequest::default(), topics = vec![topic]), fetch::refuse);

    let partition = with!(list_offsets_request::ListOffsetsPartition::default(), partition_index = 3);
    let topic =
        with!(list_offsets_request::ListOffsetsTopic::default(), name = topic_name("t"), partitions = vec![partition],);
    check(&with!(ListOffsetsRequest::default(), topics = vec![topic]), list_offsets::refuse);

    let topic = with!(
        delete_records_request::DeleteRecordsTopic::default(),
        name = topic_name("t"),
        partitions = vec![Default::default()],
    );
    check(&with!(DeleteRecordsRequest::default(), topics = vec![topic]), delete_records::refuse);

    let topic = with!(
        offset_for_leader_epoch_request::OffsetForLeaderTopic::default(),
        topic = topic_name("t"),
        partitions = vec![Default::default()],
    );
    check(&with!(OffsetForLeaderEpochRequest::default(), topics = vec![topic]), offset_for_leader_epoch::refuse);

    check(&InitProducerIdRequest::default(), init_producer_id::refuse);
    let topic = with!(
        describe_producers_request::TopicRequest::default(),
        name = topic_name("t"),
        partition_indexes = vec![3],
    );
    check(&with!(DescribeProducersRequest::default(), topics = vec![topic]), describe_producers::refuse);
}

#[test]
fn of_topics() {
    let topic = with!(metadata_request::MetadataRequestTopic::default(), name = Some(topic_name("t")));
    check(&with!(MetadataRequest::default(), topics = Some(vec![topic])), metadata::refuse);
    let topic = with!(create_topics_request::CreatableTopic::default(), name = topic_name("t"));
    check(&with!(CreateTopicsRequest::default(), topics = vec![topic]), create_topics::refuse);
    let topic = with!(delete_topics_request::DeleteTopicState::default(), name = Some(topic_name("t")));
    let request = with!(DeleteTopicsRequest::default(), topics = vec![topic], topic_names = vec![topic_name("t")]);
    check(&request, delete_topics::refuse);
    let topic = with!(create_partitions_request::CreatePartitionsTopic::default(), name = topic_name("t"));
    check(&with!(CreatePartitionsRequest::default(), topics = vec![topic]), create_partitions::refuse);
    let topic = with!(describe_topic_partitions_request::TopicRequest::default(), name = topic_name("t"));
    let request = with!(DescribeTopicPartitionsRequest::default(), topics = vec![topic]);
    check(&request, describe_topic_partitions::refuse);
}

#[test]
fn of_the_cluster() {
    check(&DescribeClusterRequest::default(), describe_cluster::refuse);
    check(&DescribeQuorumRequest::default(), describe_quorum::refuse);
    check(&AddRaftVoterRequest::default(), add_raft_voter::refuse);
    check(&RemoveRaftVoterRequest::default(), remove_raft_voter::refuse);
    check(&UnregisterBrokerRequest::default(), unregister_broker::refuse);
    check(&DescribeLogDirsRequest::default(), describe_log_dirs::refuse);
    let topic = with!(
        alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default(),
        name = topic_name("t"),
        partitions = vec![3],
    );
    let dir = with!(alter_replica_log_dirs_request::AlterReplicaLogDir::default(), topics = vec![topic]);
    check(&with!(AlterReplicaLogDirsRequest::default(), dirs = vec![dir]), alter_replica_log_dirs::refuse);
    let topic =
        with!(elect_leaders_request::TopicPartitions::default(), topic = topic_name("t"), partitions = vec![3],);
    let request = with!(ElectLeadersRequest::default(), topic_partitions = Some(vec![topic]));
    check(&request, elect_leaders::refuse);
    let topic = with!(
        alter_partition_reassignments_request::ReassignableTopic::default(),
        name = topic_name("t"),
        partitions = vec![Default::default()],
    );
    let request = with!(AlterPartitionReassignmentsRequest::default(), topics = vec![topic]);
    check(&request, alter_partition_reassignments::refuse);
    let topic = with!(
        list_partition_reassignments_request::ListPartitionReassignmentsTopics::default(),
        name = topic_name("t"),
        partition_indexes = vec![3],
    );
    let request = with!(ListPartitionReassignmentsRequest::default(), topics = Some(vec![topic]));
    check(&request, list_partition_reassignments::refuse);
}
