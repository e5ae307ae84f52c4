//! Fetch answers, encoded without copying a record: the frame holds the fixed
//! parts in buffers of its own and refers to the batches where they are.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{CodecError, HEADER_ROOM, begin_response, finish_size};
use crate::frame::Frame;
use crate::message::WireResponse;
use crate::write::{put_compact_string, put_count, put_nullable_compact_string, put_string, put_uvarint};

/// First version with an error and a session id at the top.
const FIRST_WITH_SESSION: i16 = 7;
/// First version that may send a consumer to another replica.
const FIRST_WITH_PREFERRED_REPLICA: i16 = 11;
/// First version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 12;
/// First version that names topics by id.
const FIRST_WITH_TOPIC_ID: i16 = 13;
/// First version with the addresses of other leaders.
const FIRST_WITH_ENDPOINTS: i16 = 16;

/// Record sets below this many bytes are copied into the fixed part: cheaper
/// than one more entry in the vectored write.
const INLINE_BELOW: usize = 512;

/// Room that the fixed part of one partition takes, about.
const PARTITION_ROOM: usize = 64;

/// A Fetch answer, versions 4 to 18. Fields that a version lacks are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchResponse {
    /// How long the client was throttled, in milliseconds.
    pub throttle_ms: i32,
    /// Error of the request as a whole, 0 for none (from version 7).
    pub error: i16,
    /// The fetch session, 0 for none (from version 7).
    pub session_id: i32,
    /// Answers per topic.
    pub topics: Vec<FetchTopic>,
    /// Addresses of the leaders named in `current_leader` (from version 16).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic's answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic's name (to version 12).
    pub name: String,
    /// The topic's id (from version 13).
    pub id: [u8; 16],
    /// Answers per partition.
    pub partitions: Vec<FetchPartition>,
}

/// One partition's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition's number.
    pub index: i32,
    /// Error code, 0 for none.
    pub error: i16,
    /// End of what is committed, −1 when unknown.
    pub high_watermark: i64,
    /// End of what belongs to no open transaction, −1 when unknown.
    pub last_stable_offset: i64,
    /// First offset that is still there, −1 when unknown (from version 5).
    pub log_start_offset: i64,
    /// Where the client's log and this one part (from version 12).
    pub diverging: Option<EpochEnd>,
    /// Who leads now, when the client asked the wrong broker (from version 12).
    pub current_leader: Option<Leader>,
    /// Aborted transactions in the range; `None` for read_uncommitted.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// The replica to read from instead, −1 for none (from version 11).
    pub preferred_read_replica: i32,
    /// Record batches, in order.
    pub records: Vec<Bytes>,
}

impl FetchPartition {
    /// An answer without data.
    pub fn empty(index: i32, error: i16) -> Self {
        Self {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            current_leader: None,
            aborted: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }

    /// Bytes of record batches.
    pub fn record_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// End of a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

/// A partition's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub id: i32,
    /// The epoch of its leadership.
    pub epoch: i32,
}

/// A transaction whose records a reader must skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who wrote it.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: i64,
}

/// Where a broker can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker.
    pub node_id: i32,
    /// Its host name.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

impl WireResponse for FetchResponse {
    fn encode_frame(self, api_key: i16, version: i16, correlation_id: i32) -> Result<Frame, CodecError> {
        let partitions: usize = self.topics.iter().map(|t| t.partitions.len()).sum();
        let mut out = Segments::with_room(HEADER_ROOM + 64 + partitions * PARTITION_ROOM);
        begin_response(&mut out.fixed, api_key, version, correlation_id);
        self.put(&mut out, version);
        out.into_frame()
    }
}

/// Fixed parts and record sets in the order in which they are written.
struct Segments {
    done: Vec<Bytes>,
    fixed: BytesMut,
}

impl Segments {
    fn with_room(room: usize) -> Self {
        Self { done: Vec::new(), fixed: BytesMut::with_capacity(room) }
    }

    fn put_records(&mut self, records: Vec<Bytes>) {
        for piece in records {
            if piece.len() < INLINE_BELOW {
                self.fixed.put_slice(&piece);
            } else {
                let before = self.fixed.split();
                if !before.is_empty() {
                    self.done.push(before.freeze());
                }
                self.done.push(piece);
            }
        }
    }

