use bytes::BytesMut;
use millrace_metadata::config::{CleanupPolicy, CompressionType, TopicConfig};
use proptest::prelude::*;

use super::*;
use crate::batch::HeaderFields;
use crate::testing::{CODECS, Entry, decode, encode};

const NOW: i64 = 1_700_000_000_000;

fn run(config: &TopicConfig, api_version: i16, records: &mut BytesMut) -> Result<Validated, AppendError> {
    validate(records, ValidateSpec { config, origin: Origin::Client, api_version, now_ms: NOW })
}

fn check(records: &mut BytesMut) -> Result<Validated, AppendError> {
    run(&TopicConfig::default(), 9, records)
}

fn entries(n: usize) -> Vec<Entry> {
    (0..n).map(|i| (Some(vec![i as u8]), Some(vec![7; i * 10]), NOW - i as i64)).collect()
}

fn plain() -> HeaderFields {
    HeaderFields::plain(1, NOW)
}

fn is_invalid(result: Result<Validated, AppendError>) -> bool {
    matches!(result, Err(AppendError::InvalidRecord { .. }))
}

/// A batch with other header fields than its content has.
fn forged(change: impl FnOnce(&mut HeaderFields)) -> BytesMut {
    let good = encode(plain(), Compression::None, &entries(3));
    let view = BatchView::new(&good).unwrap();
    let mut fields = HeaderFields { last_offset_delta: 2, count: 3, ..plain() };
    change(&mut fields);
    fields.batch(view.payload())
}

#[test]
fn good_batches_of_every_codec_pass() {
    for codec in CODECS {
        let mut records = encode(plain(), codec, &entries(50));
        let before = records.clone();
        let found = check(&mut records).unwrap();
        assert_eq!(found, Validated { record_count: 50, max_timestamp: NOW, log_append_time: -1 });
        assert_eq!(records, before, "{codec:?}");
    }
}

#[test]
fn kafkas_codes() {
    assert!(is_invalid(check(&mut BytesMut::new())));
    assert!(is_invalid(check(&mut forged(|f| f.base_offset = 1))));
    assert!(is_invalid(check(&mut forged(|f| f.count = 0))));
    assert!(is_invalid(check(&mut forged(|f| f.count = 2))));
    assert!(is_invalid(check(&mut forged(|f| (f.count, f.last_offset_delta) = (2, 1)))));
    assert!(is_invalid(check(&mut forged(|f| (f.count, f.last_offset_delta) = (4, 3)))));
    assert!(is_invalid(check(&mut forged(|f| (f.count, f.last_offset_delta) = (i32::MIN, i32::MAX)))));
    assert!(is_invalid(check(&mut forged(|f| f.attributes = 0x20))));
    assert!(is_invalid(check(&mut forged(|f| f.attributes = 5))));
    assert!(is_invalid(check(&mut forged(|f| (f.producer_id, f.producer_epoch) = (1, 0)))));
    assert!(matches!(check(&mut forged(|f| f.attributes = 8)), Err(AppendError::InvalidTimestamp { .. })));

    let mut corrupt = encode(plain(), Compression::None, &entries(3));
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    assert!(matches!(check(&mut corrupt), Err(AppendError::Corrupt(_))));
    let mut short = encode(plain(), Compression::None, &entries(3));
    short[8..12].copy_from_slice(&13i32.to_be_bytes());
    assert!(matches!(check(&mut short), Err(AppendError::Corrupt(_))));
    short[8..12].copy_from_slice(&20i32.to_be_bytes());
    short.truncate(32);
    assert!(matches!(check(&mut short), Err(AppendError::Corrupt(_))));
    let mut old = encode(plain(), Compression::None, &entries(3));
    old[16] = 1;
    assert!(is_invalid(check(&mut old)));
    old[16] = 3;
    assert!(matches!(check(&mut old), Err(AppendError::Corrupt(_))));
}

