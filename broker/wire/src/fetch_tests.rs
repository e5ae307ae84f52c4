use super::*;
use crate::codec::encode_response;
use crate::kp::messages::fetch_response as theirs;
use crate::kp::messages::{BrokerId, FetchResponse as CrateResponse, TopicName};
use crate::kp::protocol::StrBytes;
use proptest::prelude::*;

const KEY: i16 = 1;

fn arb_partition() -> impl Strategy<Value = FetchPartition> {
    let record = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 500..1500),]
        .prop_map(Bytes::from);
    let aborted = (any::<i64>(), any::<i64>())
        .prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    (
        (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), any::<i64>()),
        prop::option::of((0i32..9, any::<i64>())),
        prop::option::of((0i32..9, any::<i32>())),
        prop::option::of(prop::collection::vec(aborted, 0..3)),
        -1i32..5,
        prop::collection::vec(record, 0..4),
    )
        .prop_map(|(base, diverging, leader, aborted, preferred, records)| FetchPartition {
            index: base.0,
            error: base.1,
            high_watermark: base.2,
            last_stable_offset: base.3,
            log_start_offset: base.4,
            diverging: diverging.map(|(epoch, end_offset)| EpochEnd { epoch, end_offset }),
            current_leader: leader.map(|(id, epoch)| Leader { id, epoch }),
            aborted,
            preferred_read_replica: preferred,
            records,
        })
}

fn arb_response() -> impl Strategy<Value = FetchResponse> {
    let topic = ("[a-z]{0,12}", any::<[u8; 16]>(), prop::collection::vec(arb_partition(), 0..4))
        .prop_map(|(name, id, partitions)| FetchTopic { name, id, partitions });
    let endpoint = (0i32..9, "[a-z]{1,12}", any::<u16>(), prop::option::of("[a-z]{0,5}"))
        .prop_map(|(node_id, host, port, rack)| NodeEndpoint { node_id, host, port: i32::from(port), rack });
    (
        any::<i32>(),
        any::<i16>(),
        any::<i32>(),
        prop::collection::vec(topic, 0..4),
        prop::collection::vec(endpoint, 0..3),
    )
        .prop_map(|(throttle_ms, error, session_id, topics, node_endpoints)| FetchResponse {
            throttle_ms,
            error,
            session_id,
            topics,
            node_endpoints,
        })
}

/// The same answer for the crate, without what the version lacks.
fn for_crate(ours: &FetchResponse, version: i16) -> CrateResponse {
    let mut response = CrateResponse::default()
        .with_throttle_time_ms(ours.throttle_ms)
        .with_responses(ours.topics.iter().map(|t| crate_topic(t, version)).collect());
    if version >= FIRST_WITH_SESSION {
        response.error_code = ours.error;
        response.session_id = ours.session_id;
    }
    if version >= FIRST_WITH_ENDPOINTS {
        response.node_endpoints = ours
            .node_endpoints
            .iter()
            .map(|e| {
                theirs::NodeEndpoint::default()
                    .with_node_id(BrokerId(e.node_id))
                    .with_host(StrBytes::from_string(e.host.clone()))
                    .with_port(e.port)
                    .with_rack(e.rack.clone().map(StrBytes::from_string))
            })
            .collect();
    }
    response
}

fn crate_topic(ours: &FetchTopic, version: i16) -> theirs::FetchableTopicResponse {
    let topic = theirs::FetchableTopicResponse::default()
        .with_partitions(ours.partitions.iter().map(|p| crate_partition(p, version)).collect());
    if version >= FIRST_WITH_TOPIC_ID {
        topic.with_topic_id(uuid::Uuid::from_bytes(ours.id))
    } else {
        topic.with_topic(TopicName(StrBytes::from_string(ours.name.clone())))
    }
}

fn crate_partition(ours: &FetchPartition, version: i16) -> theirs::PartitionData {
    let mut partition = theirs::PartitionData::default()
        .with_partition_index(ours.index)
        .with_error_code(ours.error)
        .with_high_watermark(ours.high_watermark)
        .with_last_stable_offset(ours.last_stable_offset)
        .with_log_start_offset(ours.log_start_offset)
        .with_aborted_transactions(ours.aborted.as_ref().map(|list| {
            list.iter()
                .map(|a| {
                    theirs::AbortedTransaction::default()
                        .with_producer_id(a.producer_id.into())
                        .with_first_offset(a.first_offset)
                })
                .collect()
        }))
        .with_records(Some(Bytes::from(ours.records.concat())));
    if version >= FIRST_WITH_PREFERRED_REPLICA {
        partition.preferred_read_replica = BrokerId(ours.preferred_read_replica);
    }
    if version >= FIRST_FLEXIBLE {
        if let Some(d) = ours.diverging {
            partition.diverging_epoch.epoch = d.epoch;
            partition.diverging_epoch.end_offset = d.end_offset;
        }
        if let Some(l) = ours.current_leader {
            partition.current_leader.leader_id = BrokerId(l.id);
            partition.current_leader.leader_epoch = l.epoch;
        }
    }
    partition
}

proptest! {
    #[test]
    fn encodes_what_the_crate_encodes(response in arb_response(), version in 4i16..=18) {
        let expected = encode_response(KEY, version, 42, &for_crate(&response, version)).unwrap();
        let frame = response.encode_frame(KEY, version, 42).unwrap();
        prop_assert_eq!(frame.len(), expected.len());
        prop_assert_eq!(frame.to_vec(), expected.to_vec());
    }
}

#[test]
fn large_record_sets_are_not_copied() {
    let batch = Bytes::from(vec![7u8; 100_000]);
    let mut partition = FetchPartition::empty(0, 0);
    partition.records = vec![batch.clone(), batch.clone()];
    let response = FetchResponse {
        topics: vec![FetchTopic { partitions: vec![partition], ..FetchTopic::default() }],
        ..FetchResponse::default()
    };
    let frame = response.encode_frame(KEY, 18, 1).unwrap();
    let shared = frame.segments().iter().filter(|segment| segment.as_ptr() == batch.as_ptr()).count();
    assert_eq!(shared, 2);
}
