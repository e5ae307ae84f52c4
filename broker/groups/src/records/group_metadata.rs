//! `GroupMetadataValue`: a generation of a classic group.

use bytes::{BufMut, Bytes};

use super::codec::{DecodeError, Reader, put_bytes, put_nullable_string, put_string};

const CURRENT_VERSION: i16 = 3;
const NEWEST_READABLE_VERSION: i16 = 4;

/// A generation that became stable, or an empty one.
///
/// ```text
/// 0+  protocol type string │ generation i32 │ protocol string? │ leader string?
/// 2+  time of the state i64
/// 0+  members [ member id string │ 3+ instance id string? │ client id string │ client host string
///               │ 1+ rebalance timeout i32 │ session timeout i32 │ subscription bytes │ assignment bytes ]
/// 4   compact strings, bytes and arrays, tags
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group entered its state, in milliseconds since the epoch.
    pub state_time_ms: Option<i64>,
    pub members: Vec<MemberMetadata>,
}

/// A member of the generation, with what it subscribed to and what it was assigned: both opaque to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// None: written by a broker that did not know it; the session timeout stands in.
    pub rebalance_timeout_ms: Option<i32>,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl GroupMetadata {
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_i16(CURRENT_VERSION);
        put_string(out, &self.protocol_type);
        out.put_i32(self.generation);
        put_nullable_string(out, self.protocol.as_deref());
        put_nullable_string(out, self.leader.as_deref());
        out.put_i64(self.state_time_ms.unwrap_or(-1));
        out.put_i32(self.members.len() as i32);
        for member in &self.members {
            put_string(out, &member.member_id);
            put_nullable_string(out, member.instance_id.as_deref());
            put_string(out, &member.client_id);
            put_string(out, &member.client_host);
            out.put_i32(member.rebalance_timeout_ms.unwrap_or(-1));
            out.put_i32(member.session_timeout_ms);
            put_bytes(out, &member.subscription);
            put_bytes(out, &member.assignment);
        }
    }

    pub fn decode(bytes: Bytes) -> Result<GroupMetadata, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=NEWEST_READABLE_VERSION).contains(&version) {
            return Err(DecodeError::UnknownVersion { what: "GroupMetadataValue", version });
        }
        let flexible = version >= 4;
        let mut group = GroupMetadata {
            protocol_type: reader.string(flexible)?,
            generation: reader.i32()?,
            protocol: reader.nullable_string(flexible)?,
            leader: reader.nullable_string(flexible)?,
            state_time_ms: None,
            members: Vec::new(),
        };
        if version >= 2 {
            group.state_time_ms = Some(reader.i64()?).filter(|at| *at >= 0);
        }
        for _ in 0..reader.array(flexible)? {
            group.members.push(decode_member(&mut reader, version)?);
        }
        if flexible {
            reader.tagged(|_, _| Ok(()))?;
        }
        Ok(group)
    }
}

fn decode_member(reader: &mut Reader, version: i16) -> Result<MemberMetadata, DecodeError> {
    let flexible = version >= 4;
    let member = MemberMetadata {
        member_id: reader.string(flexible)?,
        instance_id: if version >= 3 { reader.nullable_string(flexible)? } else { None },
        client_id: reader.string(flexible)?,
        client_host: reader.string(flexible)?,
        rebalance_timeout_ms: if version >= 1 { Some(reader.i32()?).filter(|timeout| *timeout >= 0) } else { None },
        session_timeout_ms: reader.i32()?,
        subscription: reader.bytes(flexible)?,
        assignment: reader.bytes(flexible)?,
    };
    if flexible {
        reader.tagged(|_, _| Ok(()))?;
    }
    Ok(member)
}
