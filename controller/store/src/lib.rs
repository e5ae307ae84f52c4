//! Storage: the only crate that links RocksDB or opens data files. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod memory;
mod runs;

pub use api::*;
pub use memory::{MemoryDisk, MemoryKv, MemoryStore};