    /// Fills the size field, which stands at the front of the first segment.
    fn into_frame(mut self) -> Result<Frame, CodecError> {
        if self.done.is_empty() {
            finish_size(&mut self.fixed, 0)?;
            return Ok(Frame::single(self.fixed.freeze()));
        }
        let beyond = self.done[1..].iter().map(Bytes::len).sum::<usize>() + self.fixed.len();
        let first = std::mem::take(&mut self.done[0]);
        // Nobody else holds the first segment, so this takes it back uncopied.
        let mut first = BytesMut::from(first);
        finish_size(&mut first, beyond)?;
        self.done[0] = first.freeze();
        if !self.fixed.is_empty() {
            self.done.push(self.fixed.freeze());
        }
        Ok(Frame::from_segments(self.done))
    }
}

impl FetchResponse {
    fn put(self, out: &mut Segments, version: i16) {
        let flexible = version >= FIRST_FLEXIBLE;
        out.fixed.put_i32(self.throttle_ms);
        if version >= FIRST_WITH_SESSION {
            out.fixed.put_i16(self.error);
            out.fixed.put_i32(self.session_id);
        }
        put_count(&mut out.fixed, self.topics.len(), flexible);
        for topic in self.topics {
            topic.put(out, version);
        }
        if flexible {
            put_endpoints(&mut out.fixed, &self.node_endpoints, version);
        }
    }
}

impl FetchTopic {
    fn put(self, out: &mut Segments, version: i16) {
        let flexible = version >= FIRST_FLEXIBLE;
        if version >= FIRST_WITH_TOPIC_ID {
            out.fixed.put_slice(&self.id);
        } else if flexible {
            put_compact_string(&mut out.fixed, &self.name);
        } else {
            put_string(&mut out.fixed, &self.name);
        }
        put_count(&mut out.fixed, self.partitions.len(), flexible);
        for partition in self.partitions {
            partition.put(out, version);
        }
        if flexible {
            out.fixed.put_u8(0);
        }
    }
}

impl FetchPartition {
    fn put(self, out: &mut Segments, version: i16) {
        let flexible = version >= FIRST_FLEXIBLE;
        let record_bytes = self.record_bytes();
        let buf = &mut out.fixed;
        buf.put_i32(self.index);
        buf.put_i16(self.error);
        buf.put_i64(self.high_watermark);
        buf.put_i64(self.last_stable_offset);
        if version >= 5 {
            buf.put_i64(self.log_start_offset);
        }
        put_aborted(buf, self.aborted.as_deref(), flexible);
        if version >= FIRST_WITH_PREFERRED_REPLICA {
            buf.put_i32(self.preferred_read_replica);
        }
        put_count(buf, record_bytes, flexible);
        out.put_records(self.records);
        if flexible {
            put_partition_tags(&mut out.fixed, self.diverging, self.current_leader);
        }
    }
}

fn put_aborted(buf: &mut BytesMut, aborted: Option<&[AbortedTransaction]>, flexible: bool) {
    let Some(aborted) = aborted else {
        if flexible {
            buf.put_u8(0);
        } else {
            buf.put_i32(-1);
        }
        return;
    };
    put_count(buf, aborted.len(), flexible);
    for transaction in aborted {
        buf.put_i64(transaction.producer_id);
        buf.put_i64(transaction.first_offset);
        if flexible {
            buf.put_u8(0);
        }
    }
}

/// Tag 0 is the diverging epoch, tag 1 the current leader; each is a structure
/// of 13 or 9 bytes whose last byte says that it has no tagged fields.
fn put_partition_tags(buf: &mut BytesMut, diverging: Option<EpochEnd>, leader: Option<Leader>) {
    buf.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
    if let Some(diverging) = diverging {
        buf.put_slice(&[0, 13]);
        buf.put_i32(diverging.epoch);
        buf.put_i64(diverging.end_offset);
        buf.put_u8(0);
    }
    if let Some(leader) = leader {
        buf.put_slice(&[1, 9]);
        buf.put_i32(leader.id);
        buf.put_i32(leader.epoch);
        buf.put_u8(0);
    }
}

fn put_endpoints(buf: &mut BytesMut, endpoints: &[NodeEndpoint], version: i16) {
    if endpoints.is_empty() || version < FIRST_WITH_ENDPOINTS {
        buf.put_u8(0);
        return;
    }
    let mut field = BytesMut::new();
    put_count(&mut field, endpoints.len(), true);
    for endpoint in endpoints {
        field.put_i32(endpoint.node_id);
        put_compact_string(&mut field, &endpoint.host);
        field.put_i32(endpoint.port);
        put_nullable_compact_string(&mut field, endpoint.rack.as_deref());
        field.put_u8(0);
    }
    buf.put_slice(&[1, 0]);
    put_uvarint(buf, field.len() as u32);
    buf.put_slice(&field);
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
