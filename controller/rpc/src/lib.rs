//! Encodings of what controllers keep and send. See `README.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod command;
mod error;
mod ids;
mod record;
mod reply;
#[cfg(test)]
mod tests;
mod version;

/// Types and services that the `.proto` files define.
pub mod pb {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used)]
    tonic::include_proto!("millrace.v1");
}

pub use command::{command_from_pb, command_to_pb};
pub use error::DecodeError;
pub use ids::dir_id;
pub use prost::Message;
pub use record::{
    levels_from_pb, levels_to_pb, ranges_from_pb, ranges_to_pb, record_from_pb, record_to_pb, records_from_pb,
    records_to_pb,
};
pub use reply::{error_from_pb, error_to_pb, reply_from_pb, reply_to_pb};
pub use version::{decode, encode};
