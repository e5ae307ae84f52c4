//! The state of the quorum as it is sent.

use millrace_rpc::{DecodeError, dir_id, pb};

use crate::quorum::{QuorumInfo, Voter};

pub fn quorum_to_pb(quorum: &QuorumInfo) -> pb::QuorumReply {
    let replica = |v: &Voter| pb::QuorumReplica {
        id: v.id,
        dir: v.dir.0.to_vec(),
        log_end: v.log_end,
        last_fetch_ms: v.last_fetch_ms,
        last_caught_up_ms: v.last_caught_up_ms,
    };
    pb::QuorumReply {
        error: None,
        leader: quorum.leader.unwrap_or(-1),
        epoch: quorum.epoch,
        high_watermark: quorum.high_watermark,
        voters: quorum.voters.iter().map(replica).collect(),
        observers: quorum.observers.iter().map(replica).collect(),
    }
}

pub fn quorum_from_pb(reply: pb::QuorumReply) -> Result<QuorumInfo, DecodeError> {
    let replica = |r: pb::QuorumReplica| {
        Ok(Voter {
            id: r.id,
            dir: dir_id(&r.dir)?,
            log_end: r.log_end,
            last_fetch_ms: r.last_fetch_ms,
            last_caught_up_ms: r.last_caught_up_ms,
        })
    };
    let replicas =
        |list: Vec<pb::QuorumReplica>| list.into_iter().map(replica).collect::<Result<Vec<_>, DecodeError>>();
    Ok(QuorumInfo {
        leader: (reply.leader >= 0).then_some(reply.leader),
        epoch: reply.epoch,
        high_watermark: reply.high_watermark,
        voters: replicas(reply.voters)?,
        observers: replicas(reply.observers)?,
    })
}
