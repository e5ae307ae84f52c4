//! Record batches of magic 2, built by hand.
//!
//! ```text
//! 0 base offset 8 | 8 length 4 | 12 leader epoch 4 | 16 magic 1 | 17 crc 4 | 21 attributes 2 | 23 last delta 4
//! 27 base timestamp 8 | 35 max timestamp 8 | 43 producer id 8 | 51 epoch 2 | 53 sequence 4 | 57 count 4 | 61 records
//! ```

use super::Writer;

/// Bytes of a batch before its records.
pub const HEADER: usize = 61;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const PRODUCER_AT: usize = 43;
const SEQUENCE_AT: usize = 53;

/// The codec bits of a batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// A batch to be encoded. Fields that a test wants wrong can be set to anything.
#[derive(Clone)]
pub struct Batch {
    pub attributes: i16,
    pub base_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub sequence: i32,
    pub count: i32,
    /// Encoded records, already compressed if the attributes say so.
    pub payload: Vec<u8>,
}

impl Batch {
    /// An uncompressed batch of values without keys.
    pub fn of_values<'a>(values: impl IntoIterator<Item = &'a [u8]>, base_timestamp: i64) -> Batch {
        let mut payload = Vec::new();
        let mut count = 0;
        for value in values {
            push_record(&mut payload, count, value);
            count += 1;
        }
        Batch { attributes: 0, base_timestamp, producer_id: -1, producer_epoch: -1, sequence: -1, count, payload }
    }

    /// The bytes of the batch with a right length and checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(HEADER + self.payload.len());
        w.i64(0).i32((HEADER - 12 + self.payload.len()) as i32).i32(-1).i8(2).i32(0);
        w.i16(self.attributes).i32(self.count - 1).i64(self.base_timestamp).i64(self.base_timestamp);
        w.i64(self.producer_id).i16(self.producer_epoch).i32(self.sequence).i32(self.count);
        w.bytes_raw(&self.payload);
        let mut bytes = w.into_vec();
        seal(&mut bytes);
        bytes
    }
}

/// Writes the checksum of a batch whose other bytes are final.
fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

/// Sets producer id, epoch and first sequence of an encoded batch and its checksum.
pub fn producer_fields(batch: &mut [u8], producer_id: i64, epoch: i16, sequence: i32) {
    batch[PRODUCER_AT..PRODUCER_AT + 8].copy_from_slice(&producer_id.to_be_bytes());
    batch[PRODUCER_AT + 8..PRODUCER_AT + 10].copy_from_slice(&epoch.to_be_bytes());
    batch[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sequence.to_be_bytes());
    seal(batch);
}

/// Fills a buffer with bytes that no codec shrinks much, the same for the same seed.
pub fn fill(buffer: &mut [u8], seed: u64) {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in buffer.chunks_mut(8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let bytes = x.to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

fn push_record(out: &mut Vec<u8>, delta: i32, value: &[u8]) {
    let mut body = Vec::with_capacity(value.len() + 16);
    body.push(0);
    varint(&mut body, 0);
    varint(&mut body, i64::from(delta));
    varint(&mut body, -1);
    varint(&mut body, value.len() as i64);
    body.extend_from_slice(value);
    varint(&mut body, 0);
    varint(out, body.len() as i64);
    out.extend_from_slice(&body);
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut z = ((value << 1) ^ (value >> 63)) as u64;
    while z >= 0x80 {
        out.push((z as u8) | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}
