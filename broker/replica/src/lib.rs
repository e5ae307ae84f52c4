//! Partitions as this broker holds them: who leads, what is committed, who waits for which offset. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod manager;
mod partition;
mod progress;
mod read;
mod waiter;

pub use error::{AppendError, CommitError, DeleteRecordsError, PartitionError, ReadError};
pub use manager::{ReplicaManager, ReplicaOptions};
pub use millrace_log::{Appended, DirSetup, EpochEnd, LogDerive, LogDir, Origin, Producer, RecordError};
pub use partition::{AppendCx, Partition, PartitionState};
pub use read::{FetchData, FetchSpec, Isolation, ListSpec, ListedOffset};
pub use waiter::Waiter;
