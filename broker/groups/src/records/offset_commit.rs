//! `OffsetCommitValue`: what a group committed for one partition.

use bytes::{Buf, BufMut, Bytes};
use millrace_metadata::TopicId;

use super::codec::{DecodeError, Reader, put_compact_string, put_string, put_uvarint};

const TOPIC_ID_TAG: u32 = 0;
const CURRENT_VERSION: i16 = 4;
/// The only version that holds an expiry time.
const EXPIRING_VERSION: i16 = 1;

/// A committed offset.
///
/// ```text
/// 0,2  offset i64 │ metadata string │ commit time i64
/// 1    offset i64 │ metadata string │ commit time i64 │ expiry time i64
/// 3    offset i64 │ leader epoch i32 │ metadata string │ commit time i64
/// 4    offset i64 │ leader epoch i32 │ metadata compact string │ commit time i64 │ tags {0: topic id}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetValue {
    pub offset: i64,
    /// −1: not given by the client.
    pub leader_epoch: i32,
    pub metadata: String,
    /// Milliseconds since the epoch.
    pub commit_time_ms: i64,
    /// Set by clients of OffsetCommit 2–4 that ask for a retention time of their own.
    pub expire_time_ms: Option<i64>,
    /// The topic's incarnation at the time of the commit; zero: not known.
    pub topic_id: TopicId,
}

impl OffsetValue {
    pub fn encode(&self, out: &mut impl BufMut) {
        if let Some(expire) = self.expire_time_ms {
            out.put_i16(EXPIRING_VERSION);
            out.put_i64(self.offset);
            put_string(out, &self.metadata);
            out.put_i64(self.commit_time_ms);
            out.put_i64(expire);
            return;
        }
        out.put_i16(CURRENT_VERSION);
        out.put_i64(self.offset);
        out.put_i32(self.leader_epoch);
        put_compact_string(out, &self.metadata);
        out.put_i64(self.commit_time_ms);
        if self.topic_id.is_zero() {
            put_uvarint(out, 0);
        } else {
            put_uvarint(out, 1);
            put_uvarint(out, TOPIC_ID_TAG);
            put_uvarint(out, 16);
            out.put_slice(&self.topic_id.0);
        }
    }

    /// An upper bound of the bytes that [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        2 + 8 + 4 + 5 + self.metadata.len() + 16 + 3 + 16
    }

    pub fn decode(bytes: Bytes) -> Result<OffsetValue, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=CURRENT_VERSION).contains(&version) {
            return Err(DecodeError::UnknownVersion { what: "OffsetCommitValue", version });
        }
        let flexible = version >= 4;
        let mut value = OffsetValue {
            offset: reader.i64()?,
            leader_epoch: if version >= 3 { reader.i32()? } else { -1 },
            metadata: reader.string(flexible)?,
            commit_time_ms: reader.i64()?,
            expire_time_ms: None,
            topic_id: TopicId::ZERO,
        };
        if version == EXPIRING_VERSION {
            value.expire_time_ms = Some(reader.i64()?).filter(|at| *at >= 0);
        }
        if flexible {
            reader.tagged(|tag, mut field| {
                if tag == TOPIC_ID_TAG && field.len() == 16 {
                    field.copy_to_slice(&mut value.topic_id.0);
                }
                Ok(())
            })?;
        }
        Ok(value)
    }
}
