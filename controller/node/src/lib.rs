//! The controller: agrees on the cluster's metadata. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod codec;
mod compact;
mod controller;
mod decider;
mod formation;
mod forward;
mod identity;
mod keys;
mod lease;
mod link;
mod log;
mod machine;
mod messages;
mod network;
mod options;
mod quorum;
mod raft;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;

pub use controller::Controller;
pub use link::ControllerLink;
pub use options::{Clock, ControllerOptions, InitialVoter, StartError};
pub use quorum::{QuorumInfo, Voter};
