//! Produce requests, decoded so that each record set stays where it arrived: a
//! uniquely owned, mutable piece of the frame's own buffer. The log patches
//! offsets and epochs into it in place and no batch is copied.
//!
//! ```text
//! transactional_id? acks:i16 timeout_ms:i32
//! topics[] { name (to v12) | topic_id (from v13)
//!            partitions[] { index:i32 records? } }
//! ```

use bytes::BytesMut;

use crate::codec::CodecError;
use crate::kp::messages::ApiKey;
use crate::message::WireRequest;
use crate::read::{Reader, WireError};

/// First version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 9;

/// First version that names topics by id.
const FIRST_WITH_TOPIC_ID: i16 = 13;

/// Most topics plus partitions in one request. A hostile frame of empty topics
/// would otherwise cost twenty times its own size in memory.
pub const MAX_PRODUCE_ENTRIES: usize = 100_000;

/// A Produce request, versions 3 to 13.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest {
    /// Set by a transactional producer.
    pub transactional_id: Option<String>,
    /// 0, 1 or −1 (all in-sync replicas).
    pub acks: i16,
    /// How long to wait for the replicas, in milliseconds.
    pub timeout_ms: i32,
    /// What to write.
    pub topics: Vec<ProduceTopic>,
}

/// One topic's part of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopic {
    /// The topic's name up to version 12, empty after.
    pub name: String,
    /// The topic's id from version 13, zero before.
    pub topic_id: [u8; 16],
    /// What to write to its partitions.
    pub partitions: Vec<ProducePartition>,
}

/// One partition's part of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// The partition's number.
    pub index: i32,
    /// The record batches as the client sent them.
    pub records: Option<BytesMut>,
}

impl WireRequest for ProduceRequest {
    const KEY: i16 = ApiKey::Produce as i16;

    const VERSIONS: (i16, i16) = (3, 13);

    fn decode_body(body: BytesMut, version: i16) -> Result<(Self, usize), CodecError> {
        if !(3..=13).contains(&version) {
            return Err(CodecError::Malformed(format!("Produce version {version} is not served")));
        }
        decode(body, version).map_err(|error| CodecError::Malformed(error.to_string()))
    }
}

/// A record set's place in the body.
struct Place {
    start: usize,
    len: usize,
}

fn decode(mut body: BytesMut, version: i16) -> Result<(ProduceRequest, usize), WireError> {
    let mut reader = Reader::new(&body);
    let flexible = version >= FIRST_FLEXIBLE;
    let transactional_id = string(&mut reader, flexible)?.map(str::to_owned);
    let acks = reader.i16()?;
    let timeout_ms = reader.i32()?;
    let mut places = Vec::new();
    let mut room = MAX_PRODUCE_ENTRIES;
    let topics = (0..count(&mut reader, flexible, 3, &mut room)?)
        .map(|_| topic(&mut reader, version, &mut places, &mut room))
        .collect::<Result<Vec<_>, _>>()?;
    if flexible {
        reader.skip_tagged_fields()?;
    }
    let trailing = reader.remaining();
    let mut request = ProduceRequest { transactional_id, acks, timeout_ms, topics };
    cut(&mut body, &mut request, places);
    Ok((request, trailing))
}

fn topic(
    reader: &mut Reader<'_>,
    version: i16,
    places: &mut Vec<Option<Place>>,
    room: &mut usize,
) -> Result<ProduceTopic, WireError> {
    let flexible = version >= FIRST_FLEXIBLE;
    let (name, topic_id) = if version >= FIRST_WITH_TOPIC_ID {
        (String::new(), reader.uuid()?)
    } else {
        let name = string(reader, flexible)?.ok_or(WireError::NegativeLength)?;
        (name.to_owned(), [0; 16])
    };
    let mut partitions = Vec::new();
    for _ in 0..count(reader, flexible, 6, room)? {
        let index = reader.i32()?;
        places.push(records(reader, flexible)?);
        if flexible {
            reader.skip_tagged_fields()?;
        }
        partitions.push(ProducePartition { index, records: None });
    }
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(ProduceTopic { name, topic_id, partitions })
}

fn string<'a>(reader: &mut Reader<'a>, flexible: bool) -> Result<Option<&'a str>, WireError> {
    if flexible { reader.compact_nullable_string() } else { reader.nullable_string() }
}

fn count(reader: &mut Reader<'_>, flexible: bool, min_element: usize, room: &mut usize) -> Result<usize, WireError> {
    let count = reader.count(flexible, min_element)?.ok_or(WireError::NegativeLength)?;
    *room = room.checked_sub(count).ok_or(WireError::LengthBeyondEnd(count as u64))?;
    Ok(count)
}

fn records(reader: &mut Reader<'_>, flexible: bool) -> Result<Option<Place>, WireError> {
    let Some(len) = reader.count(flexible, 1)? else {
        return Ok(None);
    };
    let start = reader.position();
    reader.take(len)?;
    Ok(Some(Place { start, len }))
}

