//! Batches that expand without end, and batches with wrong bytes: the log keeps only what is right.

use std::io::Write;

use millrace_tests::raw::{Batch, Codec, Conn, FetchPart, ProducePart};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{KEPT, limited_broker, survives};

const TOPIC: &str = "target";
/// What a bomb expands to.
const EXPANDED: usize = 1 << 30;
const PIECE: usize = 1 << 20;

fn zeros(mut out: impl Write) {
    let piece = vec![0u8; PIECE];
    for _ in 0..EXPANDED / PIECE {
        out.write_all(&piece).unwrap();
    }
}

/// A record that claims to fill the rest, then zeros without end, compressed.
fn bomb(codec: Codec) -> Vec<u8> {
    match codec {
        Codec::None => Vec::new(),
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            zeros(&mut out);
            out.finish().unwrap()
        }
        Codec::Snappy => {
            // Raw snappy that announces 4 GiB - 1 and holds nothing.
            vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]
        }
        Codec::Lz4 => {
            let mut out = lz4::EncoderBuilder::new().level(1).build(Vec::new()).unwrap();
            zeros(&mut out);
            let (bytes, result) = out.finish();
            result.unwrap();
            bytes
        }
        Codec::Zstd => {
            let mut out = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
            zeros(&mut out);
            out.finish().unwrap()
        }
    }
}

fn produce(conn: &mut Conn, batch: &[u8]) -> i16 {
    conn.produce(&ProducePart { topic: TOPIC, partition: 0, batch }, -1).unwrap().error
}

fn stored(conn: &mut Conn) -> Vec<u8> {
    let part = FetchPart { topic: TOPIC, partition: 0, offset: 0, max_bytes: 64 << 20 };
    conn.fetch(&part, 0).unwrap().records
}

#[test]
fn bombs_are_refused() {
    survives(limited_broker(), |broker| {
        let mut conn = Conn::open(broker.port()).unwrap();
        conn.create_and_wait(TOPIC, 1, &[("max.message.bytes", "20000000"), KEPT]).unwrap();
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            for count in [1, 1000, i32::MAX] {
                let mut batch = Batch::of_values([], 1_700_000_000_000);
                batch.attributes = codec as i16;
                batch.count = count;
                batch.payload = bomb(codec);
                let error = produce(&mut conn, &batch.encode());
                assert_ne!(error, 0, "{codec:?} bomb with {count} records was taken");
            }
        }
        assert!(stored(&mut conn).is_empty(), "a bomb reached the log");
    });
}

#[test]
fn no_bad_byte_reaches_the_log() {
    const ROUNDS: usize = 1500;
    survives(limited_broker(), |broker| {
        let mut rng = StdRng::seed_from_u64(7);
        let mut conn = Conn::open(broker.port()).unwrap();
        conn.create_and_wait(TOPIC, 1, &[KEPT]).unwrap();
        let mut accepted = Vec::new();
        for round in 0..ROUNDS {
            let value = (round as u64).to_be_bytes();
            let mut batch = Batch::of_values([value.as_slice(), b"second"], 1_700_000_000_000).encode();
            let damaged = round % 3 != 0;
            if damaged {
                // Everything behind the length but the leader epoch and the checksum is covered by the checksum.
                let at = rng.random_range(16..batch.len());
                batch[at] ^= 1 << rng.random_range(0..8);
            }
            let error = produce(&mut conn, &batch);
            assert_eq!(error == 0, !damaged, "round {round}: error {error}");
            if !damaged {
                accepted.push(batch);
            }
        }
        // The log is exactly the accepted batches with the offsets and the epoch that the broker gave them.
        let bytes = stored(&mut conn);
        let mut at = 0;
        for (i, batch) in accepted.iter().enumerate() {
            let kept = &bytes[at..at + batch.len()];
            assert_eq!(kept[..8], (i as i64 * 2).to_be_bytes());
            assert_eq!(kept[8..12], batch[8..12]);
            assert_eq!(kept[16..], batch[16..], "batch {i}");
            at += batch.len();
        }
        assert_eq!(at, bytes.len(), "bytes behind the last batch");
    });
}
