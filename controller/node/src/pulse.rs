//! Notices at once that the leader's process died. Its connections break then, and nothing listens at its address any
//! more: that is proof, and nobody has to wait until its lease runs out. A leader that is only silent keeps its lease,
//! and the election timeout decides.
//!
//! A voter that has this proof campaigns at once, and one that is asked for its vote looks for itself before it passes
//! over the lease (`server.rs`). The lease serves only to keep elections rare; what is agreed does not rest on it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use millrace_rpc::pb;
use millrace_rpc::pb::quorum_client::QuorumClient;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::contacts::Places;
use crate::log::Log;
use crate::network::{addressed, channel};
use crate::peers::{Address, identify};
use crate::raft::{Peer, Raft, RaftId};
use crate::standing::Standing;

/// How long an address may take to refuse or to accept.
const PROBE_WAIT: Duration = Duration::from_millis(300);
/// A process that dies closes its sockets one by one: looks until the last one must be closed.
const PROBES: usize = 6;
const PROBE_PAUSE: Duration = Duration::from_millis(15);
/// Before the leader is connected to once more.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Campaigns before the election timeout is left to decide.
const CAMPAIGNS: u32 = 4;
/// Between the campaigns of one voter, and between those of two.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(250);
const STAGGER: Duration = Duration::from_millis(80);

/// Whether nothing listens at the peer's address: its process is gone.
pub async fn is_gone(host: &str, port: u16) -> bool {
    for _ in 0..PROBES {
        match tokio::time::timeout(PROBE_WAIT, TcpStream::connect((host, port))).await {
            Ok(Err(error)) => return error.kind() == ErrorKind::ConnectionRefused,
            Err(_) => return false,
            Ok(Ok(_)) => tokio::time::sleep(PROBE_PAUSE).await,
        }
    }
    false
}

/// Watches whoever leads.
pub struct Pulse {
    pub raft: Raft,
    pub cluster: Arc<str>,
    pub standings: watch::Receiver<Standing>,
    pub places: Places,
    pub log: Log,
}

impl Pulse {
    /// Runs until the controller stops.
    pub async fn run(mut self) {
        let me = *self.raft.node_id();
        loop {
            let active = self.standings.borrow_and_update().active().map(|(id, peer)| (id, peer.clone()));
            let Some((leader, peer)) = active.filter(|(id, _)| *id != me) else {
                if self.standings.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let (host, port) = self.places.of(&peer);
            let mut standings = self.standings.clone();
            tokio::select! {
                () = self.until_it_ends(leader, host, port) => {}
                deposed = standings.wait_for(|s| s.leader != Some(leader)) => {
                    if deposed.is_err() {
                        return;
                    }
                    continue;
                }
            }
            if is_gone(host, port).await {
                self.campaign(leader, &peer).await;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Returns when the connection to the leader breaks.
    async fn until_it_ends(&self, leader: RaftId, host: &str, port: u16) {
        let Some(channel) = channel(host, port) else { return };
        let mut client = QuorumClient::new(channel);
        if let Ok(stream) = client.pulse(addressed(pb::Blank {}, &self.cluster, leader)).await {
            let mut stream = stream.into_inner();
            while let Ok(Some(pb::Blank {})) = stream.message().await {}
        }
    }

    /// Whether another voter has entries that this one lacks.
    async fn is_behind(&self, dead: RaftId) -> bool {
        let others: Vec<Address> = {
            let metrics = self.raft.metrics();
            let now = metrics.borrow_watched();
            let membership = now.membership_config.membership();
            let others = membership.voter_ids().filter(|id| *id != dead && *id != now.id);
            let peers = others.filter_map(|id| membership.get_node(&id));
            let address = |(host, port): (&str, u16), node| Address { node: Some(node), host: host.to_owned(), port };
            peers.map(|peer| address(self.places.of(peer), peer.controller)).collect()
        };
        let ask = async |address: &Address| match tokio::time::timeout(PROBE_WAIT, identify(address)).await {
            Ok(Ok(seen)) => seen.last,
            Ok(Err(_)) | Err(_) => (0, 0),
        };
        let theirs = futures::future::join_all(others.iter().map(ask)).await;
        theirs.into_iter().any(|last| last > self.log.last())
    }

    /// The voters take turns, the lowest one first, until somebody leads.
    async fn campaign(&self, dead: RaftId, peer: &Peer) {
        let metrics = self.raft.metrics();
        let rank = {
            let now = metrics.borrow_watched();
            let mut voters: Vec<RaftId> = now.membership_config.membership().voter_ids().collect();
            voters.retain(|id| *id != dead);
            voters.sort_unstable();
            voters.iter().position(|id| *id == now.id)
        };
        let Some(rank) = rank.and_then(|rank| u32::try_from(rank).ok()) else { return };
        tracing::info!(controller = peer.controller, "the active controller's process is gone");
        tokio::time::sleep(STAGGER * rank).await;
        for _ in 0..CAMPAIGNS {
            // Whoever has less can win no vote of this one, and only gets in the way.
            if self.is_behind(dead).await {
                tokio::time::sleep(CAMPAIGN_PAUSE).await;
                continue;
            }
            if metrics.borrow_watched().current_leader.is_some_and(|leader| leader != dead) {
                return;
            }
            if self.raft.trigger().elect(false).await.is_err() {
                return;
            }
            tokio::time::sleep(CAMPAIGN_PAUSE + STAGGER * rank).await;
        }
    }
}
