//! The protocol's APIs: one file each, one row each in [`table`].
//!
//! A handler file holds two functions:
//!
//! ```text
//! pub fn handle(cx: Cx, request: XRequest) -> impl Future<Output = Answer<XResponse>> + Send + 'static
//! pub fn refuse(request: &XRequest, version: i16, error: ErrorCode) -> XResponse
//! ```
//!
//! `handle` is not `async`: what it does before it returns its future runs in
//! the order in which requests arrived (Produce enqueues there), and what the
//! future does may overlap with later requests of the same connection.

pub mod api_versions;
pub mod codes;
mod convert;
pub mod delete_records;
pub mod describe_cluster;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod dispatch;
pub mod fetch;
pub mod init_producer_id;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod table;

use std::sync::Arc;

use millrace_security::Subject;
use millrace_wire::RequestHeader;

use crate::broker::Broker;
use crate::net::Conn;

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer<T> {
    /// Answer with this.
    Send(T),
    /// No answer is expected (Produce with acks=0).
    Silent,
    /// Close the connection; the reason goes to the log.
    Close(String),
}

/// What a handler may touch.
#[derive(Debug, Clone)]
pub struct Cx {
    /// The broker's parts.
    pub broker: Arc<Broker>,
    /// The connection that asked.
    pub conn: Arc<Conn>,
    /// The request's header.
    pub header: RequestHeader,
}

impl Cx {
    /// Version of the request, and so of its answer.
    pub fn version(&self) -> i16 {
        self.header.api_version
    }

    /// Who asks, for the authorizer.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            principal: &self.conn.principal,
            host: self.conn.peer_addr.ip(),
        }
    }
}
