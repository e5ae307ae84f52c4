//! A follower's side of Fetch: requests encoded by hand, and answers cut out of the frame that they came in, so that
//! no record is copied and no structure is made for a partition that says nothing.
//!
//! ```text
//! request   max_wait_ms:i32 min_bytes:i32 max_bytes:i32 isolation:i8 session_id:i32 session_epoch:i32
//!           topics[] { topic_id partitions[] { index:i32 leader_epoch:i32 offset:i64 last_fetched_epoch:i32
//!                                              log_start:i64 max_bytes:i32 tags } tags }
//!           forgotten[] { topic_id partitions[]:i32 tags } rack_id
//!           tags { 1: replica_id:i32 replica_epoch:i64 }
//! answer    throttle_ms:i32 error:i16 session_id:i32
//!           topics[] { topic_id partitions[] { index:i32 error:i16 high_watermark:i64 last_stable:i64
//!                                              log_start:i64 aborted[]? preferred:i32 records?
//!                                              tags { 0: diverging, 1: current leader } } tags }
//!           tags { 0: node endpoints }
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::{CodecError, finish_size};
use crate::fetch::{EpochEnd, Leader};
use crate::kp::messages::ApiKey;
use crate::read::{Reader, WireError};
use crate::write::{put_compact_string, put_count, put_string, put_uvarint};

/// First version that this codec speaks: the first whose topics have ids only, and the follower a tagged field.
pub const FIRST_VERSION: i16 = 17;
/// Last version that this codec speaks.
pub const LAST_VERSION: i16 = 18;

/// Bytes that a partition of a request takes.
const PARTITION_BYTES: usize = 37;
/// Bytes that a request takes without partitions, about.
const REQUEST_ROOM: usize = 128;
/// Least bytes that a topic of an answer takes.
const MIN_TOPIC: usize = 18;
/// Least bytes that a partition of an answer takes.
const MIN_PARTITION: usize = 37;
/// Bytes of an aborted transaction without tagged fields.
const ABORTED_BYTES: usize = 16;

/// A follower's Fetch request.
#[derive(Debug, Clone, Copy)]
pub struct FollowerFetch<'a> {
    /// How long the leader may wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// Fewer bytes than this are worth waiting for more.
    pub min_bytes: i32,
    /// Most bytes of records in the answer.
    pub max_bytes: i32,
    /// The fetch session, 0 for none.
    pub session_id: i32,
    /// Epoch of the session: 0 asks for a session, −1 for none.
    pub session_epoch: i32,
    /// The follower's broker id.
    pub replica_id: i32,
    /// The epoch of its registration.
    pub replica_epoch: i64,
    /// What it wants; partitions of a topic stand together.
    pub partitions: &'a [FollowedPartition],
    /// What the session shall forget; partitions of a topic stand together.
    pub forgotten: &'a [([u8; 16], i32)],
}

/// One partition of a follower's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowedPartition {
    /// The topic.
    pub topic_id: [u8; 16],
    /// The partition's number.
    pub index: i32,
    /// Leader epoch that the follower knows.
    pub leader_epoch: i32,
    /// First offset that it lacks: it holds everything below.
    pub offset: i64,
    /// Epoch of its last record, −1 if it has none.
    pub last_fetched_epoch: i32,
    /// First offset of its log.
    pub log_start: i64,
    /// Most bytes that it takes of this partition.
    pub max_bytes: i32,
}

impl FollowerFetch<'_> {
    /// The request with size field and header, ready to be written.
    ///
    /// # Errors
    /// `TooLong` for more than a frame can carry.
    pub fn encode_frame(&self, version: i16, correlation_id: i32, client_id: &str) -> Result<Bytes, CodecError> {
        let room = REQUEST_ROOM + self.partitions.len() * (PARTITION_BYTES + 4) + self.forgotten.len() * 8;
        let mut buf = BytesMut::with_capacity(room);
        buf.put_i32(0);
        buf.put_i16(ApiKey::Fetch as i16);
        buf.put_i16(version);
        buf.put_i32(correlation_id);
        put_string(&mut buf, client_id);
        buf.put_u8(0);
        self.put(&mut buf);
        finish_size(&mut buf, 0)?;
        Ok(buf.freeze())
    }

    fn put(&self, buf: &mut BytesMut) {
        buf.put_i32(self.max_wait_ms);
        buf.put_i32(self.min_bytes);
        buf.put_i32(self.max_bytes);
        // Isolation says nothing for a follower, which sees everything.
        buf.put_i8(0);
        buf.put_i32(self.session_id);
        buf.put_i32(self.session_epoch);
        put_topics(buf, self.partitions, |p| p.topic_id, FollowedPartition::put);
        put_topics(buf, self.forgotten, |p| p.0, |p, buf| buf.put_i32(p.1));
        put_compact_string(buf, "");
        // One tagged field: number 1, 13 bytes, the last of which says that it has no tagged fields of its own.
        buf.put_slice(&[1, 1, 13]);
        buf.put_i32(self.replica_id);
        buf.put_i64(self.replica_epoch);
        buf.put_u8(0);
    }
}

impl FollowedPartition {
    fn put(&self, buf: &mut BytesMut) {
        buf.put_i32(self.index);
        buf.put_i32(self.leader_epoch);
        buf.put_i64(self.offset);
        buf.put_i32(self.last_fetched_epoch);
        buf.put_i64(self.log_start);
        buf.put_i32(self.max_bytes);
        buf.put_u8(0);
    }
}

