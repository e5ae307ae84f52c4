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

// The signature is one for all handlers, also for those that do all their work in the future.
#![allow(clippy::manual_async_fn)]

pub mod add_raft_voter;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod codes;
mod convert;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod dispatch;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod remove_raft_voter;
pub mod sync_group;
pub mod table;
pub mod unregister_broker;
pub mod update_features;

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
        Subject { principal: &self.conn.principal, host: self.conn.peer_addr.ip() }
    }
}

#[cfg(test)]
mod refusals_tests;
