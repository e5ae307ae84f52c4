//! Listeners and connections.

mod conn;

pub use conn::{Conn, Outcome, Software};
