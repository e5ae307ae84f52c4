//! What a running broker consists of: the closed list of things that a handler
//! may touch.

use std::sync::Arc;

use millrace_security::Authorizer;

use crate::clock::Clock;

/// One running broker.
#[derive(Debug)]
pub struct Broker {
    /// This broker's id in the cluster.
    pub node_id: i32,
    /// The cluster's id, 22 characters.
    pub cluster_id: String,
    /// Time of day.
    pub clock: Clock,
    /// Decides who may do what.
    pub authorizer: Arc<Authorizer>,
}
