//! Keeps this controller in the quorum: finds the leader when none is heard of, follows without a vote when it has
//! none, tells a new address, and says whom it waits for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::ApiError;
use millrace_metadata::features::{Feature, too_new};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::change::{Change, Kind, send};
use crate::contacts::{Contacts, Places};
use crate::founding::COMPLAIN_EVERY;
use crate::membership::Members;
use crate::options::StartError;
use crate::peers::{Address, Seen, identify_all, missing};
use crate::raft::{Membership, Peer, RaftId, raft_id};

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Silence after which the leader is looked for.
const SILENCE: Duration = Duration::from_secs(3);

/// What a controller knows of itself and of where the others should be.
pub struct Attach {
    pub members: Members,
    pub contacts: Arc<Contacts>,
    /// This controller; without an address if nobody but itself needs one.
    pub me: Peer,
    /// Whether others must be told this address, even if the quorum has another one.
    pub is_pinned: bool,
    pub addresses: Vec<Address>,
    pub places: Places,
    pub auto_join: bool,
    /// What this software supports.
    pub features: &'static [Feature],
    /// Takes the reason why this controller can never be part of the quorum.
    pub hopeless: Option<oneshot::Sender<StartError>>,
}

/// What the quorum thinks of this controller.
enum Place {
    Leader,
    Voter,
    Observer,
    Unknown,
}

