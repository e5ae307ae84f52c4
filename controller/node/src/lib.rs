//! The controller: agrees on the cluster's metadata. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod active;
mod attend;
mod codec;
mod compact;
mod controller;
mod decider;
mod describe;
mod duties;
mod feed;
mod formation;
mod identity;
mod keys;
mod lease;
mod link;
mod log;
mod machine;
mod messages;
mod network;
mod options;
mod presence;
mod quorum;
mod raft;
mod remote;
mod server;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod watch;

pub use attend::Attendance;
pub use controller::Controller;
pub use duties::DutyOptions;
pub use link::ControllerLink;
pub use options::{Clock, ControllerOptions, InitialVoter, StartError, VoterAddress};
pub use quorum::{QuorumInfo, Voter};
pub use remote::RemoteOptions;
