//! Starts, stops and kills brokers for tests: free ports, a data directory of its own, logs kept and judged.
//! The same [`Spec`] starts Millrace or the Apache Kafka that it is compared with.

mod broker;
mod kafka;
pub use kafka::jars as kafka_jars;
mod logs;
pub mod proc;
mod spec;

pub use broker::{Broker, Launch, millrace_binary, program};
pub use logs::{LogScan, Problem};
pub use spec::{Dir, Peer, Spec};

use std::net::TcpListener;
use std::path::PathBuf;

/// The folder that holds what was fetched or built for the tests and may be reused: jars, virtual
/// environments, copies of client crates. `MILLRACE_CACHE` moves it.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("MILLRACE_CACHE") {
        return PathBuf::from(dir);
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    PathBuf::from(home).join(".cache/millrace")
}

/// The root of the repository.
pub fn repo_root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A port that nobody listens on now. Ports are taken below the ephemeral range, so that an outgoing
/// connection of another test cannot occupy one between this call and the start of the broker.
pub fn free_port() -> anyhow::Result<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    let start = std::process::id().wrapping_mul(37);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + (start.wrapping_add(step)) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
