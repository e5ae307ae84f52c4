//! How a broker reaches the controllers: through the one in its own process, or over the network.

use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{ApiError, Command, Image, Reply};
use tokio::sync::watch;

use crate::attend::Attendance;
use crate::change::{Change, Kind, NewVoter, VoterId, change};
use crate::controller::Controller;
use crate::options::StartError;
use crate::quorum::QuorumInfo;
use crate::remote::{Remote, RemoteOptions};

/// The way to the controllers.
pub struct ControllerLink {
    way: Way,
}

enum Way {
    Local(Box<Controller>),
    Remote(Box<Remote>),
}

impl ControllerLink {
    /// Through the controller in this process.
    pub fn local(controller: Controller) -> ControllerLink {
        ControllerLink { way: Way::Local(Box::new(controller)) }
    }

    /// Through the network; returns when there is an image. Waits for the controllers as long as it takes, and says
    /// from time to time whom it waits for.
    ///
    /// # Errors
    /// [`StartError::WrongCluster`] if the controllers belong to another cluster than the one that is wanted.
    pub async fn connect(options: RemoteOptions) -> Result<ControllerLink, StartError> {
        Ok(ControllerLink { way: Way::Remote(Box::new(Remote::connect(options).await?)) })
    }

    /// The cluster's id, 22 characters.
    pub fn cluster_id(&self) -> &str {
        match &self.way {
            Way::Local(controller) => controller.cluster_id(),
            Way::Remote(remote) => &remote.cluster_id,
        }
    }

    /// The latest image, and word of each new one. It never goes back, whichever controller it comes from. A watcher
    /// that is slow skips images and misses no facts.
    pub fn images(&self) -> watch::Receiver<Arc<Image>> {
        match &self.way {
            Way::Local(controller) => controller.images(),
            Way::Remote(remote) => remote.images(),
        }
    }

    /// Has the active controller decide the command; the answer comes when its effect is agreed and the image here
    /// shows it.
    ///
    /// # Errors
    /// `NOT_CONTROLLER` if there was no active controller for a while: nothing was done. `REQUEST_TIMED_OUT` or
    /// `UNKNOWN_SERVER_ERROR`: what became of the command is unknown.
    pub async fn submit(&self, command: Command) -> Result<Reply, ApiError> {
        match &self.way {
            Way::Local(controller) => controller.submit(command).await,
            Way::Remote(remote) => remote.active.submit(command).await,
        }
    }

    /// The state of the quorum, as the active controller knows it.
    ///
    /// # Errors
    /// `NOT_CONTROLLER` if there is no active controller.
    pub async fn quorum(&self) -> Result<QuorumInfo, ApiError> {
        match &self.way {
            Way::Local(controller) if controller.leads() => Ok(controller.quorum()),
            Way::Local(controller) => controller.active().quorum().await,
            Way::Remote(remote) => remote.active.quorum().await,
        }
    }

    /// Makes this broker present at the active controller: see [`Attendance`].
    ///
    /// # Errors
    /// `NOT_CONTROLLER` if there is none at the moment.
    pub async fn attend(&self) -> Result<Attendance, ApiError> {
        match &self.way {
            Way::Local(controller) => controller.active().attend().await,
            Way::Remote(remote) => remote.active.attend().await,
        }
    }

    /// Makes another controller a voter: see [`Controller::add_voter`].
    ///
    /// # Errors
    /// As there.
    pub async fn add_voter(&self, voter: NewVoter, limit: Duration) -> Result<(), ApiError> {
        match &self.way {
            Way::Local(controller) => controller.add_voter(voter, limit).await,
            Way::Remote(remote) => change(&remote.active, None, Change::add(voter, limit)).await,
        }
    }

    /// Takes a voter's vote away: see [`Controller::remove_voter`].
    ///
    /// # Errors
    /// As there.
    pub async fn remove_voter(&self, voter: VoterId, limit: Duration) -> Result<(), ApiError> {
        match &self.way {
            Way::Local(controller) => controller.remove_voter(voter, limit).await,
            Way::Remote(remote) => change(&remote.active, None, Change { kind: Kind::Remove(voter), limit }).await,
        }
    }

    /// A leader of the quorum in this process hands over to another voter, if there is one.
    pub async fn hand_over(&self) {
        match &self.way {
            Way::Local(controller) => controller.hand_over().await,
            Way::Remote(_) => {}
        }
    }

    /// Returns why, when a controller in this process failed for good.
    pub async fn failed(&self) -> String {
        match &self.way {
            Way::Local(controller) => controller.failed().await,
            Way::Remote(_) => std::future::pending().await,
        }
    }

    /// The controller of this process, if there is one.
    pub fn controller(&self) -> Option<&Controller> {
        match &self.way {
            Way::Local(controller) => Some(controller),
            Way::Remote(_) => None,
        }
    }

    /// Lets go of the controllers; one in this process stops.
    pub async fn shutdown(self) {
        match self.way {
            Way::Local(controller) => controller.shutdown().await,
            Way::Remote(remote) => drop(remote),
        }
    }
}
