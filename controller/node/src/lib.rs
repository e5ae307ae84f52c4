//! The controller: agrees on the cluster's metadata. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod codec;
mod compact;
mod controller;
mod decider;
mod identity;
mod keys;
mod lease;
mod log;
mod machine;
mod network;
mod options;
mod quorum;
mod raft;
mod snapshot;
#[cfg(test)]
mod tests;

pub use controller::Controller;
pub use options::{Clock, ControllerOptions, StartError};
pub use quorum::{QuorumInfo, Voter};
