//! Sockets of the listeners, and the addresses that are registered with the controller.

use millrace_metadata::record::Endpoint;

use super::StartError;
use crate::config::{BrokerConfig, listeners::Listener};
use crate::net::{BindError, BoundListener, ListenerSpec, NetOptions};

/// Name of this machine as others may know it; `localhost` if it cannot be found out.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Binds all listeners; nothing is accepted yet.
pub async fn bind(config: &BrokerConfig, options: &NetOptions) -> Result<Vec<BoundListener>, StartError> {
    let mut bound = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let spec = ListenerSpec { name: listener.name.clone(), host: bind_host(listener), port: listener.port };
        bound.push(BoundListener::bind(&spec, options).await.map_err(|error| refused(listener, &error))?);
    }
    Ok(bound)
}

fn bind_host(listener: &Listener) -> String {
    // All IPv4 addresses, as a user means it who writes it so; empty is all addresses of both kinds.
    listener.host.clone()
}

fn refused(listener: &Listener, error: &BindError) -> StartError {
    let remedy = match error {
        BindError::InUse { .. } => "stop that process, or set another port in listeners",
        BindError::Resolve { .. } => "correct the host in listeners",
        BindError::Refused { .. } => "set another address in listeners",
    };
    let text = error.to_string();
    let prefix = format!("listener {}: ", listener.name);
    let why = text.strip_prefix(&prefix).unwrap_or(&text);
    StartError::Listener { listener: listener.name.clone(), why: format!("{why}; {remedy}") }
}

/// What other nodes are told: the pinned address, or else where the listener listens.
pub fn registered(config: &BrokerConfig, bound: &[BoundListener]) -> Vec<Endpoint> {
    let one = |(listener, bound): (&Listener, &BoundListener)| {
        let pinned = config.advertised.iter().find(|pinned| pinned.name == listener.name);
        let (host, port) = match pinned {
            Some(pinned) => (pinned.host.clone(), if pinned.port == 0 { bound.port() } else { pinned.port }),
            None => (reachable(&listener.host), bound.port()),
        };
        Endpoint { listener: listener.name.clone(), host, port, security_protocol: listener.protocol.code() }
    };
    config.listeners.iter().zip(bound).map(one).collect()
}

fn reachable(host: &str) -> String {
    match host {
        "" | "0.0.0.0" | "::" => host_name(),
        host => host.to_owned(),
    }
}

/// The addresses for the line that says that the broker is ready.
pub fn shown(config: &BrokerConfig, bound: &[(String, u16)]) -> String {
    let one = |(listener, (_, port)): (&Listener, &(String, u16))| match listener.host.as_str() {
        "" => format!("*:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    };
    config.listeners.iter().zip(bound).map(one).collect::<Vec<_>>().join(", ")
}
