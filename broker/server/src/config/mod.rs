//! The broker's configuration: where it comes from, what it means, how it changes while the broker runs.

mod build;
pub mod change;
mod environment;
mod error;
pub mod listeners;
mod live;
mod print;
pub(crate) mod properties;
mod quorum;
mod replication;
mod settings;
mod typed;
pub mod view;

pub use error::ConfigError;
pub use live::LiveConfig;
pub use print::print;
pub use quorum::Roles;
pub use replication::ReplicationConfig;
pub use settings::{Setting, Settings, Source, definition};
pub use typed::{BrokerConfig, FlushPolicy, GroupsConfig, NetworkConfig, TopicsConfig};

#[cfg(test)]
mod tests;
