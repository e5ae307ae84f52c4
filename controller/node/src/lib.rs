//! The controller: agrees on the cluster's metadata. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod active;
mod attach;
mod attend;
mod census;
mod change;
mod codec;
mod compact;
mod contacts;
mod controller;
mod decider;
mod describe;
mod duties;
mod feed;
mod formation;
mod founding;
mod identity;
mod keys;
mod lease;
mod link;
mod log;
mod machine;
mod membership;
mod messages;
mod network;
mod options;
mod peers;
mod presence;
mod pulse;
mod quorum;
mod quorum_server;
mod raft;
mod remote;
mod server;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod timing;
mod watch;

pub use attend::Attendance;
pub use change::{NewVoter, VoterId};
pub use controller::Controller;
pub use duties::DutyOptions;
pub use link::ControllerLink;
pub use options::{Clock, ControllerOptions, StartError, VoterAddress};
pub use quorum::{QuorumInfo, Voter};
pub use remote::RemoteOptions;
