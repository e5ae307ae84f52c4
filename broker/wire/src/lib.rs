//! The Kafka wire protocol: request headers, frames, the generic codec around
//! the `kafka-protocol` crate, own codecs for the hot paths (Produce in, Fetch
//! out, a follower's fetch), and a small client for tools and tests.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod codec;
pub mod fetch;
pub mod follow;
pub mod frame;
pub mod guard;
pub mod header;
pub mod message;
pub mod produce;
pub mod read;
mod schema;
pub mod write;

pub use client::{Client, ClientError};
pub use codec::{CodecError, decode_request, encode_response};
pub use frame::Frame;
pub use header::RequestHeader;
pub use kafka_protocol as kp;
pub use message::{WireRequest, WireResponse};
