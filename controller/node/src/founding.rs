//! How controllers without a quorum find each other and agree on who they are. Each tells who asks who it is. The one
//! with the lowest id begins: once all have answered, it tells the others the cluster id and the members, each makes
//! that durable, and only then starts Raft. So whatever is heard afterwards names cluster and node, and a controller
//! that finds a quorum never makes another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::DirId;
use millrace_metadata::features::{Feature, ranges};
use millrace_rpc::pb::quorum_client::QuorumClient;
use millrace_rpc::pb::quorum_server::{Quorum as QuorumService, QuorumServer};
use millrace_rpc::{DecodeError, pb};
use millrace_store::Kv;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::identity::{self, Identity};
use crate::network::channel;
use crate::options::{ControllerOptions, StartError};
use crate::peers::{Address, Seen, addresses, identify_all, missing, nodes_from_pb, peer_to_pb};
use crate::raft::{Peer, RaftId, raft_id};

/// Between two rounds of questions.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines that say who is waited for.
pub const COMPLAIN_EVERY: Duration = Duration::from_secs(5);
/// Before the first one.
const COMPLAIN_FIRST: Duration = Duration::from_secs(2);
/// How long another controller may take to make the cluster id durable.
const FOUND_WAIT: Duration = Duration::from_secs(5);

type Round = [(Address, Result<Seen, String>)];
type Members = BTreeMap<RaftId, Peer>;

/// What the controllers agreed on.
#[derive(Debug)]
pub struct Agreed {
    pub cluster_id: String,
    /// The voters of a new quorum, if it is this node that begins it.
    pub members: Option<Members>,
}

/// What a round of questions leads to.
#[derive(Debug)]
enum Step {
    Wait(Vec<String>),
    /// There is a quorum already, or others see to it.
    Follow(String),
    /// This node begins.
    Begin(String, Members),
}

/// Waits until the controllers have agreed, as long as it takes; serves on the listener meanwhile.
///
/// # Errors
/// If they cannot agree: other cluster ids, one node id twice.
pub async fn agree(
    kv: &Arc<dyn Kv>,
    options: &ControllerOptions,
    identity: &Identity,
    listener: Option<TcpListener>,
) -> Result<Agreed, StartError> {
    let (adopted, mut is_adopted) = watch::channel(None);
    let wanted = options.cluster_id.clone().unwrap_or_default();
    let features = options.defaults.features;
    let hall = Hall { kv: Arc::clone(kv), identity: identity.clone(), wanted, features, adopted: Arc::new(adopted) };
    let (stop, mut stopped) = watch::channel(());
    if let Some(listener) = listener {
        let serving = Server::builder().add_service(QuorumServer::new(hall.clone()));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        // It lets go of the port at once, and finishes the answers that it has begun.
        let stop = async move { drop(stopped.changed().await) };
        tokio::spawn(serving.serve_with_incoming_shutdown(incoming, stop));
    }
    let asking = ask(options, identity, &hall);
    let agreed = tokio::select! {
        agreed = asking => agreed?,
        adopted = is_adopted.wait_for(Option::is_some) => Agreed {
            cluster_id: adopted.ok().and_then(|id| id.clone()).unwrap_or_default(),
            members: None,
        },
    };
    drop(stop);
    let (store, row, cluster_id) = (Arc::clone(kv), identity.clone(), agreed.cluster_id.clone());
    let stored = tokio::task::spawn_blocking(move || identity::adopt(&*store, &row, &cluster_id)).await;
    stored.map_err(|e| StartError::Raft(e.to_string()))??;
    Ok(agreed)
}

