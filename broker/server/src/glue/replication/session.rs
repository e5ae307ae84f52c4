//! A follower's side of incremental fetch sessions (KIP-227, Kafka's `FetchSessionHandler`). The fetcher names only
//! what changed since the last answer; here is the number under which the leader remembers the rest.

const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;

/// What a leader knows this follower by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FetchSession {
    pub id: i32,
    /// Of the next request.
    pub epoch: i32,
}

impl FetchSession {
    /// Whether the next request must name everything.
    pub fn is_new(&self) -> bool {
        self.epoch == INITIAL_EPOCH
    }

    /// Takes note of an answer without an error of the whole request.
    pub fn answered(&mut self, id: i32) {
        if id == NO_SESSION {
            // The leader keeps no session: requests stay full.
            return self.reset();
        }
        self.id = id;
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
    }

    /// The leader knows nothing any more, or is not to: the next request asks for a session. It names the old one, if
    /// there was one, so that the leader can let go of it.
    pub fn reset(&mut self) {
        self.epoch = INITIAL_EPOCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_count_answers_and_wrap_to_one() {
        let mut session = FetchSession::default();
        assert!(session.is_new());
        session.answered(77);
        assert_eq!(session, FetchSession { id: 77, epoch: 1 });
        session.epoch = i32::MAX;
        session.answered(77);
        assert_eq!(session.epoch, 1);
    }

    #[test]
    fn a_lost_or_refused_session_begins_anew() {
        let mut session = FetchSession::default();
        session.answered(77);
        session.reset();
        assert_eq!((session.id, session.is_new()), (77, true));
        session.answered(78);
        session.answered(0);
        assert!(session.is_new());
    }
}
