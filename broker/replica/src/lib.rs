//! Partitions as this broker holds them: who leads, what is committed, who waits for which offset. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dirs;
mod error;
mod feed;
mod fetcher;
mod fetchers;
mod follow;
mod isr;
mod maintenance;
mod manager;
mod partition;
mod progress;
mod read;
mod remotes;
mod shared;
mod waiter;

pub use dirs::{DirReport, ReplicaReport};
pub use error::{AppendError, CommitError, DeleteRecordsError, MoveError, PartitionError, ReadError};
pub use feed::Feed;
pub use fetcher::{Fetcher, ReplicaFetch, ReplicaFetchPartition, ReplicaFetched, ReplicaFetchedPartition};
pub use fetchers::Fetchers;
pub use follow::{FollowError, FollowerEnd, LeaderData};
pub use maintenance::MaintenanceOptions;
pub use manager::{ReplicaManager, ReplicaOptions};
pub use millrace_log::{Appended, DirSetup, EpochEnd, LogDerive, LogDir, Origin, Producer, RecordError};
pub use partition::{AppendCx, Partition, PartitionState, ProducerInfo};
pub use read::{FetchData, FetchSpec, Isolation, ListedOffset, OffsetQuery, OffsetSpec, Reader};
pub use remotes::Holder;
pub use shared::ReplicationSettings;
pub use waiter::Waiter;