impl Attach {
    fn id(&self) -> RaftId {
        raft_id(self.me.controller, self.me.dir)
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut complain_at = Instant::now() + COMPLAIN_EVERY;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (leader, membership) = {
                let metrics = self.members.raft.metrics();
                let now = metrics.borrow_watched();
                (now.current_leader, now.membership_config.membership().clone())
            };
            let may_complain = Instant::now() >= complain_at;
            if may_complain {
                complain_at = Instant::now() + COMPLAIN_EVERY;
            }
            let leads = leader == Some(self.id());
            match leader {
                Some(leader) if leads || self.contacts.heard_within(SILENCE) => {
                    self.maintain(leader, &membership, may_complain).await;
                }
                Some(_) | None => self.search(&membership, may_complain).await,
            }
        }
    }

    fn place(&self, leader: RaftId, membership: &Membership) -> Place {
        let id = self.id();
        if leader == id {
            Place::Leader
        } else if membership.voter_ids().any(|voter| voter == id) {
            Place::Voter
        } else if membership.get_node(&id).is_some() {
            Place::Observer
        } else {
            Place::Unknown
        }
    }

    async fn maintain(&self, leader: RaftId, membership: &Membership, may_complain: bool) {
        let done = match self.place(leader, membership) {
            Place::Leader if membership.get_joint_config().len() > 1 => self.members.flatten().await,
            Place::Leader | Place::Voter => self.tell_address(leader, membership).await,
            Place::Observer => self.seek_vote(leader, membership, may_complain).await,
            Place::Unknown => self.ask(leader, membership, Kind::Observe(self.me.clone())).await,
        };
        if let Err(error) = done
            && may_complain
        {
            tracing::info!(error = %error.message, "the quorum did not take this controller's word");
        }
    }

    async fn tell_address(&self, leader: RaftId, membership: &Membership) -> Result<(), ApiError> {
        let known = membership.get_node(&self.id());
        let is_right = known.is_none_or(|known| *known == self.me || (known.port != 0 && !self.is_pinned));
        if is_right || self.me.port == 0 {
            return Ok(());
        }
        self.ask(leader, membership, Kind::Observe(self.me.clone())).await
    }

    /// A controller without a vote gets one where nobody has to decide that.
    async fn seek_vote(&self, leader: RaftId, membership: &Membership, may_complain: bool) -> Result<(), ApiError> {
        let named = self.places.0.contains_key(&self.me.controller);
        let twin = membership.voter_ids().filter_map(|id| membership.get_node(&id));
        let twin = twin.into_iter().find(|voter| voter.controller == self.me.controller);
        match twin {
            Some(_) if named => return self.ask(leader, membership, Kind::Replace(self.me.clone())).await,
            None if self.auto_join => return self.ask(leader, membership, Kind::Add(self.me.clone())).await,
            Some(twin) if may_complain => tracing::warn!(
                "controller {} has a vote with directory {}, and this directory is {}: if that one is lost, remove the voter and add this one (kafka-metadata-quorum.sh remove-controller, add-controller)",
                twin.controller,
                twin.dir,
                self.me.dir
            ),
            None if may_complain => tracing::info!(
                "this controller follows the quorum without a vote; add it with kafka-metadata-quorum.sh add-controller, or set controller.quorum.auto.join.enable"
            ),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Has the leader make a change.
    async fn ask(&self, leader: RaftId, membership: &Membership, kind: Kind) -> Result<(), ApiError> {
        if leader == self.id() {
            return self.members.change(Change::new(kind)).await;
        }
        match membership.get_node(&leader) {
            Some(peer) => send(&self.members.cluster, leader, self.places.of(peer), &Change::new(kind)).await,
            None => Ok(()),
        }
    }

    /// Nobody leads, as far as this controller knows: looks for a quorum that does without it.
    async fn search(&mut self, membership: &Membership, may_complain: bool) {
        let mut addresses: BTreeSet<Address> = self.addresses.iter().cloned().collect();
        for (_, peer) in membership.nodes().filter(|(_, peer)| peer.port != 0) {
            let (host, port) = self.places.of(peer);
            let known = |a: &Address| (a.host.as_str(), a.port) == (host, port);
            if !addresses.iter().any(known) {
                addresses.insert(Address { node: Some(peer.controller), host: host.to_owned(), port });
            }
        }
        let me = self.id();
        addresses.retain(|address| address.node != Some(self.me.controller));
        let addresses: Vec<Address> = addresses.into_iter().collect();
        let round = identify_all(&addresses).await;
        let seen: Vec<&Seen> =
            round.iter().filter_map(|(_, seen)| seen.as_ref().ok()).filter(|s| s.id() != me).collect();
        let cluster = Arc::clone(&self.members.cluster);
        let ours = |seen: &&&Seen| seen.cluster_id.is_empty() || seen.cluster_id == *cluster;
        let foreign: Vec<&&Seen> = seen.iter().filter(|seen| !ours(seen)).collect();
        if let Some(found) = foreign.first() {
            self.is_foreign(found, foreign.len() == seen.len() && foreign.len() * 2 >= addresses.len());
        }
        if let Some(newer) = seen.iter().filter(ours).find_map(|seen| too_new(self.features, &seen.levels)) {
            self.give_up(newer.into());
            return;
        }
        let leading = seen.iter().filter(ours).find_map(|seen| {
            let leader = seen.leader.filter(|leader| seen.voters.contains(leader))?;
            Some((leader, seen.nodes.get(&leader)?, seen.nodes.contains_key(&me)))
        });
        match leading {
            Some((leader, peer, false)) => {
                let change = Change::new(Kind::Observe(self.me.clone()));
                let asked = send(&self.members.cluster, leader, self.places.of(peer), &change).await;
                if let (Err(error), true) = (asked, may_complain) {
                    tracing::info!(error = %error.message, "the quorum does not take this controller in");
                }
            }
            Some((_, _, true)) => {}
            None if may_complain => {
                let absent = missing(&round);
                let whom = if absent.is_empty() { "an election".to_owned() } else { absent.join(", ") };
                tracing::warn!("no controller is active; waiting for {whom}");
            }
            None => {}
        }
    }

    /// Ends the start of this controller; one that runs already says it once and goes on looking.
    fn give_up(&mut self, why: StartError) {
        if let Some(hopeless) = self.hopeless.take()
            && let Err(why) = hopeless.send(why)
        {
            tracing::error!("this controller cannot take part any more: {why}");
        }
    }

    fn is_foreign(&mut self, seen: &Seen, all: bool) {
        let (found, wanted) = (seen.cluster_id.clone(), self.members.cluster.to_string());
        if all && self.hopeless.is_some() {
            self.give_up(StartError::WrongCluster { dir: format!("controller {}", seen.node), found, wanted });
        } else {
            tracing::error!(
                "controller {} belongs to cluster {found}, and this one to {wanted}; correct the addresses, or give that one an empty metadata directory",
                seen.node
            );
        }
    }
}
