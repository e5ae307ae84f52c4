//! The group coordinator: classic consumer groups and their committed offsets. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod classic;
mod config;
mod effects;
pub mod memory;
mod records;
mod runtime;
mod shard;
mod storage;
mod timers;
pub mod types;

pub use config::{DEFAULT_MAX_BATCH_BYTES, GroupSettings};
pub use runtime::{Clock, GroupCoordinator, Parts, TOPIC, UuidFactory, java_string_hash};
pub use shard::UuidSource;
pub use storage::{Bounds, LogError, OffsetsLog};
pub use timers::Now;
