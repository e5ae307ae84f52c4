//! The broker: listeners and connections, dispatch, and one file per API.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod answers;
pub mod api;
pub mod broker;
pub mod clock;
pub mod config;
pub mod net;
pub mod nodes;
pub mod reads;
pub mod sessions;
pub mod topic_settings;
pub mod topics;

pub use broker::Broker;
