//! The state of the quorum as it is sent.

use millrace_metadata::{BrokerImage, Image};
use millrace_rpc::{DecodeError, dir_id, pb};

use crate::presence::Presence;
use crate::quorum::{QuorumInfo, Voter};

/// Adds the brokers that follow the metadata and have no vote, as far as they were heard of here. `now_ms`: since 1970.
pub fn add_observers(quorum: &mut QuorumInfo, image: &Image, presence: &Presence, now_ms: i64) {
    let caught_up = u64::try_from(quorum.high_watermark - 1).unwrap_or_default();
    let observer = |broker: &std::sync::Arc<BrokerImage>| {
        let (applied, ago_ms) = presence.last_beat(broker.id)?;
        let at_ms = now_ms - ago_ms;
        Some(Voter {
            id: broker.id,
            dir: broker.dirs.first().copied().unwrap_or_default(),
            log_end: i64::try_from(applied).unwrap_or(i64::MAX - 1) + 1,
            last_fetch_ms: at_ms,
            last_caught_up_ms: if applied >= caught_up { now_ms } else { at_ms },
        })
    };
    let known: Vec<_> = quorum.voters.iter().chain(&quorum.observers).map(|v| v.id).collect();
    let others = image.brokers().filter(|broker| !known.contains(&broker.id));
    quorum.observers.extend(others.filter_map(observer));
}

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
