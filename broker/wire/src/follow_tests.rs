use super::*;
use crate::codec::encode_response;
use crate::fetch::{AbortedTransaction, FetchPartition, FetchResponse, FetchTopic, NodeEndpoint};
use crate::header::RequestHeader;
use crate::kp::messages::FetchRequest as CrateRequest;
use crate::kp::messages::FetchResponse as CrateResponse;
use crate::kp::messages::fetch_response as theirs;
use crate::kp::protocol::Decodable;
use crate::message::WireResponse;
use proptest::prelude::*;

const KEY: i16 = 1;

fn arb_wanted() -> impl Strategy<Value = Vec<FollowedPartition>> {
    let partition = (any::<i32>(), any::<i32>(), any::<i64>(), any::<i32>(), any::<i64>(), any::<i32>());
    let topic = (any::<[u8; 16]>(), prop::collection::vec(partition, 1..5));
    prop::collection::vec(topic, 0..5).prop_map(|topics| {
        let mut all = Vec::new();
        for (topic_id, partitions) in topics {
            all.extend(partitions.into_iter().map(
                |(index, leader_epoch, offset, last_fetched_epoch, log_start, max_bytes)| FollowedPartition {
                    topic_id,
                    index,
                    leader_epoch,
                    offset,
                    last_fetched_epoch,
                    log_start,
                    max_bytes,
                },
            ));
        }
        all
    })
}

fn arb_forgotten() -> impl Strategy<Value = Vec<([u8; 16], i32)>> {
    let topic = (any::<[u8; 16]>(), prop::collection::vec(any::<i32>(), 1..4));
    prop::collection::vec(topic, 0..4).prop_map(|topics| {
        topics.into_iter().flat_map(|(id, partitions)| partitions.into_iter().map(move |p| (id, p))).collect()
    })
}

fn arb_answer() -> impl Strategy<Value = FetchResponse> {
    let records = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 500..1500)]
        .prop_map(|bytes| vec![Bytes::from(bytes)]);
    let aborted = (any::<i64>(), any::<i64>())
        .prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    let partition = (
        (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>()),
        prop::option::of((0i32..9, any::<i64>())),
        prop::option::of((0i32..9, any::<i32>())),
        prop::option::of(prop::collection::vec(aborted, 0..3)),
        records,
    )
        .prop_map(|(base, diverging, leader, aborted, records)| FetchPartition {
            index: base.0,
            error: base.1,
            high_watermark: base.2,
            last_stable_offset: base.2,
            log_start_offset: base.3,
            diverging: diverging.map(|(epoch, end_offset)| EpochEnd { epoch, end_offset }),
            current_leader: leader.map(|(id, epoch)| Leader { id, epoch }),
            aborted,
            preferred_read_replica: -1,
            records,
        });
    let topic = (any::<[u8; 16]>(), prop::collection::vec(partition, 0..4)).prop_map(|(id, partitions)| FetchTopic {
        name: String::new(),
        id,
        partitions,
    });
    let endpoint =
        (0i32..9, "[a-z]{1,12}").prop_map(|(node_id, host)| NodeEndpoint { node_id, host, port: 9, rack: None });
    (
        (any::<i32>(), any::<i16>(), any::<i32>()),
        prop::collection::vec(topic, 0..4),
        prop::collection::vec(endpoint, 0..2),
    )
        .prop_map(|(base, topics, node_endpoints)| FetchResponse {
            throttle_ms: base.0,
            error: base.1,
            session_id: base.2,
            topics,
            node_endpoints,
        })
}

/// What the decoder should make of an answer.
fn expected(answer: &FetchResponse) -> FollowerFetched {
    let partitions = answer.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|p| FetchedPartition {
            topic_id: topic.id,
            index: p.index,
            error: p.error,
            high_watermark: p.high_watermark,
            log_start: p.log_start_offset,
            diverging: p.diverging,
            current_leader: p.current_leader,
            records: Bytes::from(p.records.concat()),
        })
    });
    FollowerFetched {
        throttle_ms: answer.throttle_ms,
        error: answer.error,
        session_id: answer.session_id,
        partitions: partitions.collect(),
    }
}

fn encoded(answer: &FetchResponse, version: i16, correlation_id: i32) -> Bytes {
    Bytes::from(answer.clone().encode_frame(KEY, version, correlation_id).unwrap().to_vec()).slice(4..)
}

