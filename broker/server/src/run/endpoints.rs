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
        let spec = ListenerSpec { name: listener.name.clone(), host: listener.host.clone(), port: listener.port };
        bound.push(BoundListener::bind(&spec, options).await.map_err(|error| refused(listener, &error))?);
    }
    Ok(bound)
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

/// Binds the listener of this node's controller, if it has one.
pub fn bind_controller(config: &BrokerConfig) -> Result<Option<std::net::TcpListener>, StartError> {
    let Some(listener) = config.controller_listeners.first() else { return Ok(None) };
    let host = if listener.host.is_empty() { "0.0.0.0" } else { listener.host.as_str() };
    std::net::TcpListener::bind((host, listener.port)).map(Some).map_err(|error| {
        let address = format!("{host}:{}", listener.port);
        let why = format!("cannot listen on {address}: {error}; set another address in listeners");
        StartError::Listener { listener: listener.name.clone(), why }
    })
}

/// What other nodes are told of this node's controller, where nothing else says it.
pub fn advertised_controller(config: &BrokerConfig) -> Option<(String, u16)> {
    let listener = config.controller_listeners.first()?;
    let pinned = config.controllers_advertised.iter().find(|pinned| pinned.name == listener.name);
    let listener = pinned.unwrap_or(listener);
    Some((reachable(&listener.host), listener.port))
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
pub fn shown(config: &BrokerConfig, bound: &[BoundListener]) -> String {
    let one = |(listener, bound): (&Listener, &BoundListener)| match listener.host.as_str() {
        "" => format!("*:{}", bound.port()),
        host if host.contains(':') => format!("[{host}]:{}", bound.port()),
        host => format!("{host}:{}", bound.port()),
    };
    config.listeners.iter().zip(bound).map(one).collect::<Vec<_>>().join(", ")
}

/// Finds out before anything is written whether the addresses of `http.listeners` can be had.
pub fn probe_http(config: &BrokerConfig) -> Result<(), StartError> {
    for addr in &config.http_listeners {
        std::net::TcpListener::bind(addr).map_err(|error| http_refused(addr, &error))?;
    }
    Ok(())
}

/// An address of `http.listeners` that cannot be had.
pub fn http_refused(addr: &str, error: &std::io::Error) -> StartError {
    let why = format!("cannot be listened on: {error}; set another address in http.listeners");
    StartError::Listener { listener: addr.to_owned(), why }
}
