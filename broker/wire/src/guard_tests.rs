use super::*;
use crate::codec::decode_request;
use crate::kp::messages::*;
use crate::kp::protocol::{Message, Request};
use crate::schema::Schema;
use crate::write::put_uvarint;
use bytes::{BufMut, Bytes, BytesMut};

/// Writes random messages after a schema, with where their counts stand.
struct Writer {
    out: BytesMut,
    counts: Vec<usize>,
    version: i16,
    flexible: bool,
    seed: u64,
}

impl Writer {
    fn message(schema: &Schema, version: i16, seed: u64) -> Self {
        let mut writer =
            Self { out: BytesMut::new(), counts: Vec::new(), version, flexible: version >= schema.flexible_from, seed };
        writer.fields(schema.fields);
        writer
    }

    fn random(&mut self, below: u64) -> u64 {
        // Steele's SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn fields(&mut self, fields: &[Field]) {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(&field.kind);
            }
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<(u32, BytesMut)> = Vec::new();
        for field in fields {
            if let Some(tag) = field.tag.filter(|_| field.is_in(self.version)) {
                let outer = std::mem::take(&mut self.out);
                let counts = self.counts.len();
                self.value(&field.kind);
                self.counts.truncate(counts);
                tagged.push((tag, std::mem::replace(&mut self.out, outer)));
            }
        }
        if self.random(2) == 0 {
            tagged.push((99, BytesMut::from(&b"later"[..])));
        }
        put_uvarint(&mut self.out, tagged.len() as u32);
        for (tag, value) in tagged {
            put_uvarint(&mut self.out, tag);
            put_uvarint(&mut self.out, value.len() as u32);
            self.out.put_slice(&value);
        }
    }

    fn value(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(len) => self.noise(*len),
            Kind::String => self.string(),
            Kind::Bytes => {
                let len = self.count(20);
                self.noise(len);
            }
            Kind::Array(fields) => {
                for _ in 0..self.count(4) {
                    self.fields(fields);
                }
            }
            Kind::Items(len) => {
                let count = self.count(4);
                self.noise(count * len);
            }
            Kind::Strings => {
                for _ in 0..self.count(4) {
                    self.string();
                }
            }
            Kind::Group(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                let there = self.random(2) == 0;
                self.out.put_i8(if there { 1 } else { -1 });
                if there {
                    self.fields(fields);
                }
            }
        }
    }

    fn count(&mut self, below: u64) -> usize {
        let count = self.random(below) as usize;
        self.counts.push(self.out.len());
        crate::write::put_count(&mut self.out, count, self.flexible);
        count
    }

    fn string(&mut self) {
        let len = self.random(9) as usize;
        let text: String = (0..len).map(|_| (b'a' + self.random(26) as u8) as char).collect();
        if self.flexible {
            crate::write::put_compact_string(&mut self.out, &text);
        } else {
            crate::write::put_string(&mut self.out, &text);
        }
    }

    fn noise(&mut self, len: usize) {
        for _ in 0..len {
            let byte = self.random(256) as u8;
            self.out.put_u8(byte);
        }
    }
}

/// The same message with the count at `at` replaced by the greatest there is.
fn inflated(message: &[u8], at: usize, flexible: bool) -> Vec<u8> {
    let mut out = message[..at].to_vec();
    if flexible {
        out.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x07]);
        out.extend_from_slice(&message[at + 1..]);
    } else {
        out.extend_from_slice(&i32::MAX.to_be_bytes());
        out.extend_from_slice(&message[at + 4..]);
    }
    out
}

fn agrees<R: Request>() {
    let schema = schema::of(R::KEY).unwrap_or_else(|| panic!("no schema for {}", R::KEY));
    for version in <R as Message>::VERSIONS.min..=<R as Message>::VERSIONS.max {
        for seed in 0..40 {
            let message = Writer::message(schema, version, seed);
            let body = message.out.freeze();
            let name = format!("API {} version {version} seed {seed}", R::KEY);
            assert_eq!(check(R::KEY, version, &body), Ok(body.len()), "{name}");
            match decode_request::<R>(body.clone(), version) {
                Ok((_, trailing)) => assert_eq!(trailing, 0, "{name}"),
                Err(error) => panic!("{name}: {error}"),
            }
            for cut in 0..body.len() {
                assert!(check(R::KEY, version, &body[..cut]).is_err(), "{name} cut {cut}");
            }
            for &at in &message.counts {
                let hostile = inflated(&body, at, message.flexible);
                assert!(check(R::KEY, version, &hostile).is_err(), "{name} count at {at}");
            }
        }
    }
}