proptest! {
    #[test]
    fn the_crate_reads_our_requests(
        partitions in arb_wanted(),
        forgotten in arb_forgotten(),
        base in (any::<i32>(), any::<i32>(), any::<i32>(), any::<i64>()),
        version in FIRST_VERSION..=LAST_VERSION,
    ) {
        let request = FollowerFetch {
            max_wait_ms: base.0,
            min_bytes: 1,
            max_bytes: base.1,
            session_id: base.2,
            session_epoch: 7,
            replica_id: 3,
            replica_epoch: base.3,
            partitions: &partitions,
            forgotten: &forgotten,
        };
        let frame = request.encode_frame(version, 42, "a-follower").unwrap();
        let (header, len) = RequestHeader::parse(&frame[4..]).unwrap();
        prop_assert_eq!((header.api_key, header.api_version, header.correlation_id), (KEY, version, 42));
        prop_assert_eq!(header.client_id.as_deref(), Some("a-follower"));
        let mut body = frame.slice(4 + len..);
        let theirs = CrateRequest::decode(&mut body, version).unwrap();
        prop_assert!(body.is_empty());
        prop_assert_eq!((theirs.max_wait_ms, theirs.min_bytes, theirs.max_bytes), (base.0, 1, base.1));
        prop_assert_eq!((theirs.session_id, theirs.session_epoch), (base.2, 7));
        prop_assert_eq!(theirs.replica_state.replica_id.0, 3);
        prop_assert_eq!(theirs.replica_state.replica_epoch, base.3);
        let mut seen = Vec::new();
        for topic in &theirs.topics {
            seen.extend(topic.partitions.iter().map(|p| FollowedPartition {
                topic_id: *topic.topic_id.as_bytes(),
                index: p.partition,
                leader_epoch: p.current_leader_epoch,
                offset: p.fetch_offset,
                last_fetched_epoch: p.last_fetched_epoch,
                log_start: p.log_start_offset,
                max_bytes: p.partition_max_bytes,
            }));
        }
        prop_assert_eq!(&seen, &partitions);
        let gone: Vec<_> = theirs.forgotten_topics_data.iter()
            .flat_map(|t| t.partitions.iter().map(|p| (*t.topic_id.as_bytes(), *p)))
            .collect();
        prop_assert_eq!(&gone, &forgotten);
    }

    #[test]
    fn answers_of_our_encoder_are_read_back(answer in arb_answer(), version in FIRST_VERSION..=LAST_VERSION) {
        let frame = encoded(&answer, version, 9);
        let (correlation_id, ours) = FollowerFetched::decode_frame(frame.clone()).unwrap();
        prop_assert_eq!(correlation_id, 9);
        prop_assert_eq!(&ours, &expected(&answer));
        for cut in 0..frame.len().min(400) {
            prop_assert!(FollowerFetched::decode_frame(frame.slice(..cut)).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = FollowerFetched::decode_frame(Bytes::from(bytes));
    }

    #[test]
    fn a_changed_byte_never_panics(answer in arb_answer(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut frame = encoded(&answer, LAST_VERSION, 9).to_vec();
        let at = at.index(frame.len());
        frame[at] = to;
        let _ = FollowerFetched::decode_frame(Bytes::from(frame));
    }
}

#[test]
fn answers_of_the_crate_are_read() {
    let partition = theirs::PartitionData::default()
        .with_partition_index(4)
        .with_high_watermark(50)
        .with_log_start_offset(3)
        .with_aborted_transactions(Some(vec![theirs::AbortedTransaction::default()]))
        .with_records(None)
        .with_unknown_tagged_fields([(60, Bytes::from_static(b"later"))].into());
    let topic = theirs::FetchableTopicResponse::default()
        .with_topic_id(uuid::Uuid::from_u128(77))
        .with_partitions(vec![partition]);
    let answer = CrateResponse::default().with_session_id(5).with_responses(vec![topic]);
    let frame = Bytes::from(encode_response(KEY, 17, 1, &answer).unwrap().to_vec()).slice(4..);
    let (_, ours) = FollowerFetched::decode_frame(frame).unwrap();
    assert_eq!(ours.session_id, 5);
    let only = &ours.partitions[0];
    assert_eq!((only.index, only.high_watermark, only.log_start), (4, 50, 3));
    assert_eq!(only.topic_id, 77u128.to_be_bytes());
    assert!(only.records.is_empty());
}

#[test]
fn records_are_pieces_of_the_frame() {
    let mut partition = FetchPartition::empty(0, 0);
    partition.records = vec![Bytes::from(vec![7u8; 1000])];
    let topics = vec![FetchTopic { partitions: vec![partition], ..FetchTopic::default() }];
    let frame = encoded(&FetchResponse { topics, ..FetchResponse::default() }, 17, 1);
    let span = frame.as_ptr_range();
    let (_, ours) = FollowerFetched::decode_frame(frame).unwrap();
    assert_eq!(ours.record_bytes(), 1000);
    assert!(span.contains(&ours.partitions[0].records.as_ptr()));
}

#[test]
fn a_count_out_of_proportion_reserves_nothing() {
    let mut frame = BytesMut::from(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]);
    frame.put_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(FollowerFetched::decode_frame(frame.freeze()).is_err());
}

#[test]
fn frame_sizes_are_bounded() {
    assert!(matches!(take_frame_size(&mut BytesMut::from(&[0, 0, 1][..]), 10), Ok(None)));
    let mut whole = BytesMut::from(&[0, 0, 0, 10, 9][..]);
    assert!(matches!(take_frame_size(&mut whole, 10), Ok(Some(10))));
    assert_eq!(&whole[..], [9]);
    assert!(take_frame_size(&mut BytesMut::from(&[0, 0, 0, 11][..]), 10).is_err());
    assert!(take_frame_size(&mut BytesMut::from(&[0xff, 0, 0, 11][..]), 10).is_err());
}
