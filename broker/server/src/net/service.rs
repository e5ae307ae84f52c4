//! What a connection needs to know about the broker behind it.

use std::sync::Arc;

use bytes::BytesMut;

use super::answers::AnswerMemory;
use super::conn::{Conn, Outcome};

/// A request whose handler runs.
pub type Pending = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What came of a frame at once.
pub enum Dispatched {
    /// It is answered already.
    Done(Outcome),
    /// Its handler runs.
    Running(Pending),
}

/// How frames of one API are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRule {
    /// Longest frame, in bytes.
    pub max_frame: usize,
    /// Whether it may run while earlier requests that overlap too still run.
    pub overlaps: bool,
}

/// Takes frames to their handlers.
pub trait Service: Send + Sync + 'static {
    /// Where the bytes of answers that wait for their sockets are counted.
    fn answer_memory(&self) -> &AnswerMemory;

    /// How frames of this API are taken in.
    fn frame_rule(&self, api_key: i16) -> FrameRule;

    /// Starts the handler of a frame (without its size field).
    fn dispatch(self: &Arc<Self>, conn: &Arc<Conn>, frame: BytesMut) -> Dispatched;
}