#[test]
fn two_batches_are_refused_and_a_torn_second_one_is_cut_off() {
    let one = encode(plain(), Compression::None, &entries(3));
    let mut two = BytesMut::from(&[&one[..], &one[..]].concat()[..]);
    assert!(is_invalid(check(&mut two)));
    two.truncate(one.len() * 2 - 1);
    check(&mut two).unwrap();
    assert_eq!(two, one);
    let mut part = BytesMut::from(&one[..one.len() - 1]);
    assert!(is_invalid(check(&mut part)));
}

#[test]
fn sizes_are_limited() {
    let mut records = encode(plain(), Compression::None, &entries(30));
    let size = records.len();
    let config = TopicConfig { max_message_bytes: size as i32, ..TopicConfig::default() };
    run(&config, 9, &mut records).unwrap();
    let config = TopicConfig { max_message_bytes: size as i32 - 1, ..TopicConfig::default() };
    assert!(matches!(run(&config, 9, &mut records), Err(AppendError::TooLarge { .. })));
    let config = TopicConfig { segment_bytes: size as i32 - 1, ..TopicConfig::default() };
    assert!(matches!(run(&config, 9, &mut records), Err(AppendError::LargerThanSegment { .. })));
}

#[test]
fn zstd_needs_version_seven() {
    let batch = encode(plain(), Compression::Zstd(3), &entries(3));
    let config = TopicConfig::default();
    assert!(matches!(run(&config, 6, &mut batch.clone()), Err(AppendError::UnsupportedCompression)));
    run(&config, 7, &mut batch.clone()).unwrap();
}

#[test]
fn compacted_topics_name_the_records_without_key() {
    let config =
        TopicConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..TopicConfig::default() };
    let mut list = entries(4);
    list[1].0 = None;
    list[3].0 = None;
    for codec in CODECS {
        let error = run(&config, 9, &mut encode(plain(), codec, &list)).unwrap_err();
        let AppendError::InvalidRecord { records, .. } = error else { panic!("{error:?}") };
        assert_eq!(records.iter().map(|r| r.index).collect::<Vec<_>>(), vec![1, 3]);
    }
}

#[test]
fn timestamps_must_lie_in_the_topics_range() {
    let config = TopicConfig {
        message_timestamp_before_max_ms: 1000,
        message_timestamp_after_max_ms: 500,
        ..TopicConfig::default()
    };
    let at = |timestamp| {
        let mut list = entries(1);
        list[0].2 = timestamp;
        run(&config, 9, &mut encode(plain(), Compression::None, &list))
    };
    for good in [NOW - 1000, NOW, NOW + 500, -1] {
        at(good).unwrap();
    }
    for bad in [NOW - 1001, NOW + 501, -2] {
        assert!(matches!(at(bad), Err(AppendError::InvalidTimestamp { .. })));
    }
}

#[test]
fn log_append_time_is_stamped_and_sealed() {
    let config = TopicConfig { message_timestamp_type: TimestampType::LogAppendTime, ..TopicConfig::default() };
    for codec in CODECS {
        let mut records = encode(plain(), codec, &entries(5));
        let found = run(&config, 9, &mut records).unwrap();
        assert_eq!((found.max_timestamp, found.log_append_time), (NOW, NOW));
        let view = BatchView::new(&records).unwrap();
        assert!(view.crc_matches());
        assert_eq!((view.timestamp_type(), view.max_timestamp()), (TimestampType::LogAppendTime, NOW));
    }
}

#[test]
fn a_wrong_largest_timestamp_is_corrected() {
    let mut records = forged(|f| (f.base_timestamp, f.max_timestamp) = (NOW, NOW + 99_999_999_999));
    assert_eq!(check(&mut records).unwrap().max_timestamp, NOW);
    let view = BatchView::new(&records).unwrap();
    assert!(view.crc_matches() && view.max_timestamp() == NOW);
}