/// Writes elements as an array of topics with an array of partitions each.
fn put_topics<T>(buf: &mut BytesMut, all: &[T], topic: impl Fn(&T) -> [u8; 16], put: impl Fn(&T, &mut BytesMut)) {
    let groups = || all.chunk_by(|a, b| topic(a) == topic(b));
    put_count(buf, groups().count(), true);
    for group in groups() {
        if let Some(first) = group.first() {
            buf.put_slice(&topic(first));
        }
        put_uvarint(buf, group.len() as u32 + 1);
        group.iter().for_each(|one| put(one, buf));
        buf.put_u8(0);
    }
}

/// A leader's answer to a follower.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowerFetched {
    /// How long the leader asks to stay away, in milliseconds.
    pub throttle_ms: i32,
    /// Error of the request as a whole, 0 for none.
    pub error: i16,
    /// The fetch session, 0 for none.
    pub session_id: i32,
    /// Partitions with news, in the order of the answer.
    pub partitions: Vec<FetchedPartition>,
}

/// What a leader says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The topic.
    pub topic_id: [u8; 16],
    /// The partition's number.
    pub index: i32,
    /// Error code, 0 for none.
    pub error: i16,
    /// The leader's high watermark, −1 when unknown.
    pub high_watermark: i64,
    /// First offset of the leader's log, −1 when unknown.
    pub log_start: i64,
    /// Where the follower's log and the leader's part.
    pub diverging: Option<EpochEnd>,
    /// Who leads now, when the wrong broker was asked.
    pub current_leader: Option<Leader>,
    /// Record batches: a piece of the frame. The last may be cut off.
    pub records: Bytes,
}

impl FollowerFetched {
    /// Decodes an answer; `frame` is what follows the size field. Returns it with its correlation id.
    ///
    /// # Errors
    /// `Malformed` for bytes that are no such answer.
    pub fn decode_frame(frame: Bytes) -> Result<(i32, FollowerFetched), CodecError> {
        decode(frame).map_err(|error| CodecError::Malformed(error.to_string()))
    }

    /// Bytes of records in all partitions.
    pub fn record_bytes(&self) -> usize {
        self.partitions.iter().map(|p| p.records.len()).sum()
    }
}

fn decode(frame: Bytes) -> Result<(i32, FollowerFetched), WireError> {
    let mut reader = Reader::new(&frame);
    let correlation_id = reader.i32()?;
    reader.skip_tagged_fields()?;
    let mut answer = FollowerFetched {
        throttle_ms: reader.i32()?,
        error: reader.i16()?,
        session_id: reader.i32()?,
        partitions: Vec::new(),
    };
    for _ in 0..reader.count(true, MIN_TOPIC)?.unwrap_or(0) {
        let topic_id = reader.uuid()?;
        let count = reader.count(true, MIN_PARTITION)?.unwrap_or(0);
        answer.partitions.reserve(count);
        for _ in 0..count {
            answer.partitions.push(partition(&mut reader, topic_id, &frame)?);
        }
        reader.skip_tagged_fields()?;
    }
    reader.skip_tagged_fields()?;
    Ok((correlation_id, answer))
}

fn partition(reader: &mut Reader<'_>, topic_id: [u8; 16], frame: &Bytes) -> Result<FetchedPartition, WireError> {
    let index = reader.i32()?;
    let error = reader.i16()?;
    let high_watermark = reader.i64()?;
    let _last_stable_offset = reader.i64()?;
    let log_start = reader.i64()?;
    for _ in 0..reader.count(true, ABORTED_BYTES + 1)?.unwrap_or(0) {
        reader.take(ABORTED_BYTES)?;
        reader.skip_tagged_fields()?;
    }
    let _preferred_read_replica = reader.i32()?;
    let len = reader.count(true, 1)?.unwrap_or(0);
    let start = reader.position();
    reader.take(len)?;
    let records = if len == 0 { Bytes::new() } else { frame.slice(start..start + len) };
    let (diverging, current_leader) = partition_tags(reader)?;
    Ok(FetchedPartition { topic_id, index, error, high_watermark, log_start, diverging, current_leader, records })
}

fn partition_tags(reader: &mut Reader<'_>) -> Result<(Option<EpochEnd>, Option<Leader>), WireError> {
    let (mut diverging, mut leader) = (None, None);
    for _ in 0..reader.uvarint()? {
        let tag = reader.uvarint()?;
        let len = reader.uvarint()? as usize;
        let mut field = Reader::new(reader.take(len)?);
        match tag {
            0 => diverging = Some(EpochEnd { epoch: field.i32()?, end_offset: field.i64()? }),
            1 => leader = Some(Leader { id: field.i32()?, epoch: field.i32()? }),
            _ => continue,
        }
        field.skip_tagged_fields()?;
        if field.remaining() > 0 {
            return Err(WireError::TaggedFieldSize);
        }
    }
    Ok((diverging, leader))
}

/// The size of the frame that `buf` begins with, if its size field is complete, and takes that field off.
///
/// # Errors
/// `Malformed` for a size that is negative or above `limit` bytes.
pub fn take_frame_size(buf: &mut BytesMut, limit: usize) -> Result<Option<usize>, CodecError> {
    if buf.len() < 4 {
        return Ok(None);
    }
    let size = buf.get_i32();
    match usize::try_from(size).ok().filter(|size| *size <= limit) {
        Some(size) => Ok(Some(size)),
        None => Err(CodecError::Malformed(format!("a frame of {size} bytes"))),
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
