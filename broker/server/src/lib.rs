//! The broker: listeners and connections, dispatch, and one file per API.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod answers;
pub mod api;
pub mod auto_create;
pub mod broker;
pub mod clock;
pub mod config;
pub mod config_changes;
pub mod glue;
pub mod http;
pub mod metrics;
pub mod net;
pub mod nodes;
pub mod reads;
pub mod run;
pub mod sessions;
pub mod throttle;
pub mod topic_settings;
pub mod topics;

pub use broker::Broker;
