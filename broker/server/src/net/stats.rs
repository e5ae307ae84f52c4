//! What the network layer counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::End;

/// Counters since the start, and the number of open connections.
#[derive(Debug, Default)]
pub struct NetStats {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections turned away for `max.connections.per.ip`.
    pub turned_away: AtomicU64,
    /// Connections that we ended because the client broke the protocol or
    /// dawdled.
    pub refused: AtomicU64,
    /// Connections ended by a handler's panic.
    pub panicked: AtomicU64,
    /// Connections ended for silence.
    pub idle: AtomicU64,
    /// Bytes of requests.
    pub bytes_in: AtomicU64,
    /// Bytes of answers.
    pub bytes_out: AtomicU64,
}

impl NetStats {
    pub(super) fn count_end(&self, end: &End) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let counter = match end {
            End::Eof | End::Shutdown | End::Io(_) => return,
            End::Idle => &self.idle,
            End::Refused(_) => &self.refused,
            End::Panic(_) => &self.panicked,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