#[test]
fn every_codec_becomes_every_other() {
    let types = [
        CompressionType::Uncompressed,
        CompressionType::Gzip,
        CompressionType::Snappy,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ];
    for from in CODECS {
        for (compression_type, to) in types.into_iter().zip(CODECS) {
            let config = TopicConfig { compression_type, ..TopicConfig::default() };
            let fields = HeaderFields { producer_id: 9, producer_epoch: 2, base_sequence: 77, ..plain() };
            let mut records = encode(fields, from, &entries(50));
            let before = decode(&records);
            run(&config, 9, &mut records).unwrap();
            let view = BatchView::new(&records).unwrap();
            assert_eq!(view.codec(), to.id());
            assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (9, 2, 77));
            assert_eq!(decode(&records), before);
            // What the broker made is itself valid.
            check(&mut records).unwrap();
        }
    }
}

#[test]
fn recompression_is_held_to_the_size_limit() {
    let config = TopicConfig {
        compression_type: CompressionType::Uncompressed,
        max_message_bytes: 2000,
        ..TopicConfig::default()
    };
    let list: Vec<Entry> = (0..10).map(|_| (None, Some(vec![1; 1000]), NOW)).collect();
    let mut records = encode(plain(), Compression::Zstd(3), &list);
    assert!(matches!(run(&config, 9, &mut records), Err(AppendError::TooLarge { .. })));
}

#[test]
fn bombs_are_refused() {
    let list: Vec<Entry> = (0..64).map(|_| (None, Some(vec![0; 1 << 20]), NOW)).collect();
    for codec in [Compression::Gzip(9), Compression::Zstd(3)] {
        let mut records = encode(plain(), codec, &list);
        assert!(matches!(check(&mut records), Err(AppendError::ExpandsTooFar)), "{codec:?}");
    }
    // A count that no allowed payload can hold is refused before anything is expanded.
    let mut claims = encode(HeaderFields { ..plain() }, Compression::Gzip(-1), &entries(3));
    claims[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    claims[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    crate::batch::seal(&mut claims);
    assert!(matches!(check(&mut claims), Err(AppendError::ExpandsTooFar)));
}

fn arbitrary_entries() -> impl Strategy<Value = Vec<Entry>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    proptest::collection::vec((bytes(), bytes(), (NOW - 1000)..(NOW + 1000)), 1..20)
}

proptest! {
    #[test]
    fn a_damaged_byte_is_found_or_harmless(list in arbitrary_entries(), codec in 0usize..5, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut records = encode(plain(), CODECS[codec], &list);
        let at = at.index(records.len());
        records[at] ^= 1 << bit;
        if check(&mut records).is_ok() {
            // Only the leader epoch may differ, which the leader sets anyway.
            prop_assert!((12..16).contains(&at), "byte {}", at);
            prop_assert_eq!(decode(&records), list);
        }
    }

    #[test]
    fn a_damaged_byte_under_a_right_checksum_never_panics(
        list in arbitrary_entries(), codec in 0usize..5, at in any::<prop::sample::Index>(), with in any::<u8>(), recompress in any::<bool>(),
    ) {
        let mut records = encode(plain(), CODECS[codec], &list);
        let at = at.index(records.len());
        records[at] = with;
        crate::batch::seal(&mut records);
        let compression_type = if recompress { CompressionType::Lz4 } else { CompressionType::Producer };
        let config = TopicConfig { compression_type, ..TopicConfig::default() };
        if let Ok(found) = run(&config, 9, &mut records) {
            prop_assert_eq!(decode(&records).len(), found.record_count as usize);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), seal in any::<bool>()) {
        if seal && bytes.len() > 61 {
            let length = bytes.len() as i32 - 12;
            bytes[..8].fill(0);
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            crate::batch::seal(&mut bytes);
        }
        let _ = check(&mut BytesMut::from(&bytes[..]));
    }
}