/// Cuts the record sets out of the body, in the order in which they stand.
fn cut(body: &mut BytesMut, request: &mut ProduceRequest, places: Vec<Option<Place>>) {
    let mut gone = 0;
    let partitions = request.topics.iter_mut().flat_map(|topic| topic.partitions.iter_mut());
    for (partition, place) in partitions.zip(places) {
        let Some(place) = place else { continue };
        drop(body.split_to(place.start - gone));
        partition.records = Some(body.split_to(place.len));
        gone = place.start + place.len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kp::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::kp::messages::{ProduceRequest as CrateRequest, TopicName, TransactionalId};
    use crate::kp::protocol::{Decodable, Encodable, StrBytes};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn arb_request() -> impl Strategy<Value = CrateRequest> {
        let partition =
            (any::<i32>(), prop::option::of(prop::collection::vec(any::<u8>(), 0..80))).prop_map(|(index, records)| {
                PartitionProduceData::default().with_index(index).with_records(records.map(Bytes::from))
            });
        let topic =
            (".{0,12}", any::<u128>(), prop::collection::vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
                TopicProduceData::default()
                    .with_name(TopicName(StrBytes::from_string(name)))
                    .with_topic_id(uuid(id))
                    .with_partition_data(partitions)
            });
        (prop::option::of(".{0,9}"), any::<i16>(), any::<i32>(), prop::collection::vec(topic, 0..4)).prop_map(
            |(id, acks, timeout, topics)| {
                CrateRequest::default()
                    .with_transactional_id(id.map(|s| TransactionalId(StrBytes::from_string(s))))
                    .with_acks(acks)
                    .with_timeout_ms(timeout)
                    .with_topic_data(topics)
            },
        )
    }

    fn uuid(id: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(id)
    }

    /// Fits a generated request to a version and adds a tagged field.
    fn fitted(mut request: CrateRequest, version: i16) -> CrateRequest {
        let tags = BTreeMap::from([(77, Bytes::from_static(b"later"))]);
        for topic in &mut request.topic_data {
            if version >= FIRST_WITH_TOPIC_ID {
                topic.name = TopicName::default();
            } else {
                topic.topic_id = uuid(0);
            }
            if version >= FIRST_FLEXIBLE {
                topic.unknown_tagged_fields = tags.clone();
                for partition in &mut topic.partition_data {
                    partition.unknown_tagged_fields = tags.clone();
                }
            }
        }
        if version >= FIRST_FLEXIBLE {
            request.unknown_tagged_fields = tags;
        }
        request
    }

    fn assert_same(ours: &ProduceRequest, crates: &CrateRequest) {
        assert_eq!(ours.transactional_id.as_deref(), crates.transactional_id.as_ref().map(|id| &*id.0 as &str));
        assert_eq!((ours.acks, ours.timeout_ms), (crates.acks, crates.timeout_ms));
        assert_eq!(ours.topics.len(), crates.topic_data.len());
        for (a, b) in ours.topics.iter().zip(&crates.topic_data) {
            assert_eq!(a.name, b.name.as_str());
            assert_eq!(&a.topic_id, b.topic_id.as_bytes());
            assert_eq!(a.partitions.len(), b.partition_data.len());
            for (a, b) in a.partitions.iter().zip(&b.partition_data) {
                assert_eq!(a.index, b.index);
                assert_eq!(a.records.as_deref(), b.records.as_deref());
            }
        }
    }

    proptest! {
        #[test]
        fn decodes_what_the_crate_decodes(request in arb_request(), version in 3i16..=13) {
            let request = fitted(request, version);
            let mut body = BytesMut::new();
            request.encode(&mut body, version).unwrap();
            let theirs = CrateRequest::decode(&mut body.clone().freeze(), version).unwrap();
            let (ours, trailing) = ProduceRequest::decode_body(body.clone(), version).unwrap();
            prop_assert_eq!(trailing, 0);
            assert_same(&ours, &theirs);
            for cut in 0..body.len() {
                let short = BytesMut::from(&body[..cut]);
                prop_assert!(ProduceRequest::decode_body(short, version).is_err());
            }
            body.extend_from_slice(b"xyz");
            prop_assert_eq!(ProduceRequest::decode_body(body, version).unwrap().1, 3);
        }

        #[test]
        fn random_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            version in 0i16..=14,
        ) {
            let _ = ProduceRequest::decode_body(BytesMut::from(&bytes[..]), version);
        }
    }

    #[test]
    fn records_are_pieces_of_the_frame() {
        let topic =
            TopicProduceData::default().with_name(TopicName(StrBytes::from_static_str("t"))).with_partition_data(vec![
                PartitionProduceData::default().with_records(Some(Bytes::from_static(b"first"))),
                PartitionProduceData::default().with_records(Some(Bytes::from_static(b"second"))),
            ]);
        let mut body = BytesMut::new();
        CrateRequest::default().with_topic_data(vec![topic]).encode(&mut body, 9).unwrap();
        let span = body.as_ptr_range();
        let (mut request, _) = ProduceRequest::decode_body(body, 9).unwrap();
        let partitions = &mut request.topics[0].partitions;
        for partition in partitions.iter() {
            assert!(span.contains(&partition.records.as_ref().unwrap().as_ptr()));
        }
        partitions[0].records.as_mut().unwrap()[0] = b'F';
        assert_eq!(&partitions[0].records.as_ref().unwrap()[..], b"First");
        assert_eq!(&partitions[1].records.as_ref().unwrap()[..], b"second");
    }

    #[test]
    fn more_entries_than_allowed_are_refused() {
        let mut body = BytesMut::new();
        body.extend_from_slice(&[0, 0, 1, 0, 0, 0, 0]);
        // A compact count of 200,000 topics, each an empty name and no partitions.
        body.extend_from_slice(&[0xc1, 0x9a, 0x0c]);
        body.extend_from_slice(&[1u8, 1, 0].repeat(200_000));
        body.extend_from_slice(&[0]);
        assert!(ProduceRequest::decode_body(body, 9).is_err());
    }
}
