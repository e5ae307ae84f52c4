//! Rows of the `meta` column family. Keys start with a tag byte and sort by their big-endian parts; values are little
//! endian.
//!
//! ```text
//! 'X' log u64, last offset u64           extent: where a run of batches is, and a description of each   (Extent)
//! 'H' log u64                            bounds of a log as of the checkpoint                            (Head)
//! 'B' class u8, number u32               bucket: its bytes, and how many of them can be reached          (BucketRow)
//! 'S' class u8, number u32, segment u64  which extents a bucket holds of a segment: (log u64, base u64)…
//! 'J'                                    checkpoint of the journal                                       (Checkpoint)
//! ```

use crate::api::{BatchMeta, PlogId, RetentionClass};

pub(crate) const CHECKPOINT_KEY: &[u8] = b"J";
const VERSION: u8 = 1;

/// Names a data column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BucketId {
    pub class: RetentionClass,
    pub number: u32,
}

impl BucketId {
    pub(crate) fn name(&self) -> String {
        format!("d.{}.{}", self.class as u8, self.number)
    }

    pub(crate) fn key(&self, tag: u8) -> Vec<u8> {
        let mut key = vec![tag, self.class as u8];
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }

    pub(crate) fn of_key(key: &[u8]) -> Option<BucketId> {
        let mut parts = Parts(key.get(1..)?);
        let class = RetentionClass::from_number(parts.u8()?)?;
        Some(BucketId { class, number: u32::from_be_bytes(parts.take()?) })
    }
}

/// A run of batches of one log, from one journal segment, in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtentRow {
    pub bucket: BucketId,
    pub segment: u64,
    pub batches: Vec<BatchMeta>,
}

impl ExtentRow {
    pub(crate) fn key(log: PlogId, last_offset: i64) -> Vec<u8> {
        log_key(b'X', log, last_offset)
    }

    /// Key of a batch in its bucket: segment, log, last offset. Segments never overlap, so neither do files.
    pub(crate) fn data_key(&self, log: PlogId, last_offset: i64) -> [u8; 24] {
        data_key(self.segment, log, last_offset)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.batches.iter().map(|b| u64::from(b.size)).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.batches.len() * 8);
        out.extend_from_slice(&[VERSION, self.bucket.class as u8]);
        out.extend_from_slice(&self.bucket.number.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        put_varint(&mut out, self.batches.len() as u64);
        let mut before = BatchMeta { base_offset: 0, last_offset: -1, leader_epoch: 0, max_timestamp: 0, size: 0 };
        for batch in &self.batches {
            put_varint(&mut out, zigzag(batch.base_offset - before.last_offset - 1));
            put_varint(&mut out, zigzag(batch.last_offset - batch.base_offset));
            put_varint(&mut out, zigzag(i64::from(batch.leader_epoch) - i64::from(before.leader_epoch)));
            put_varint(&mut out, zigzag(batch.max_timestamp.wrapping_sub(before.max_timestamp)));
            put_varint(&mut out, u64::from(batch.size));
            before = *batch;
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<ExtentRow> {
        let mut parts = Parts(bytes);
        if parts.u8()? != VERSION {
            return None;
        }
        let class = RetentionClass::from_number(parts.u8()?)?;
        let bucket = BucketId { class, number: u32::from_le_bytes(parts.take()?) };
        let segment = u64::from_le_bytes(parts.take()?);
        let count = parts.varint()? as usize;
        let mut batches = Vec::with_capacity(count.min(bytes.len()));
        let (mut last, mut epoch, mut timestamp) = (-1i64, 0i64, 0i64);
        for _ in 0..count {
            let base = last + 1 + unzigzag(parts.varint()?);
            last = base + unzigzag(parts.varint()?);
            epoch += unzigzag(parts.varint()?);
            timestamp = timestamp.wrapping_add(unzigzag(parts.varint()?));
            let size = parts.varint()? as u32;
            batches.push(BatchMeta {
                base_offset: base,
                last_offset: last,
                leader_epoch: epoch as i32,
                max_timestamp: timestamp,
                size,
            });
        }
        Some(ExtentRow { bucket, segment, batches })
    }
}

/// Bounds of a log as of the checkpoint; journal frames after it change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub class: RetentionClass,
    pub log_start: i64,
    pub end: i64,
    pub stored_end: i64,
    /// Bytes in RocksDB at or after `counted_from`.
    pub stored_bytes: u64,
    pub counted_from: i64,
    pub trimmed_to: i64,
}

impl Head {
    pub(crate) fn key(log: PlogId) -> Vec<u8> {
        let mut key = vec![b'H'];
        key.extend_from_slice(&log.to_be_bytes());
        key
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.class as u8];
        let stored_bytes = self.stored_bytes as i64;
        for n in [self.log_start, self.end, self.stored_end, stored_bytes, self.counted_from, self.trimmed_to] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Head> {
        let mut parts = Parts(bytes);
        if parts.u8()? != VERSION {
            return None;
        }
        let class = RetentionClass::from_number(parts.u8()?)?;
        let mut next = || Some(i64::from_le_bytes(parts.take()?));
        Some(Head {
            class,
            log_start: next()?,
            end: next()?,
            stored_end: next()?,
            stored_bytes: next()? as u64,
            counted_from: next()?,
            trimmed_to: next()?,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BucketRow {
    pub total: u64,
    pub live: u64,
    /// Takes no more data.
    pub sealed: bool,
}

impl BucketRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.sealed)];
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(&self.live.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<BucketRow> {
        let mut parts = Parts(bytes);
        if parts.u8()? != VERSION {
            return None;
        }
        let sealed = parts.u8()? != 0;
        let total = u64::from_le_bytes(parts.take()?);
        Some(BucketRow { total, live: u64::from_le_bytes(parts.take()?), sealed })
    }
}

/// How far the journal has been moved into RocksDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    /// The first group that is not in RocksDB.
    pub next_group: u64,
    /// Segments below this number are done.
    pub next_segment: u64,
    /// Rises with every opening, see [`crate::journal::frame`].
    pub incarnation: u64,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for n in [self.next_group, self.next_segment, self.incarnation] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let mut parts = Parts(bytes);
        if parts.u8()? != VERSION {
            return None;
        }
        let mut next = || Some(u64::from_le_bytes(parts.take()?));
        Some(Checkpoint { next_group: next()?, next_segment: next()?, incarnation: next()? })
    }
}

/// Key of the row that lists what a bucket holds of a segment.
pub(crate) fn contents_key(bucket: BucketId, segment: u64) -> Vec<u8> {
    let mut key = bucket.key(b'S');
    key.extend_from_slice(&segment.to_be_bytes());
    key
}

/// Extents are named by the base offset of their first batch, which a truncation of their end does not change.
pub(crate) fn encode_contents(contents: &[(PlogId, i64)]) -> Vec<u8> {
    contents.iter().flat_map(|(log, base)| [log.to_le_bytes(), base.to_le_bytes()]).flatten().collect()
}

pub(crate) fn decode_contents(bytes: &[u8]) -> Vec<(PlogId, i64)> {
    let mut parts = Parts(bytes);
    let mut next = || Some((u64::from_le_bytes(parts.take()?), i64::from_le_bytes(parts.take()?)));
    std::iter::from_fn(&mut next).collect()
}

pub(crate) fn data_key(segment: u64, log: PlogId, last_offset: i64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..16].copy_from_slice(&log.to_be_bytes());
    key[16..].copy_from_slice(&last_offset.to_be_bytes());
    key
}

