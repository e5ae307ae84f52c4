//! Producer ids. The transaction coordinator will live here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod producer_ids;

pub use producer_ids::{BlockSource, ProducerIds};