macro_rules! requests {
    ($($request:ident),* $(,)?) => {
        #[test]
        fn the_crate_reads_what_the_schema_says() {
            $(agrees::<$request>();)*
        }

        /// Whatever passes the walk is read by the crate without a panic.
        fn decode_any(api_key: i16, version: i16, body: Bytes) {
            $(if api_key == <$request as Request>::KEY {
                let _ = decode_request::<$request>(body.clone(), version);
            })*
        }

        const KEYS: &[i16] = &[$(<$request as Request>::KEY),*];
    };
}

requests!(
    FetchRequest,
    ListOffsetsRequest,
    MetadataRequest,
    SaslHandshakeRequest,
    ApiVersionsRequest,
    DeleteRecordsRequest,
    OffsetForLeaderEpochRequest,
    AlterReplicaLogDirsRequest,
    DescribeLogDirsRequest,
    SaslAuthenticateRequest,
    DescribeClusterRequest,
    DescribeProducersRequest,
    DescribeTopicPartitionsRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    FindCoordinatorRequest,
    JoinGroupRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
    DeleteGroupsRequest,
    OffsetDeleteRequest,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribeRequest,
    ShareGroupHeartbeatRequest,
    ShareGroupDescribeRequest,
    ShareFetchRequest,
    ShareAcknowledgeRequest,
    DescribeShareGroupOffsetsRequest,
    AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    AlterConfigsRequest,
    CreatePartitionsRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    ListPartitionReassignmentsRequest,
    DescribeClientQuotasRequest,
    AlterClientQuotasRequest,
    DescribeQuorumRequest,
    UpdateFeaturesRequest,
    UnregisterBrokerRequest,
    AddRaftVoterRequest,
    RemoveRaftVoterRequest,
    ListConfigResourcesRequest,
    InitProducerIdRequest,
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    WriteTxnMarkersRequest,
    TxnOffsetCommitRequest,
    DescribeAclsRequest,
    CreateAclsRequest,
    DeleteAclsRequest,
    CreateDelegationTokenRequest,
    RenewDelegationTokenRequest,
    ExpireDelegationTokenRequest,
    DescribeDelegationTokenRequest,
    DescribeUserScramCredentialsRequest,
    AlterUserScramCredentialsRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest
);

proptest::proptest! {
    #[test]
    fn random_bytes_end_in_an_error_or_a_message(
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..120),
        version in 0i16..=18,
    ) {
        for &key in KEYS {
            if check(key, version, &body).is_ok() {
                decode_any(key, version, Bytes::from(body.clone()));
            }
        }
    }
}

#[test]
fn five_bytes_cannot_ask_for_gigabytes() {
    assert_eq!(check(3, 0, &[0x7f, 0xff, 0xff, 0xff, 0]), Err(WireError::LengthBeyondEnd(0x7fff_ffff)));
    assert!(matches!(check(3, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), Err(WireError::LengthBeyondEnd(_))));
}

#[test]
fn a_request_of_nothing_but_elements_is_bounded() {
    let mut body = BytesMut::new();
    body.put_i32(MAX_ELEMENTS as i32 + 1);
    body.put_bytes(0, 2 * (MAX_ELEMENTS + 1));
    assert_eq!(check(3, 0, &body), Err(WireError::TooManyElements));
}

/// Found by fuzzing: the crate and the walk would go different ways.
#[test]
fn a_structure_is_there_or_not() {
    // DescribeTopicPartitions: no topics, a limit of 0, and a cursor.
    let body = [1, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(check(75, 0, &body), Err(WireError::BadMarker(2)));
}
