//! A member of a classic group (`classic/ClassicGroupMember.java`).

use std::sync::Arc;

use bytes::Bytes;

use crate::effects::Waiters;
use crate::timers::Moving;
use crate::types::Protocol;

pub struct Member<W: Waiters> {
    pub id: Arc<str>,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// It has not learnt its member id yet: it cannot send heartbeats, and may be given up while it waits.
    pub is_new: bool,
    pub awaiting_join: Option<W::Join>,
    pub awaiting_sync: Option<W::Sync>,
    pub session: Moving,
}

impl<W: Waiters> Member<W> {
    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// What the member sent with this protocol; empty for a protocol that it does not support.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|p| p.name == protocol);
        found.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// A parked request is a sign of life, except for a member that may have lost the connection before it was told
    /// its id.
    pub fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}
