//! The one place from which the broker takes time.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Steady time begins here, so that "never" can be said as 0.
const STEADY_BASE_MS: i64 = 1 << 40;

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Wall-clock time in milliseconds since 1970, and a time that is never set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Milliseconds since 1970, 0 before it.
    pub fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    /// Milliseconds of a clock that nobody sets: for how long something took, on this broker only. Replication goes by
    /// it, so that a step of the wall clock puts no replica out of sync.
    pub fn steady_ms(&self) -> i64 {
        STEADY_BASE_MS + BEGUN.elapsed().as_millis() as i64
    }
}
