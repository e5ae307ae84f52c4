//! The partition log: record batches validated, numbered, stored and found again. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod compress;
pub mod config;
pub mod dir;
pub mod epochs;
pub mod error;
pub mod manager;
pub mod mover;
pub mod partition_log;
pub mod producer;
pub mod record;
mod retention;
pub mod rows;
pub mod state;
#[cfg(test)]
mod testing;
pub mod time_index;
pub mod validate;

pub use batch::BatchView;
pub use config::{Compression, TimestampType};
pub use dir::{DirSetup, LogDir};
pub use epochs::{EpochEnd, EpochStart};
pub use error::{AppendError, LogError, RecordError};
pub use manager::{LogManager, PartitionKey, Slot, Wanted};
pub use mover::LogCopy;
pub use partition_log::{Appended, FollowerAppended, LeaderAppend, PartitionLog};
pub use producer::Producer;
pub use state::LogDerive;
pub use time_index::TimestampOffset;
pub use validate::{Origin, ValidateSpec, Validated, validate};
