//! Settings and bounds of the network layer.

use std::time::Duration;

use super::limits::ConnLimits;

/// Bytes in a kibibyte.
pub(crate) const KIB: usize = 1024;

/// Requests of one connection whose handlers may run at the same time.
pub const MAX_IN_FLIGHT: usize = 32;

/// Bytes of answers that wait for the socket before a connection takes no
/// further request and polls no further handler.
pub const OUTBOX_HIGH_BYTES: usize = 1024 * KIB;

/// Bytes of small answers that are gathered into one write.
pub const GATHER_BYTES: usize = 64 * KIB;

/// Time after which a connection with more to do lets others run on its thread.
pub const POLL_TIME: Duration = Duration::from_millis(1);

/// Pieces handed to one vectored write.
pub const MAX_WRITE_PIECES: usize = 64;

/// Bytes that one read takes at most when small frames are expected. The
/// buffer belongs to the worker thread: an idle connection owns none.
pub const SCRATCH_BYTES: usize = 64 * KIB;

/// Frames up to this size are copied out of the scratch buffer.
pub const SMALL_FRAME_BYTES: usize = 16 * KIB;

/// Bytes of a larger frame that must have arrived before memory is set aside
/// for it: an announced length alone reserves nothing.
pub const PROBE_BYTES: usize = 512;

/// How long things may take on a connection.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Silence after which a connection is closed (`connections.max.idle.ms`).
    pub idle: Duration,
    /// A frame must be complete within this time.
    pub frame: Duration,
    /// The same while others wait for the memory that the frame holds.
    pub frame_under_pressure: Duration,
    /// A peer that takes no byte of its answers for this long is cut off.
    pub write_stall: Duration,
    /// How long a connection that is about to close may still flush answers.
    pub drain: Duration,
    /// How often a connection with an unfinished frame or write looks at the
    /// time.
    pub tick: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            frame: Duration::from_secs(30),
            frame_under_pressure: Duration::from_secs(3),
            write_stall: Duration::from_secs(60),
            drain: Duration::from_millis(1500),
            tick: Duration::from_secs(1),
        }
    }
}

/// Settings of the network layer, Kafka's names in brackets.
#[derive(Debug, Clone)]
pub struct NetOptions {
    /// Longest frame, in bytes (`socket.request.max.bytes`).
    pub max_request_bytes: usize,
    /// Limits on connections to begin with.
    pub limits: ConnLimits,
    /// How long things may take.
    pub times: Times,
    /// Kernel send buffer, `None` for the system's own choice
    /// (`socket.send.buffer.bytes`).
    pub send_buffer: Option<usize>,
    /// Kernel receive buffer (`socket.receive.buffer.bytes`).
    pub receive_buffer: Option<usize>,
    /// Connections waiting to be accepted (`socket.listen.backlog.size`).
    pub backlog: u32,
    /// Bytes of requests above 16 KiB that may be in memory at a time
    /// (`queued.max.request.bytes`).
    pub request_memory: usize,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            max_request_bytes: 100 * KIB * KIB,
            limits: ConnLimits::default(),
            times: Times::default(),
            send_buffer: None,
            receive_buffer: None,
            backlog: 1024,
            request_memory: 64 * KIB * KIB,
        }
    }
}
