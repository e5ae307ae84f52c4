//! The records of `__consumer_offsets` in Kafka's binary format
//! (`group-coordinator/src/main/resources/common/message/{OffsetCommit,GroupMetadata}{Key,Value}.json`).
//!
//! ```text
//! key    version i16 = 0, 1 │ group string │ topic string │ partition i32        an offset
//!        version i16 = 2    │ group string                                       a group
//!        version i16 ≥ 3    │ …               the other group protocols, not read here
//! value  version i16 │ …                      none: the key is deleted
//! ```
//! Written: offsets at version 4 (1 with an expiry time of their own), groups at version 3, as Kafka 4.3 does.

mod codec;
mod group_metadata;
mod offset_commit;

pub use codec::{DecodeError, Reader};
pub use group_metadata::{GroupMetadata, MemberMetadata};
pub use offset_commit::OffsetValue;

use bytes::{BufMut, Bytes};
use codec::put_string;

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Offset {
        group: String,
        topic: String,
        partition: i32,
    },
    Group {
        group: String,
    },
    /// A record of a group protocol that this version does not know. It is kept, and not understood.
    Unknown {
        version: i16,
    },
}

impl Key {
    pub fn decode(bytes: Bytes) -> Result<Key, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.i16()? {
            0..=OFFSET_KEY_VERSION => {
                let group = reader.string(false)?;
                let topic = reader.string(false)?;
                Ok(Key::Offset { group, topic, partition: reader.i32()? })
            }
            GROUP_KEY_VERSION => Ok(Key::Group { group: reader.string(false)? }),
            version => Ok(Key::Unknown { version }),
        }
    }
}

pub fn put_offset_key(out: &mut impl BufMut, group: &str, topic: &str, partition: i32) {
    out.put_i16(OFFSET_KEY_VERSION);
    put_string(out, group);
    put_string(out, topic);
    out.put_i32(partition);
}

pub fn put_group_key(out: &mut impl BufMut, group: &str) {
    out.put_i16(GROUP_KEY_VERSION);
    put_string(out, group);
}

/// Bytes of an offset's key.
pub fn offset_key_len(group: &str, topic: &str) -> usize {
    2 + 2 + group.len() + 2 + topic.len() + 4
}

/// Bytes of a group's key.
pub fn group_key_len(group: &str) -> usize {
    2 + 2 + group.len()
}

#[cfg(test)]
mod tests;