pub(crate) fn log_key(tag: u8, log: PlogId, offset: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(tag);
    key.extend_from_slice(&log.to_be_bytes());
    key.extend_from_slice(&offset.max(0).to_be_bytes());
    key
}

/// Reads a value part by part; every method answers `None` at the end.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*part)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|b| b[0])
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta() -> impl Strategy<Value = BatchMeta> {
        (0..1i64 << 50, 0..1i64 << 30, any::<i32>(), any::<i64>(), any::<u32>()).prop_map(
            |(base_offset, count, leader_epoch, max_timestamp, size)| BatchMeta {
                base_offset,
                last_offset: base_offset + count,
                leader_epoch,
                max_timestamp,
                size,
            },
        )
    }

    proptest! {
        #[test]
        fn extent_rows_round_trip(batches in prop::collection::vec(meta(), 0..20), number: u32, segment: u64) {
            let row = ExtentRow { bucket: BucketId { class: RetentionClass::Day, number }, segment, batches };
            prop_assert_eq!(ExtentRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn keys_sort_by_log_and_offset(a: (u64, u32), b: (u64, u32)) {
            let key = |x: (u64, u32)| ExtentRow::key(x.0, i64::from(x.1));
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
        }
    }

    #[test]
    fn small_rows_round_trip() {
        let head = Head {
            class: RetentionClass::Forever,
            log_start: 1,
            end: 2,
            stored_end: 3,
            stored_bytes: 4,
            counted_from: 5,
            trimmed_to: 6,
        };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let bucket = BucketRow { total: 9, live: 8, sealed: true };
        assert_eq!(BucketRow::decode(&bucket.encode()), Some(bucket));
        let id = BucketId { class: RetentionClass::Hour, number: 77 };
        assert_eq!(BucketId::of_key(&id.key(b'B')), Some(id));
        let checkpoint = Checkpoint { next_group: 1, next_segment: 2, incarnation: 3 };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
        let contents = vec![(1, 2), (3, 4)];
        assert_eq!(decode_contents(&encode_contents(&contents)), contents);
    }
}
