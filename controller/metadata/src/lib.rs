//! The words and the agreed facts of a cluster. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod command;
pub mod config;
pub mod diff;
pub mod error;
pub mod features;
pub mod ids;
pub mod image;
#[cfg(test)]
mod image_tests;
pub mod limits;
pub mod names;
pub mod nodes;
pub mod record;

pub use command::{Command, Reply};
pub use error::{ApiError, ErrorCode};
pub use ids::{DirId, IncarnationId, NO_NODE, NodeId, TopicId};
pub use image::{BrokerImage, Image, PartitionImage, TopicImage};
pub use nodes::Nodes;
pub use record::{ConfigResource, Endpoint, Record, ResourceKind};
