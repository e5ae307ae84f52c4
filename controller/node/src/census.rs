//! What the controllers of the quorum support, asked one by one before a level of a feature is raised; and how each of
//! them registers what it supports, so that it need not be there to be asked (KIP-919).

use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::features::{CONTROLLERS_REGISTERED, MILLRACE_VERSION};
use millrace_metadata::record::ControllerRegistration;
use millrace_metadata::{ApiError, Command, ErrorCode, Image, Reply};
use millrace_state::Member;
use openraft::async_runtime::watch::WatchReceiver;

use crate::active::Active;
use crate::contacts::Places;
use crate::peers::{Address, identify};
use crate::raft::{Peer, Raft, RaftId};

/// Before a registration that was not taken is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Asks the others.
#[derive(Clone)]
pub struct Census {
    pub raft: Raft,
    pub places: Arc<Places>,
}

impl Census {
    /// The other controllers of the quorum, voters and observers. Who does not answer within a second is in there too.
    pub async fn take(&self) -> Vec<Member> {
        let others: Vec<(RaftId, Peer, bool)> = {
            let metrics = self.raft.metrics();
            let now = metrics.borrow_watched();
            let membership = now.membership_config.membership();
            let votes = |id| membership.voter_ids().any(|voter| voter == id);
            let others = membership.nodes().filter(|(id, _)| **id != now.id);
            others.map(|(id, peer)| (*id, peer.clone(), votes(*id))).collect()
        };
        futures::future::join_all(others.iter().map(|(id, peer, votes)| self.ask(*id, peer, *votes))).await
    }

    async fn ask(&self, id: RaftId, peer: &Peer, votes: bool) -> Member {
        let (host, port) = self.places.of(peer);
        let address = Address { node: Some(peer.controller), host: host.to_owned(), port };
        let said = identify(&address).await.ok().filter(|seen| seen.id() == id).map(|seen| seen.features);
        Member { id: peer.controller, dir: peer.dir, votes, said }
    }
}

/// Whether the cluster lacks what this controller has to tell, and has a record for it.
fn is_due(image: &Image, me: &ControllerRegistration) -> bool {
    image.level(MILLRACE_VERSION) >= CONTROLLERS_REGISTERED
        && image.controller(me.id).is_none_or(|known| **known != *me)
}

/// Keeps this controller registered as what it is, until it stops.
pub async fn stay_registered(active: Active, me: ControllerRegistration) {
    let mut images = active.images.clone();
    loop {
        let due = is_due(&images.borrow_and_update(), &me);
        if due {
            let refused = match active.submit(Command::RegisterController(me.clone())).await {
                Ok(Reply::RegisterController(done)) => done.err(),
                Ok(_) => Some(ApiError::from(ErrorCode::UnknownServerError)),
                Err(error) => Some(error),
            };
            if let Some(error) = refused {
                tracing::info!(error = %error.message, "this controller is not registered yet");
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        } else if images.changed().await.is_err() {
            return;
        }
    }
}
