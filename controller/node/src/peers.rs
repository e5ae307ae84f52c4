//! Who the other controllers are, asked one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use millrace_metadata::record::FeatureRange;
use millrace_metadata::{DirId, NodeId, features};
use millrace_rpc::pb::quorum_client::QuorumClient;
use millrace_rpc::{DecodeError, dir_id, levels_from_pb, levels_to_pb, pb, ranges_from_pb, ranges_to_pb};

use crate::network::{PROTOCOL, channel};
use crate::options::ControllerOptions;
use crate::raft::{Peer, RaftId, raft_id};

/// How long a controller may take to say who it is.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Where a controller should be, and which one, if that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub node: Option<NodeId>,
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{node} at {}:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The addresses that the settings name.
pub fn addresses(options: &ControllerOptions) -> Vec<Address> {
    let voters = options.voters.iter().map(|v| Address { node: Some(v.node_id), host: v.host.clone(), port: v.port });
    let servers = options.bootstrap.iter().map(|(host, port)| Address { node: None, host: host.clone(), port: *port });
    if options.voters.is_empty() { servers.collect() } else { voters.collect() }
}

/// What a controller said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub node: NodeId,
    pub dir: DirId,
    /// Empty until one is agreed.
    pub cluster_id: String,
    pub wanted: String,
    pub pristine: bool,
    pub nodes: BTreeMap<RaftId, Peer>,
    pub voters: BTreeSet<RaftId>,
    pub leader: Option<RaftId>,
    /// Term and index of its newest log entry.
    pub last: (u64, u64),
    /// Levels that it supports.
    pub features: Vec<FeatureRange>,
    /// Levels that its cluster runs at, as far as it knows.
    pub levels: BTreeMap<String, i16>,
}

impl Seen {
    pub fn id(&self) -> RaftId {
        raft_id(self.node, self.dir)
    }

    fn from_pb(seen: pb::Identified) -> Result<Seen, DecodeError> {
        Ok(Seen {
            node: seen.node_id,
            dir: dir_id(&seen.dir)?,
            cluster_id: seen.cluster_id,
            wanted: seen.wanted,
            pristine: seen.pristine,
            nodes: nodes_from_pb(seen.nodes)?,
            voters: seen.voters.into_iter().collect(),
            leader: (seen.leader != 0).then_some(seen.leader),
            last: (seen.last_term, seen.last_index),
            features: match seen.features.is_empty() {
                true => features::ranges(features::UNSAID),
                false => ranges_from_pb(seen.features)?,
            },
            levels: levels_from_pb(seen.levels)?,
        })
    }

    pub fn to_pb(&self, term: u64) -> pb::Identified {
        pb::Identified {
            node_id: self.node,
            dir: self.dir.0.to_vec(),
            cluster_id: self.cluster_id.clone(),
            wanted: self.wanted.clone(),
            pristine: self.pristine,
            nodes: self.nodes.values().map(peer_to_pb).collect(),
            voters: self.voters.iter().copied().collect(),
            leader: self.leader.unwrap_or_default(),
            term,
            last_term: self.last.0,
            last_index: self.last.1,
            protocol: PROTOCOL,
            features: ranges_to_pb(&self.features),
            levels: levels_to_pb(&self.levels),
        }
    }
}

pub fn peer_to_pb(peer: &Peer) -> pb::Voter {
    pb::Voter {
        node: raft_id(peer.controller, peer.dir),
        controller_id: peer.controller,
        dir: peer.dir.0.to_vec(),
        host: peer.host.clone(),
        port: peer.port.into(),
    }
}

pub fn peer_from_pb(voter: pb::Voter) -> Result<Peer, DecodeError> {
    let port = u16::try_from(voter.port).map_err(|_| DecodeError::Unknown("port"))?;
    Ok(Peer { controller: voter.controller_id, dir: dir_id(&voter.dir)?, host: voter.host, port })
}

pub fn nodes_from_pb(voters: Vec<pb::Voter>) -> Result<BTreeMap<RaftId, Peer>, DecodeError> {
    let one = |voter| peer_from_pb(voter).map(|peer| (raft_id(peer.controller, peer.dir), peer));
    voters.into_iter().map(one).collect()
}

/// Asks the controller at an address who it is; the error says in a few words why there is no answer.
pub async fn identify(address: &Address) -> Result<Seen, String> {
    let channel = channel(&address.host, address.port).ok_or("not an address")?;
    let mut client = QuorumClient::new(channel);
    let answer = tokio::time::timeout(ANSWER_WAIT, client.identify(pb::Blank {})).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|status| reason(&status))?;
    let seen = Seen::from_pb(answer.into_inner()).map_err(|e| e.to_string())?;
    match address.node {
        Some(node) if node != seen.node => Err(format!("node {} answers there; correct the address", seen.node)),
        _ => Ok(seen),
    }
}

/// The innermost cause: what lies around it only says that a connection failed.
fn reason(status: &tonic::Status) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut text = status.message().to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// Asks all at once; the answers in the order of the addresses.
pub async fn identify_all(addresses: &[Address]) -> Vec<(Address, Result<Seen, String>)> {
    let one = async |address: &Address| (address.clone(), identify(address).await);
    futures::future::join_all(addresses.iter().map(one)).await
}

/// Names those who did not answer, and why.
pub fn missing(round: &[(Address, Result<Seen, String>)]) -> Vec<String> {
    let one = |(address, seen): &(Address, Result<Seen, String>)| {
        seen.as_ref().err().map(|why| format!("controller {address} ({why})"))
    };
    round.iter().filter_map(one).collect()
}
