//! Roles of this node, and where the controllers are (`KafkaConfig.scala`, `QuorumConfig.java`).

use millrace_controller::VoterAddress;

use super::listeners::{Listener, host_port};
use super::typed::Reader;

/// What this process is: `process.roles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub broker: bool,
    pub controller: bool,
}

/// Where the controllers are. Both empty: this node is the only one.
pub(super) struct Quorum {
    pub voters: Vec<VoterAddress>,
    pub bootstrap: Vec<(String, u16)>,
}

pub(super) fn roles(read: &Reader<'_>) -> Roles {
    let roles = read.list("process.roles");
    let has = |role: &str| roles.iter().any(|r| r == role);
    Roles { broker: has("broker"), controller: has("controller") }
}

pub(super) fn quorum(read: &Reader<'_>, node_id: i32, roles: Roles) -> Result<Quorum, String> {
    let voters = voters(&read.list("controller.quorum.voters"))?;
    let bootstrap = bootstrap(&read.list("controller.quorum.bootstrap.servers"))?;
    let named = voters.iter().any(|v| v.node_id == node_id);
    if roles.controller && !voters.is_empty() && !named {
        return Err(format!(
            "controller.quorum.voters={} does not name this node (node.id={node_id}), which has the controller role",
            read.text("controller.quorum.voters")
        ));
    }
    if !roles.controller && named {
        return Err(format!(
            "controller.quorum.voters names this node (node.id={node_id}), which has no controller role; add controller to process.roles, or give this node another node.id"
        ));
    }
    if !roles.controller && voters.is_empty() && bootstrap.is_empty() {
        return Err(
            "process.roles=broker needs controllers: name them in controller.quorum.bootstrap.servers or controller.quorum.voters"
                .to_owned(),
        );
    }
    Ok(Quorum { voters, bootstrap })
}

fn voters(items: &[String]) -> Result<Vec<VoterAddress>, String> {
    let mut voters: Vec<VoterAddress> = Vec::with_capacity(items.len());
    for item in items {
        let parsed = item.split_once('@').and_then(|(id, address)| {
            let (host, port) = host_port(address)?;
            Some(VoterAddress { node_id: id.trim().parse().ok().filter(|id| *id >= 0)?, host, port })
        });
        let Some(voter) = parsed else {
            return Err(format!("controller.quorum.voters={item}: write it as id@host:port"));
        };
        if voters.iter().any(|v| v.node_id == voter.node_id) {
            return Err(format!("controller.quorum.voters names node {} twice", voter.node_id));
        }
        voters.push(voter);
    }
    Ok(voters)
}

fn bootstrap(items: &[String]) -> Result<Vec<(String, u16)>, String> {
    let parse = |item: &String| {
        host_port(item).ok_or_else(|| format!("controller.quorum.bootstrap.servers: {item} is not host:port"))
    };
    items.iter().map(parse).collect()
}

/// Checks the listeners against the roles; an error names the setting.
pub(super) fn listeners(
    names: &[String],
    controllers: &[Listener],
    clients: &[Listener],
    roles: Roles,
) -> Result<(), (&'static str, String)> {
    if roles.controller {
        if let Some(name) = names.iter().find(|name| !controllers.iter().any(|l| &l.name == *name)) {
            return Err(("controller.listener.names", format!("there is no listener {name} in listeners")));
        }
    } else if let Some(listener) = controllers.first() {
        let why = format!("{} is a listener of controllers, and this node is none; remove it", listener.name);
        return Err(("listeners", why));
    }
    if roles.broker && clients.is_empty() {
        return Err(("listeners", "there is no listener for clients besides those of the controller".to_owned()));
    }
    if !roles.broker
        && let Some(listener) = clients.first()
    {
        let why = format!(
            "process.roles=controller serves no clients; remove listener {}, or name it in controller.listener.names",
            listener.name
        );
        return Err(("listeners", why));
    }
    Ok(())
}

/// A controller that others must find needs a listener.
pub(super) fn reachable(quorum: &Quorum, roles: Roles, controllers: &[Listener]) -> Result<(), String> {
    let several = quorum.voters.len() > 1 || quorum.bootstrap.len() > 1;
    if roles.controller && several && controllers.is_empty() {
        return Err(
            "controller.listener.names is empty, so that other controllers cannot reach this one; add a listener to listeners, as CONTROLLER://:9093, and name it there"
                .to_owned(),
        );
    }
    Ok(())
}
