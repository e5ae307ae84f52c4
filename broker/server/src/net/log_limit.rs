//! Log lines that a hostile client could cause at will are rationed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines allowed within one second.
const LINES_PER_SECOND: u64 = 20;

/// Counts lines per second.
#[derive(Debug)]
pub struct LogLimit {
    start: Instant,
    /// Second in the upper 40 bits, lines within it in the lower 24.
    state: AtomicU64,
}

impl LogLimit {
    /// A fresh ration.
    pub fn new() -> Self {
        Self { start: Instant::now(), state: AtomicU64::new(0) }
    }

    /// Whether one more line may be written now.
    pub fn allows(&self) -> bool {
        self.allows_at(self.start.elapsed().as_secs())
    }

    fn allows_at(&self, second: u64) -> bool {
        let next = |state: u64| {
            let (then, lines) = (state >> 24, state & 0xff_ffff);
            if then != second {
                Some(second << 24 | 1)
            } else if lines < LINES_PER_SECOND {
                Some(state + 1)
            } else {
                None
            }
        };
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_cut_and_the_next_second_starts_afresh() {
        let limit = LogLimit::new();
        let burst = (0..100).filter(|_| limit.allows_at(7)).count();
        assert_eq!(burst as u64, LINES_PER_SECOND);
        assert!(limit.allows_at(8));
    }
}