/// Asks around until something follows from it.
async fn ask(options: &ControllerOptions, identity: &Identity, hall: &Hall) -> Result<Agreed, StartError> {
    let mut complain_at = Instant::now() + COMPLAIN_FIRST;
    let others: Vec<Address> =
        addresses(options).into_iter().filter(|address| address.node != Some(options.node_id)).collect();
    loop {
        let round = identify_all(&others).await;
        let waiting = match step(options, identity, &round)? {
            Step::Follow(cluster_id) => return Ok(Agreed { cluster_id, members: None }),
            Step::Begin(cluster_id, members) => match tell(&members, identity, &cluster_id).await {
                Ok(()) => return Ok(Agreed { cluster_id, members: Some(members) }),
                Err(why) => vec![why],
            },
            Step::Wait(why) => why,
        };
        if Instant::now() >= complain_at {
            complain_at = Instant::now() + COMPLAIN_EVERY;
            tracing::warn!("the quorum is not formed yet; waiting for {}", waiting.join(", "));
        }
        let mut adopted = hall.adopted.subscribe();
        drop(tokio::time::timeout(ROUND_PAUSE, adopted.changed()).await);
    }
}

/// What follows from the answers.
fn step(options: &ControllerOptions, identity: &Identity, round: &Round) -> Result<Step, StartError> {
    let seen: Vec<(&Address, &Seen)> = round.iter().filter_map(|(a, s)| Some((a, s.as_ref().ok()?))).collect();
    let me = raft_id(identity.node_id, identity.dir);
    if let Some((_, twin)) = seen.iter().find(|(a, s)| a.node.is_none() && s.node == identity.node_id && s.id() != me) {
        return Err(StartError::SameId { node: twin.node });
    }
    let wanted = options.cluster_id.as_ref();
    if let Some((_, member)) = seen.iter().find(|(_, s)| !s.nodes.is_empty()) {
        return match wanted.filter(|wanted| **wanted != member.cluster_id) {
            Some(wanted) => Err(StartError::WrongCluster {
                dir: "the quorum".to_owned(),
                found: member.cluster_id.clone(),
                wanted: wanted.clone(),
            }),
            None => Ok(Step::Follow(member.cluster_id.clone())),
        };
    }
    let absent = missing(round);
    if !absent.is_empty() {
        return Ok(Step::Wait(absent));
    }
    let torn = |(address, seen): &(&Address, &Seen)| {
        (!seen.pristine).then(|| {
            format!("controller {address} (it has voted before and lost its log; empty its metadata directory)")
        })
    };
    let torn: Vec<String> = seen.iter().filter_map(torn).collect();
    if !torn.is_empty() {
        return Ok(Step::Wait(torn));
    }
    let members = members(options, identity, &seen)?;
    if members.keys().next() != Some(&me) {
        let first = members.values().next().map_or(0, |peer| peer.controller);
        return Ok(Step::Wait(vec![match members.contains_key(&me) {
            true => format!("controller {first} to begin"),
            false => "a quorum; this controller is not in controller.quorum.bootstrap.servers".to_owned(),
        }]));
    }
    Ok(Step::Begin(common_cluster(wanted, identity, &seen)?, members))
}

/// Everybody who was named and answered, this node among them if it was named.
fn members(
    options: &ControllerOptions,
    identity: &Identity,
    seen: &[(&Address, &Seen)],
) -> Result<Members, StartError> {
    let mut members = Members::new();
    let mut nodes = BTreeSet::new();
    let peer = |node, dir, host: &str, port| Peer { controller: node, dir, host: host.to_owned(), port };
    let own = options.voters.iter().find(|v| v.node_id == identity.node_id);
    let own = own.map(|v| peer(identity.node_id, identity.dir, &v.host, v.port));
    let others = seen.iter().map(|(a, s)| peer(s.node, s.dir, &a.host, a.port));
    for peer in own.into_iter().chain(others) {
        let id = raft_id(peer.controller, peer.dir);
        if members.contains_key(&id) {
            continue;
        }
        if !nodes.insert(peer.controller) {
            return Err(StartError::SameId { node: peer.controller });
        }
        members.insert(id, peer);
    }
    Ok(members)
}

/// The id that somebody has or wants, or else a new one.
fn common_cluster(
    wanted: Option<&String>,
    identity: &Identity,
    seen: &[(&Address, &Seen)],
) -> Result<String, StartError> {
    let others = seen.iter().flat_map(|(_, s)| [&s.cluster_id, &s.wanted]);
    let ids: BTreeSet<&String> =
        others.chain(wanted).chain([&identity.cluster_id]).filter(|id| !id.is_empty()).collect();
    let mut ids = ids.into_iter();
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Ok(DirId::from_random(rand::random()).to_string()),
        (Some(a), Some(b)) => Err(StartError::ClusterIds { found: format!("{a}, {b}") }),
    }
}

