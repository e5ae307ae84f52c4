//! The bytes of a commit group in the journal.
//!
//! ```text
//! header   64 B   magic u32 | version u32 | segment u64 | group u64 | incarnation u64 | frames u32 |
//!                 directory checksum u32 | body bytes u64 | zero 12 B | header checksum u32
//! directory       one entry of 56 B per frame
//! bodies          the batches, one after the other
//! padding         to the next border of 64 B, where the next group starts
//! ```
//! All integers are little endian; checksums are CRC32C. A group counts as a whole or not at all. The *group* number
//! rises by one from group to group for ever; the *incarnation* rises with every opening of the store. Together they
//! tell a group from what was left in a recycled segment: a reader expects the next group number and an incarnation
//! that is not lower than the last.
//!
//! Directory entry: log u64 | base i64 | last i64 | max timestamp i64 | leader epoch i32 | body bytes u32 |
//! body checksum u32 | kind u8 | class u8 | checksum kind u8 | zero u8 | end i64.

use crate::api::{PlogId, RetentionClass};

pub(crate) const HEADER: usize = 64;
pub(crate) const ENTRY: usize = 56;
/// Groups start at multiples of this in a segment.
pub(crate) const GROUP_ALIGN: u64 = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"MRj1");
const VERSION: u32 = 1;

/// Offset of the magic byte and the checksum in a Kafka batch of format 2; the checksum covers what follows it.
const BATCH_LENGTH_AT: usize = 8;
const BATCH_MAGIC_AT: usize = 16;
const BATCH_CRC_AT: usize = 17;
const BATCH_CRC_FROM: usize = 21;
const BATCH_HEADER: usize = 61;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Append = 1,
    Truncate = 2,
    LogStart = 3,
    Delete = 4,
}

/// What an entry of the directory says. For `Truncate`, `base` is the target; for `LogStart`, the new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub kind: Kind,
    pub log: PlogId,
    pub class: RetentionClass,
    pub base: i64,
    pub last: i64,
    pub max_timestamp: i64,
    pub leader_epoch: i32,
    /// End of the log after this frame.
    pub end: i64,
    pub body_len: u32,
    pub checksum: u32,
    /// `checksum` covers only what the batch's own checksum leaves out.
    pub own_crc: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub segment: u64,
    pub group: u64,
    pub incarnation: u64,
    pub frames: u32,
    pub body_len: u64,
    pub directory_crc: u32,
}

