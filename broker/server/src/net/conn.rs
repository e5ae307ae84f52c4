//! What is known about one client connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use millrace_security::Principal;
use millrace_wire::Frame;

/// One client connection, as handlers see it.
#[derive(Debug)]
pub struct Conn {
    /// Number of the connection since the broker started.
    pub id: u64,
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The address that the client reached us at.
    pub local_addr: SocketAddr,
    /// The client's address.
    pub peer_addr: SocketAddr,
    /// Who the client is.
    pub principal: Principal,
    software: OnceLock<Software>,
}

/// What a client said about itself in ApiVersions (KIP-511).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Software {
    /// Name of the client library.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Conn {
    /// A connection whose listener asks for no authentication.
    pub fn plaintext(id: u64, listener: Arc<str>, local_addr: SocketAddr, peer_addr: SocketAddr) -> Self {
        Self { id, listener, local_addr, peer_addr, principal: Principal::anonymous(), software: OnceLock::new() }
    }

    /// Whether the client may use APIs that need authentication.
    pub fn is_authenticated(&self) -> bool {
        true
    }

    /// Remembers the client's software; the first word counts.
    pub fn set_software(&self, software: Software) {
        let _ = self.software.set(software);
    }

    /// The client's software, if it told.
    pub fn software(&self) -> Option<&Software> {
        self.software.get()
    }
}

/// What becomes of a request, ready for the socket.
#[derive(Debug)]
pub enum Outcome {
    /// Write this.
    Send(Frame),
    /// Nothing is to be written.
    Silent,
    /// Close the connection once earlier answers are out.
    Close(String),
    /// The handler panicked: close the connection.
    Panicked,
}
