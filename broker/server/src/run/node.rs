//! This process, whatever its roles are.

use std::sync::Arc;

use super::StartError;
use super::controller::{self, ControllerNode};
use super::logging::Loggers;
use super::start::{self, Running};
use crate::config::{LiveConfig, Settings};

/// A node that is ready.
pub enum Node {
    /// A broker, with or without a controller.
    Broker(Box<Running>),
    Controller(Box<ControllerNode>),
}

/// Starts the node with the roles that `process.roles` gives it; returns when it can be used.
pub async fn start(settings: Settings, cluster_id: Option<String>, loggers: Arc<Loggers>) -> Result<Node, StartError> {
    let live = Arc::new(LiveConfig::new(settings)?);
    warn_without_effect(&live);
    let config = live.current();
    if config.roles.broker {
        return Ok(Node::Broker(Box::new(start::start(live, cluster_id, loggers).await?)));
    }
    Ok(Node::Controller(Box::new(controller::start(&config, cluster_id).await?)))
}

fn warn_without_effect(live: &LiveConfig) {
    let unused = live.settings().without_effect();
    if !unused.is_empty() {
        tracing::warn!("settings that are known and have no effect here: {}", unused.join(", "));
    }
}

impl Node {
    /// The one line that tells users that the node can be used.
    pub fn ready_line(&self) -> String {
        match self {
            Node::Broker(broker) => broker.ready_line(),
            Node::Controller(controller) => controller.ready_line(),
        }
    }

    /// Why the node cannot go on, as soon as it cannot.
    pub async fn failed(&self) -> StartError {
        match self {
            Node::Broker(broker) => broker.failed().await,
            Node::Controller(controller) => StartError::part("controller", controller.failed().await),
        }
    }

    /// Leaves the cluster in good order.
    ///
    /// # Errors
    /// Something could not be closed cleanly.
    pub async fn stop(self) -> Result<(), StartError> {
        match self {
            Node::Broker(broker) => broker.stop().await,
            Node::Controller(controller) => {
                controller.stop().await;
                Ok(())
            }
        }
    }
}