impl Header {
    /// Bytes of the group without padding.
    pub(crate) fn group_len(&self) -> u64 {
        HEADER as u64 + u64::from(self.frames) * ENTRY as u64 + self.body_len
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.group.to_le_bytes());
        out[24..32].copy_from_slice(&self.incarnation.to_le_bytes());
        out[32..36].copy_from_slice(&self.frames.to_le_bytes());
        out[36..40].copy_from_slice(&self.directory_crc.to_le_bytes());
        out[40..48].copy_from_slice(&self.body_len.to_le_bytes());
        let crc = crc32c::crc32c(&out[..HEADER - 4]);
        out[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` if this is not a header: empty, torn or foreign.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER)?;
        let crc = u32::from_le_bytes(field(bytes, HEADER - 4));
        if u32::from_le_bytes(field(bytes, 0)) != MAGIC
            || u32::from_le_bytes(field(bytes, 4)) != VERSION
            || crc32c::crc32c(&bytes[..HEADER - 4]) != crc
        {
            return None;
        }
        Some(Header {
            segment: u64::from_le_bytes(field(bytes, 8)),
            group: u64::from_le_bytes(field(bytes, 16)),
            incarnation: u64::from_le_bytes(field(bytes, 24)),
            frames: u32::from_le_bytes(field(bytes, 32)),
            directory_crc: u32::from_le_bytes(field(bytes, 36)),
            body_len: u64::from_le_bytes(field(bytes, 40)),
        })
    }
}

impl Entry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.log.to_le_bytes());
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        out.extend_from_slice(&self.max_timestamp.to_le_bytes());
        out.extend_from_slice(&self.leader_epoch.to_le_bytes());
        out.extend_from_slice(&self.body_len.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, self.class as u8, u8::from(self.own_crc), 0]);
        out.extend_from_slice(&self.end.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Entry> {
        let bytes = bytes.get(..ENTRY)?;
        let kind = match bytes[44] {
            1 => Kind::Append,
            2 => Kind::Truncate,
            3 => Kind::LogStart,
            4 => Kind::Delete,
            _ => return None,
        };
        Some(Entry {
            kind,
            log: u64::from_le_bytes(field(bytes, 0)),
            base: i64::from_le_bytes(field(bytes, 8)),
            last: i64::from_le_bytes(field(bytes, 16)),
            max_timestamp: i64::from_le_bytes(field(bytes, 24)),
            leader_epoch: i32::from_le_bytes(field(bytes, 32)),
            body_len: u32::from_le_bytes(field(bytes, 36)),
            checksum: u32::from_le_bytes(field(bytes, 40)),
            class: RetentionClass::from_number(bytes[45])?,
            own_crc: bytes[46] != 0,
            end: i64::from_le_bytes(field(bytes, 48)),
        })
    }
}

/// Copies a field of a slice whose length has been checked.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Checksum of a body, and whether the batch's own checksum stands for the rest of it. The batch was verified by
/// whoever appended it, so that its own checksum detects a torn write as well as a second one would.
pub(crate) fn body_checksum(body: &[u8], trust: bool) -> (u32, bool) {
    if trust && has_own_crc(body) {
        (crc32c::crc32c(&body[..BATCH_CRC_FROM]), true)
    } else {
        (crc32c::crc32c(body), false)
    }
}

/// Whether `body` is what its entry says.
pub(crate) fn body_intact(body: &[u8], entry: &Entry) -> bool {
    if !entry.own_crc {
        return crc32c::crc32c(body) == entry.checksum;
    }
    has_own_crc(body)
        && crc32c::crc32c(&body[..BATCH_CRC_FROM]) == entry.checksum
        && crc32c::crc32c(&body[BATCH_CRC_FROM..]) == u32::from_be_bytes(field(body, BATCH_CRC_AT))
}

fn has_own_crc(body: &[u8]) -> bool {
    body.len() >= BATCH_HEADER
        && body[BATCH_MAGIC_AT] == 2
        && u32::from_be_bytes(field(body, BATCH_LENGTH_AT)) as usize == body.len() - BATCH_LENGTH_AT - 4
}

impl RetentionClass {
    /// All classes, by number.
    pub const ALL: [RetentionClass; 7] = [
        RetentionClass::Hour,
        RetentionClass::SixHours,
        RetentionClass::Day,
        RetentionClass::Week,
        RetentionClass::Month,
        RetentionClass::Forever,
        RetentionClass::Compact,
    ];

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_and_header_survive_a_round_trip() {
        let entry = Entry {
            kind: Kind::Append,
            log: 7,
            class: RetentionClass::Week,
            base: 5,
            last: 9,
            max_timestamp: -1,
            leader_epoch: 3,
            end: 10,
            body_len: 100,
            checksum: 0xdead_beef,
            own_crc: true,
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(bytes.len(), ENTRY);
        assert_eq!(Entry::decode(&bytes), Some(entry));
        let header = Header { segment: 1, group: 2, incarnation: 3, frames: 4, body_len: 5, directory_crc: 6 };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for i in 0..HEADER {
            bytes[i] ^= 1;
            assert_eq!(Header::decode(&bytes), None, "byte {i}");
            bytes[i] ^= 1;
        }
    }

    #[test]
    fn own_checksum_covers_every_byte_of_a_batch() {
        let mut body = vec![3u8; 200];
        body[8..12].copy_from_slice(&188u32.to_be_bytes());
        body[16] = 2;
        let crc = crc32c::crc32c(&body[21..]);
        body[17..21].copy_from_slice(&crc.to_be_bytes());
        let (checksum, own_crc) = body_checksum(&body, true);
        assert!(own_crc);
        let entry = Entry {
            kind: Kind::Append,
            log: 1,
            class: RetentionClass::Day,
            base: 0,
            last: 0,
            max_timestamp: 0,
            leader_epoch: 0,
            end: 1,
            body_len: 200,
            checksum,
            own_crc,
        };
        assert!(body_intact(&body, &entry));
        for i in 0..body.len() {
            body[i] ^= 0x40;
            assert!(!body_intact(&body, &entry), "byte {i}");
            body[i] ^= 0x40;
        }
    }
}
