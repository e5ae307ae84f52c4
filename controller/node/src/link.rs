//! How a broker reaches the controllers: through the one in its own process, or over the network.

use std::sync::Arc;

use millrace_metadata::{ApiError, Command, Image, Reply};
use tokio::sync::watch;

use crate::controller::Controller;
use crate::quorum::QuorumInfo;

/// The way to the controllers.
pub struct ControllerLink {
    way: Way,
}

enum Way {
    Local(Box<Controller>),
}

impl ControllerLink {
    /// Through the controller in this process.
    pub fn local(controller: Controller) -> ControllerLink {
        ControllerLink { way: Way::Local(Box::new(controller)) }
    }

    /// The cluster's id, 22 characters.
    pub fn cluster_id(&self) -> &str {
        match &self.way {
            Way::Local(controller) => controller.cluster_id(),
        }
    }

    /// The latest image, and word of each new one. It never goes back, whichever controller it comes from. A watcher
    /// that is slow skips images and misses no facts.
    pub fn images(&self) -> watch::Receiver<Arc<Image>> {
        match &self.way {
            Way::Local(controller) => controller.images(),
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
        }
    }

    /// The state of the quorum, as the active controller knows it.
    ///
    /// # Errors
    /// `NOT_CONTROLLER` if there is no active controller.
    pub async fn quorum(&self) -> Result<QuorumInfo, ApiError> {
        match &self.way {
            Way::Local(controller) => Ok(controller.quorum()),
        }
    }

    /// The controller of this process, if there is one.
    pub fn controller(&self) -> Option<&Controller> {
        match &self.way {
            Way::Local(controller) => Some(controller),
        }
    }

    /// Lets go of the controllers; one in this process stops.
    pub async fn shutdown(self) {
        match self.way {
            Way::Local(controller) => controller.shutdown().await,
        }
    }
}
