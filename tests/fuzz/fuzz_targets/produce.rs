//! The Produce decoder that is written by hand agrees with the crate's: what it
//! accepts, the crate reads in the same way.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use millrace_wire::WireRequest;
use millrace_wire::kp::messages::ProduceRequest as CrateRequest;
use millrace_wire::kp::protocol::Decodable;
use millrace_wire::produce::ProduceRequest;

fuzz_target!(|input: &[u8]| {
    let [version, body @ ..] = input else { return };
    let version = 3 + i16::from(*version) % 11;
    let Ok((ours, trailing)) = ProduceRequest::decode_body(BytesMut::from(body), version) else {
        return;
    };
    let mut rest = Bytes::copy_from_slice(body);
    let theirs = <CrateRequest as Decodable>::decode(&mut rest, version)
        .expect("the crate refuses what we accept");
    assert_eq!(rest.len(), trailing);
    assert_eq!(ours.acks, theirs.acks);
    assert_eq!(ours.timeout_ms, theirs.timeout_ms);
    assert_eq!(ours.topics.len(), theirs.topic_data.len());
    for (a, b) in ours.topics.iter().zip(&theirs.topic_data) {
        assert_eq!(a.name, b.name.as_str());
        assert_eq!(a.partitions.len(), b.partition_data.len());
        for (a, b) in a.partitions.iter().zip(&b.partition_data) {
            assert_eq!(a.index, b.index);
            assert_eq!(a.records.as_deref(), b.records.as_deref());
        }
    }
});
