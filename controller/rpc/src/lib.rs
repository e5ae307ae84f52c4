//! Encodings of what controllers keep and send. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]


mod error;
mod ids;
mod record;

mod version;
#[cfg(test)]
mod tests;

/// Types and services that the `.proto` files define.
pub mod pb {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used)]
    tonic::include_proto!("millrace.v1");
}


pub use error::DecodeError;
pub use ids::dir_id;
pub use record::{record_from_pb, record_to_pb, records_from_pb, records_to_pb};

pub use prost::Message;
pub use version::{decode, encode};
