//! Storage: the only crate that links RocksDB or opens data files. See `README.md`.

mod api;

pub use api::*;
