//! Raft's types to protobuf and back. What is persisted has a version byte in front.

use std::collections::BTreeMap;
use std::io;

use millrace_rpc::{DecodeError, dir_id, pb, records_from_pb, records_to_pb};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::vote::RaftLeaderId;

use crate::raft::{Entry, LeaderId, LogId, Membership, Peer, Proposal, SnapshotMeta, StoredMembership, Vote};

/// A damaged or newer row, as Raft sees storage errors.
pub fn unreadable(what: &str, error: &DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} in the controller's store: {error}"))
}

pub fn log_id_to_pb(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub fn log_id_from_pb(id: &pb::LogId) -> LogId {
    // The committed form of a leader's id keeps the term only.
    LogId::new(LeaderId::new(id.term, 0).to_committed(), id.index)
}

pub fn vote_to_pb(vote: &Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn vote_from_pb(vote: &pb::Vote) -> Vote {
    Vote { leader_id: LeaderId::new(vote.term, vote.node), committed: vote.committed }
}

pub fn membership_to_pb(membership: &Membership) -> pb::Membership {
    let set = |set: &std::collections::BTreeSet<u64>| pb::NodeSet { nodes: set.iter().copied().collect() };
    let voter = |(id, peer): (&u64, &Peer)| pb::Voter {
        node: *id,
        controller_id: peer.controller,
        dir: peer.dir.0.to_vec(),
        host: peer.host.clone(),
        port: peer.port.into(),
    };
    pb::Membership {
        configs: membership.get_joint_config().iter().map(set).collect(),
        nodes: membership.nodes().map(voter).collect(),
    }
}

pub fn membership_from_pb(membership: pb::Membership) -> Result<Membership, DecodeError> {
    let mut nodes = BTreeMap::new();
    for voter in membership.nodes {
        let port = u16::try_from(voter.port).map_err(|_| DecodeError::Unknown("port"))?;
        let peer = Peer { controller: voter.controller_id, dir: dir_id(&voter.dir)?, host: voter.host, port };
        nodes.insert(voter.node, peer);
    }
    let configs = membership.configs.into_iter().map(|set| set.nodes.into_iter().collect()).collect();
    if nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|e| DecodeError::Malformed(e.to_string()))
}

pub fn stored_membership_to_pb(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_pb),
        membership: Some(membership_to_pb(stored.membership())),
    }
}

pub fn stored_membership_from_pb(stored: pb::StoredMembership) -> Result<StoredMembership, DecodeError> {
    let membership = stored.membership.map(membership_from_pb).transpose()?.unwrap_or_default();
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_from_pb), membership))
}

pub fn snapshot_meta_to_pb(meta: &SnapshotMeta) -> pb::SnapshotMeta {
    pb::SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_to_pb),
        membership: Some(stored_membership_to_pb(&meta.last_membership)),
    }
}

pub fn snapshot_meta_from_pb(meta: pb::SnapshotMeta) -> Result<SnapshotMeta, DecodeError> {
    let membership = meta.membership.ok_or(DecodeError::Unknown("membership"))?;
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_from_pb),
        last_membership: stored_membership_from_pb(membership)?,
    })
}

pub fn entry_to_pb(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(proposal) => pb::entry::Payload::Proposal(pb::Proposal {
            term: proposal.term,
            records: records_to_pb(proposal.records.iter()),
        }),
        EntryPayload::Membership(membership) => pb::entry::Payload::Membership(membership_to_pb(membership)),
    };
    pb::Entry { log_id: Some(log_id_to_pb(&entry.log_id)), payload: Some(payload) }
}

pub fn entry_from_pb(entry: pb::Entry) -> Result<Entry, DecodeError> {
    let log_id = log_id_from_pb(&entry.log_id.ok_or(DecodeError::Unknown("log id"))?);
    let payload = match entry.payload.ok_or(DecodeError::Unknown("kind of log entry"))? {
        pb::entry::Payload::Blank(pb::Blank {}) => EntryPayload::Blank,
        pb::entry::Payload::Proposal(p) => {
            EntryPayload::Normal(Proposal { term: p.term, records: records_from_pb(p.records)?.into() })
        }
        pb::entry::Payload::Membership(m) => EntryPayload::Membership(membership_from_pb(m)?),
    };
    Ok(Entry::new(log_id, payload))
}