/// Tells the others; returns when all have made it durable.
async fn tell(members: &Members, identity: &Identity, cluster_id: &str) -> Result<(), String> {
    let me = raft_id(identity.node_id, identity.dir);
    let founding =
        pb::Founding { cluster_id: cluster_id.to_owned(), members: members.values().map(peer_to_pb).collect() };
    let tell_one = async |peer: &Peer| {
        let failed = |why: &str| format!("controller {} at {}:{} ({why})", peer.controller, peer.host, peer.port);
        let channel = channel(&peer.host, peer.port).ok_or_else(|| failed("not an address"))?;
        let mut client = QuorumClient::new(channel);
        let told = tokio::time::timeout(FOUND_WAIT, client.found(founding.clone())).await;
        match told {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(failed(status.message())),
            Err(_) => Err(failed("no answer")),
        }
    };
    let others = members.iter().filter(|(id, _)| **id != me).map(|(_, peer)| tell_one(peer));
    futures::future::join_all(others).await.into_iter().collect()
}

/// What a controller without a quorum serves.
#[derive(Clone)]
struct Hall {
    kv: Arc<dyn Kv>,
    identity: Identity,
    wanted: String,
    features: &'static [Feature],
    adopted: Arc<watch::Sender<Option<String>>>,
}

impl Hall {
    async fn take(&self, founding: pb::Founding) -> Result<(), Status> {
        let malformed = |e: DecodeError| Status::invalid_argument(e.to_string());
        let members = nodes_from_pb(founding.members).map_err(malformed)?;
        if !members.contains_key(&raft_id(self.identity.node_id, self.identity.dir)) {
            return Err(Status::permission_denied("it has another directory by now"));
        }
        let known = [&self.wanted, &self.identity.cluster_id];
        if let Some(other) = known.into_iter().find(|id| !id.is_empty() && **id != founding.cluster_id) {
            return Err(Status::permission_denied(format!("it belongs to cluster {other}")));
        }
        let (kv, identity, cluster_id) = (Arc::clone(&self.kv), self.identity.clone(), founding.cluster_id.clone());
        let stored = tokio::task::spawn_blocking(move || identity::adopt(&*kv, &identity, &cluster_id)).await;
        stored.map_err(|e| Status::internal(e.to_string()))?.map_err(|e| Status::internal(e.to_string()))?;
        self.adopted.send_replace(Some(founding.cluster_id));
        Ok(())
    }
}

#[tonic::async_trait]
impl QuorumService for Hall {
    async fn identify(&self, _: Request<pb::Blank>) -> Result<Response<pb::Identified>, Status> {
        let seen = Seen {
            node: self.identity.node_id,
            dir: self.identity.dir,
            cluster_id: self.identity.cluster_id.clone(),
            wanted: self.wanted.clone(),
            pristine: true,
            nodes: Members::new(),
            voters: BTreeSet::new(),
            leader: None,
            last: (0, 0),
            features: ranges(self.features),
            levels: BTreeMap::new(),
        };
        Ok(Response::new(seen.to_pb(0)))
    }

    async fn found(&self, request: Request<pb::Founding>) -> Result<Response<pb::Blank>, Status> {
        self.take(request.into_inner()).await?;
        Ok(Response::new(pb::Blank {}))
    }

    async fn change(&self, _: Request<pb::QuorumChange>) -> Result<Response<pb::QuorumChanged>, Status> {
        Err(Status::unavailable("there is no quorum yet"))
    }

    type PulseStream = futures::stream::Pending<Result<pb::Blank, Status>>;

