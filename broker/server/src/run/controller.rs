//! A node that is a controller and nothing else.

use millrace_controller::Controller;

use super::identity::{self, DataDirs};
use super::{StartError, endpoints, options};
use crate::config::BrokerConfig;

/// A controller that others can reach.
pub struct ControllerNode {
    controller: Controller,
    data: DataDirs,
    address: String,
}

/// Starts the controller of this node; returns when the quorum works. Waits for the others as long as it takes.
pub async fn start(config: &BrokerConfig, cluster_id: Option<String>) -> Result<ControllerNode, StartError> {
    let part = |error: &dyn std::fmt::Display| StartError::part("controller", error);
    let socket = endpoints::bind_controller(config)?;
    let address = match &socket {
        Some(socket) => socket.local_addr().map_err(|error| part(&error))?.to_string(),
        None => "no listener".to_owned(),
    };
    let dirs = std::slice::from_ref(&config.metadata_dir);
    let claimed = identity::claim(dirs, config.node_id, cluster_id.as_deref(), &mut rand::random)?;
    let options = options::controller_options(config, claimed.cluster_id.clone(), socket);
    let controller = tokio::spawn(Controller::start(options)).await.map_err(|error| part(&error))?;
    let controller = controller.map_err(|error| part(&error))?;
    let data = claimed.format(controller.cluster_id())?;
    Ok(ControllerNode { controller, data, address })
}

impl ControllerNode {
    /// The one line that tells users that the controller can be used.
    pub fn ready_line(&self) -> String {
        let dirs: Vec<String> = self.data.dirs.iter().map(|dir| dir.path.display().to_string()).collect();
        format!(
            "millrace-controller {} ready: {} (cluster {}, data {})",
            env!("CARGO_PKG_VERSION"),
            self.address,
            self.data.cluster_id,
            dirs.join(","),
        )
    }

    /// Why the controller cannot go on, as soon as it cannot.
    pub async fn failed(&self) -> String {
        format!("the metadata log failed: {}; correct the cause and start again", self.controller.failed().await)
    }

    /// Hands the leadership over, if it has it, and stops.
    pub async fn stop(self) {
        self.controller.shutdown().await;
    }
}
