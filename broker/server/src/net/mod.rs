//! Listeners and connections: from accepted sockets to frames, and from answers
//! back to sockets.

mod answers;
mod conn;
mod connection;
mod intake;
mod limits;
mod listener;
mod log_limit;
mod memory;
mod options;
mod outbox;
mod service;
mod stats;

pub use answers::AnswerMemory;
pub use conn::{Conn, Outcome, Software};
pub use limits::ConnLimits;
pub use listener::{BindError, BoundListener, ListenerSpec, Server};
pub use options::{NetOptions, Times};
pub use service::{Dispatched, FrameRule, Pending, Service};
pub use stats::NetStats;

#[cfg(test)]
mod tests;
