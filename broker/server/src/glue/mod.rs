//! Traits of the rooms below, implemented on what the broker consists of.

mod directories;
pub mod groups;
mod offsets;
mod plain;
mod producer_ids;
pub mod replication;

pub use directories::Directories;
pub use offsets::OffsetsPartitions;
pub use producer_ids::ProducerIdBlocks;
