//! Reads the records of uncompressed batches.

use anyhow::Context;

use super::Reader;
use super::batch::HEADER;

/// One record of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// The leader epoch of its batch.
    pub epoch: i32,
    pub value: Vec<u8>,
}

const COUNT_AT: usize = 57;
const ATTRIBUTES_AT: usize = 21;
const CRC_AT: usize = 17;
const EPOCH_AT: usize = 12;
const PREFIX: usize = 12;

/// All records of the whole batches in `bytes`; checks each batch's checksum.
pub fn records(bytes: &[u8]) -> anyhow::Result<Vec<Record>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while rest.len() >= HEADER {
        let size = PREFIX + Reader::new(&rest[8..PREFIX]).i32()? as usize;
        if rest.len() < size {
            break;
        }
        let (batch, after) = rest.split_at(size);
        batch_records(batch, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn batch_records(batch: &[u8], out: &mut Vec<Record>) -> anyhow::Result<()> {
    let base = Reader::new(batch).i64()?;
    let crc = Reader::new(&batch[CRC_AT..]).i32()? as u32;
    anyhow::ensure!(crc32c::crc32c(&batch[ATTRIBUTES_AT..]) == crc, "checksum of the batch at {base}");
    let attributes = Reader::new(&batch[ATTRIBUTES_AT..]).i16()?;
    anyhow::ensure!(attributes & 7 == 0, "the batch at {base} is compressed");
    let epoch = Reader::new(&batch[EPOCH_AT..]).i32()?;
    let count = Reader::new(&batch[COUNT_AT..]).i32()?;
    let mut r = Reader::new(&batch[HEADER..]);
    for _ in 0..count {
        let length = varint(&mut r)?;
        let mut record = Reader::new(r.take(usize::try_from(length)?)?);
        record.i8()?;
        varint(&mut record)?;
        let delta = varint(&mut record)?;
        let key = varint(&mut record)?;
        record.take(usize::try_from(key).unwrap_or(0))?;
        let value = varint(&mut record)?;
        let value = record.take(usize::try_from(value).unwrap_or(0))?.to_vec();
        out.push(Record { offset: base + delta, epoch, value });
    }
    anyhow::ensure!(r.remaining() == 0, "bytes after the records of the batch at {base}");
    Ok(())
}

fn varint(r: &mut Reader<'_>) -> anyhow::Result<i64> {
    const LONGEST: u32 = 63;
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let byte = r.i8()? as u8;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
        shift += 7;
        (shift <= LONGEST).then_some(()).context("varint is too long")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Batch;

    #[test]
    fn reads_what_batch_writes() {
        let values: [&[u8]; 3] = [b"a", b"", b"ccc"];
        let bytes = Batch::of_values(values, 5).encode();
        let got = records(&[bytes.clone(), bytes[..20].to_vec()].concat()).unwrap();
        assert_eq!(
            got.iter().map(|r| (r.offset, r.value.as_slice())).collect::<Vec<_>>(),
            [(0, &b"a"[..]), (1, b""), (2, b"ccc")]
        );
    }

    #[test]
    fn sees_a_flipped_bit() {
        let mut bytes = Batch::of_values([&b"abc"[..]], 5).encode();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(records(&bytes).is_err());
    }
}
