//! How soon a silent leader is replaced; everything follows from one limit.

use std::time::Duration;

/// Unless `controller.quorum.fetch.timeout.ms` says otherwise.
pub const FETCH_TIMEOUT_MS: u64 = 1600;
/// Heartbeats are not rarer than this, however patient the others are: they tell new controllers who leads.
const HEARTBEAT_MAX_MS: u64 = 150;

/// A voter that hears nothing of the leader waits until the lease is over, and then for a random part of the election
/// timeout. Raft has one timeout for both this and the wait between two campaigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader shows that it is there.
    pub heartbeat_ms: u64,
    /// The random part is between these; the longer one is the lease too.
    pub election_ms: (u64, u64),
}

impl Timing {
    /// A voter that has all that the leader had campaigns after at most so much silence, and a leader that stalls for
    /// less than half of it is never replaced. One that lacks something waits for as long again, and lets the others.
    pub fn of_fetch_timeout(ms: u64) -> Timing {
        let longest = ms / 2;
        Timing { heartbeat_ms: (ms * 3 / 32).clamp(1, HEARTBEAT_MAX_MS), election_ms: (longest * 5 / 8, longest) }
    }

    /// How long a voter keeps its word to a leader that is silent.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.election_ms.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_follows_from_the_limit() {
        let usual = Timing::of_fetch_timeout(FETCH_TIMEOUT_MS);
        assert_eq!(usual, Timing { heartbeat_ms: 150, election_ms: (500, 800) });
        assert_eq!(Timing::of_fetch_timeout(500), Timing { heartbeat_ms: 46, election_ms: (156, 250) });
        assert_eq!(Timing::of_fetch_timeout(60_000), Timing { heartbeat_ms: 150, election_ms: (18_750, 30_000) });
        assert_eq!(usual.lease(), Duration::from_millis(800));
    }
}
