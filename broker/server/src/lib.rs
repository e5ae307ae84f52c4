//! The broker: listeners and connections, dispatch, and one file per API.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod broker;
pub mod clock;
pub mod config;
pub mod net;
pub mod sessions;
pub mod topics;

pub use broker::Broker;