    async fn pulse(&self, _: Request<pb::Blank>) -> Result<Response<Self::PulseStream>, Status> {
        Err(Status::unavailable("there is no quorum yet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VoterAddress;

    fn options(node: i32) -> ControllerOptions {
        let voter = |id: i32| VoterAddress { node_id: id, host: "h".into(), port: id as u16 };
        ControllerOptions { voters: vec![voter(1), voter(2), voter(3)], ..ControllerOptions::new(node, "memory") }
    }

    fn identity(node: i32) -> Identity {
        Identity { node_id: node, dir: DirId([node as u8; 16]), cluster_id: String::new() }
    }

    fn seen(node: i32) -> (Address, Result<Seen, String>) {
        let seen = Seen {
            node,
            dir: DirId([node as u8; 16]),
            cluster_id: String::new(),
            wanted: String::new(),
            pristine: true,
            nodes: Members::new(),
            voters: BTreeSet::new(),
            leader: None,
            last: (0, 0),
            features: Vec::new(),
            levels: BTreeMap::new(),
        };
        (Address { node: Some(node), host: "h".into(), port: node as u16 }, Ok(seen))
    }

    fn with(node: i32, change: impl FnOnce(&mut Seen)) -> (Address, Result<Seen, String>) {
        let (address, mut seen) = seen(node);
        change(seen.as_mut().unwrap());
        (address, seen)
    }

    fn after(node: i32, round: &Round) -> Result<Step, StartError> {
        step(&options(node), &identity(node), round)
    }

    #[test]
    fn the_lowest_begins_when_all_are_there() {
        let gone = (Address { node: Some(3), host: "h".into(), port: 3 }, Err("connection refused".to_owned()));
        let Ok(Step::Wait(why)) = after(1, &[seen(2), gone]) else { panic!() };
        assert_eq!(why, ["controller 3 at h:3 (connection refused)"]);
        let Ok(Step::Begin(cluster, members)) = after(1, &[seen(2), seen(3)]) else { panic!() };
        assert_eq!((cluster.len(), members.len()), (22, 3));
        assert!(matches!(after(2, &[seen(1), seen(3)]), Ok(Step::Wait(_))));
        // Somebody voted and has no log: what it knew may be lost.
        let torn = with(3, |s| s.pristine = false);
        assert!(matches!(after(1, &[seen(2), torn]), Ok(Step::Wait(_))));
    }

    #[test]
    fn one_cluster_id_for_all() {
        let wants = |node, id: &str| with(node, |s| s.wanted = id.to_owned());
        let Ok(Step::Begin(cluster, _)) = after(1, &[wants(2, "A"), seen(3)]) else { panic!() };
        assert_eq!(cluster, "A");
        assert!(matches!(after(1, &[wants(2, "A"), wants(3, "B")]), Err(StartError::ClusterIds { .. })));
    }

    #[test]
    fn a_quorum_that_exists_is_followed_and_never_founded_again() {
        let member = || {
            with(2, |s| {
                s.cluster_id = "C".to_owned();
                s.nodes = Members::from([(7, Peer::default())]);
            })
        };
        assert!(matches!(after(1, &[member(), seen(3)]), Ok(Step::Follow(id)) if id == "C"));
        let mut other = options(1);
        other.cluster_id = Some("D".to_owned());
        let refused = step(&other, &identity(1), &[member()]);
        assert!(matches!(refused, Err(StartError::WrongCluster { found, .. }) if found == "C"));
    }

    #[test]
    fn bootstrap_servers_make_the_quorum_if_this_node_is_among_them() {
        let at = |(mut address, seen): (Address, Result<Seen, String>)| {
            address.node = None;
            (address, seen)
        };
        let servers =
            ControllerOptions { bootstrap: vec![("h".into(), 1), ("h".into(), 2)], voters: Vec::new(), ..options(1) };
        let both = [at(seen(1)), at(seen(2))];
        assert!(matches!(step(&servers, &identity(1), &both), Ok(Step::Begin(_, m)) if m.len() == 2));
        assert!(matches!(step(&servers, &identity(9), &both), Ok(Step::Wait(_))));
        let twin = [at(seen(1)), at(with(1, |s| s.dir = DirId([8; 16])))];
        assert!(matches!(step(&servers, &identity(1), &twin), Err(StartError::SameId { node: 1 })));
    }
}
