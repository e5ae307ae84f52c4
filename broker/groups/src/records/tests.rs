//! Against bytes that Apache Kafka 4.3.1's own generated classes wrote.

use bytes::{Bytes, BytesMut};
use millrace_metadata::TopicId;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().map(|d| (d as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn keys_are_kafkas() {
    let mut out = BytesMut::new();
    put_offset_key(&mut out, "g1", "orders", 7);
    assert_eq!(out.freeze(), hex("00010002673100066f726465727300000007"));
    let mut out = BytesMut::new();
    put_group_key(&mut out, "g1");
    assert_eq!(out.freeze(), hex("000200026731"));
    let offset = Key::Offset { group: "g1".into(), topic: "orders".into(), partition: 7 };
    assert_eq!(Key::decode(hex("00010002673100066f726465727300000007")).unwrap(), offset);
    assert_eq!(Key::decode(hex("00000002673100066f726465727300000007")).unwrap(), offset);
    assert_eq!(Key::decode(hex("000200026731")).unwrap(), Key::Group { group: "g1".into() });
    assert_eq!(Key::decode(hex("00030002673100")).unwrap(), Key::Unknown { version: 3 });
    assert_eq!(Key::decode(hex("0002000467")), Err(DecodeError::Truncated));
    assert_eq!(offset_key_len("g1", "orders"), 18);
    assert_eq!(group_key_len("g1"), 6);
}

const OFFSETS: [&str; 5] = [
    "0000000000000000109200036dc3a90000018bcfe5687b",
    "0001000000000000109200036dc3a90000018bcfe5687b0000018bcfe6ee9f",
    "0002000000000000109200036dc3a90000018bcfe5687b",
    "000300000000000010920000000500036dc3a90000018bcfe5687b",
    "0004000000000000109200000005046dc3a90000018bcfe5687b00",
];

fn offset(version: usize) -> OffsetValue {
    OffsetValue {
        offset: 4242,
        leader_epoch: if version >= 3 { 5 } else { -1 },
        metadata: "mé".into(),
        commit_time_ms: 1_700_000_000_123,
        expire_time_ms: (version == 1).then_some(1_700_000_099_999),
        topic_id: TopicId::ZERO,
    }
}

#[test]
fn offsets_of_all_versions_are_read() {
    for (version, text) in OFFSETS.iter().enumerate() {
        assert_eq!(OffsetValue::decode(hex(text)).unwrap(), offset(version), "version {version}");
    }
}

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    for version in [1, 4] {
        let mut out = BytesMut::new();
        offset(version).encode(&mut out);
        assert_eq!(out.freeze(), hex(OFFSETS[version]));
    }
    let with_id = OffsetValue {
        leader_epoch: -1,
        metadata: String::new(),
        topic_id: TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        ..offset(4)
    };
    let text = "00040000000000001092ffffffff010000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10";
    let mut out = BytesMut::new();
    with_id.encode(&mut out);
    assert!(out.len() <= with_id.encoded_len());
    assert_eq!(out.freeze(), hex(text));
    assert_eq!(OffsetValue::decode(hex(text)).unwrap(), with_id);
}

const GROUPS: [&str; 5] = [
    "00000008636f6e73756d657200000003000572616e67650003632d31000000020003632d31000163000a2f3132372e302e302e310000afc8000000030102030000000209080003632d32000163000a2f3132372e302e302e310000afc800000003010203000000020908",
    "00010008636f6e73756d657200000003000572616e67650003632d31000000020003632d31000163000a2f3132372e302e302e31000493e00000afc8000000030102030000000209080003632d32000163000a2f3132372e302e302e31000493e00000afc800000003010203000000020908",
    "00020008636f6e73756d657200000003000572616e67650003632d310000018bcfe56800000000020003632d31000163000a2f3132372e302e302e31000493e00000afc8000000030102030000000209080003632d32000163000a2f3132372e302e302e31000493e00000afc800000003010203000000020908",
    "00030008636f6e73756d657200000003000572616e67650003632d310000018bcfe56800000000020003632d31000169000163000a2f3132372e302e302e31000493e00000afc8000000030102030000000209080003632d32ffff000163000a2f3132372e302e302e31000493e00000afc800000003010203000000020908",
    "000409636f6e73756d6572000000030672616e676504632d310000018bcfe568000304632d31026902630b2f3132372e302e302e31000493e00000afc8040102030309080004632d320002630b2f3132372e302e302e31000493e00000afc8040102030309080000",
];

fn group(version: usize) -> GroupMetadata {
    let member = |id: &str, instance: Option<&str>| MemberMetadata {
        member_id: id.into(),
        instance_id: instance.filter(|_| version >= 3).map(str::to_owned),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: (version >= 1).then_some(300_000),
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(&[1, 2, 3]),
        assignment: Bytes::from_static(&[9, 8]),
    };
    GroupMetadata {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("c-1".into()),
        state_time_ms: (version >= 2).then_some(1_700_000_000_000),
        members: vec![member("c-1", Some("i")), member("c-2", None)],
    }
}

#[test]
fn groups_of_all_versions_are_read_and_the_current_one_is_written() {
    for (version, text) in GROUPS.iter().enumerate() {
        assert_eq!(GroupMetadata::decode(hex(text)).unwrap(), group(version), "version {version}");
    }
    let mut out = BytesMut::new();
    group(3).encode(&mut out);
    assert_eq!(out.freeze(), hex(GROUPS[3]));
    let empty = GroupMetadata {
        protocol_type: String::new(),
        generation: 0,
        protocol: None,
        leader: None,
        state_time_ms: Some(17),
        members: Vec::new(),
    };
    let mut out = BytesMut::new();
    empty.encode(&mut out);
    assert_eq!(out.freeze(), hex("0003000000000000ffffffff000000000000001100000000"));
}

#[test]
fn every_truncation_is_an_error() {
    for text in OFFSETS.iter().chain(&GROUPS) {
        let whole = hex(text);
        for len in 0..whole.len() {
            let cut = whole.slice(..len);
            if GROUPS.contains(text) {
                assert!(GroupMetadata::decode(cut).is_err());
            } else {
                assert!(OffsetValue::decode(cut).is_err());
            }
        }
    }
}

#[test]
fn unknown_versions_are_refused() {
    assert!(matches!(OffsetValue::decode(hex("0005")), Err(DecodeError::UnknownVersion { version: 5, .. })));
    assert!(matches!(GroupMetadata::decode(hex("ffff")), Err(DecodeError::UnknownVersion { version: -1, .. })));
}

proptest! {
    #[test]
    fn offsets_round_trip(
        offset in any::<i64>(), leader_epoch in any::<i32>(), metadata in ".{0,200}",
        commit_time_ms in any::<i64>(), id in any::<[u8; 16]>(),
    ) {
        let value = OffsetValue {
            offset, leader_epoch, metadata, commit_time_ms, expire_time_ms: None, topic_id: TopicId(id),
        };
        let mut out = BytesMut::new();
        value.encode(&mut out);
        prop_assert!(out.len() <= value.encoded_len());
        prop_assert_eq!(OffsetValue::decode(out.freeze()).unwrap(), value);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let bytes = Bytes::from(bytes);
        let _ = Key::decode(bytes.clone());
        let _ = OffsetValue::decode(bytes.clone());
        let _ = GroupMetadata::decode(bytes);
    }
}
