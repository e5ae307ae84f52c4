//! Storage: the only crate that links RocksDB or opens data files. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod allocator;
mod api;
mod buckets;
mod core;
mod directory;
mod engine;
mod extent;
mod faults;
mod handle;
mod ingest;
mod journal;
mod memory;
mod options;
mod page_cache;
mod plog;
mod read;
mod recover;
mod rows;
mod runs;
mod sst;
mod stats;
mod store;
mod upkeep;

pub use allocator::allocator_options;
pub use api::*;
pub use engine::KvStore;
pub use faults::{Faults, FaultyIo};
pub use journal::io::{ALIGN, AlignedBuf, DiskIo, JournalFile, JournalIo};
pub use memory::{MemoryDisk, MemoryKv, MemoryStore};
pub use options::StoreOptions;
pub use stats::{LATENCY_BUCKETS_US, Latency, StoreStats};
pub use store::{RocksLogStore, open_log_store};
