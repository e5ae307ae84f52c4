//! What the active controller does unasked: it fences brokers that died or fell silent, gives leaderships back to
//! preferred leaders, and elects somebody where that may cost records and is allowed to.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use millrace_metadata::{BrokerImage, Image, NodeId};
use millrace_state::Sessions;
use tokio::net::TcpStream;

use crate::presence::Presence;

/// A probe that gets no answer says nothing.
const PROBE_WAIT: Duration = Duration::from_millis(500);
/// Probes at the same time.
const PROBES: usize = 32;
/// A look at the sessions at least this often.
pub const LOOK_MS: i64 = 500;

/// Settings of what the active controller does unasked. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DutyOptions {
    /// How long a broker whose connection broke may take to come back.
    pub suspicion_grace_ms: i64,
    /// How often leaderships go back to preferred leaders (`leader.imbalance.check.interval.seconds`); `None`: never
    /// (`auto.leader.rebalance.enable`).
    pub balance_every_ms: Option<i64>,
    /// How often leaderless partitions are looked for whose topic allows unclean elections
    /// (`unclean.leader.election.interval.ms`).
    pub unclean_every_ms: i64,
}

impl Default for DutyOptions {
    fn default() -> Self {
        DutyOptions { suspicion_grace_ms: 200, balance_every_ms: Some(300_000), unclean_every_ms: 300_000 }
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// `silent`: its session ran out; otherwise its connection broke.
    Fence {
        broker: NodeId,
        epoch: i64,
        silent: bool,
    },
    Balance,
    ElectUnclean,
}

/// When what is due. Times are of the steady clock.
pub struct Duties {
    options: DutyOptions,
    balance_ms: i64,
    unclean_ms: i64,
}

impl Duties {
    pub fn new(options: DutyOptions) -> Duties {
        Duties { options, balance_ms: i64::MAX, unclean_ms: i64::MAX }
    }

    /// This controller became the active one.
    pub fn begin(&mut self, now_ms: i64) {
        self.balance_ms = self.options.balance_every_ms.map_or(i64::MAX, |every| now_ms + every);
        self.unclean_ms = now_ms + self.options.unclean_every_ms;
    }

    /// What is due now, one thing at a time, so that each decision sees the effect of the one before.
    pub fn next(&mut self, sessions: &Sessions, presence: &Presence, now_ms: i64) -> Option<Duty> {
        if let Some((broker, epoch)) = presence.take_dead(now_ms) {
            return Some(Duty::Fence { broker, epoch, silent: false });
        }
        if let Some((broker, epoch)) = sessions.expired(now_ms) {
            return Some(Duty::Fence { broker, epoch, silent: true });
        }
        if now_ms >= self.balance_ms {
            self.balance_ms = self.options.balance_every_ms.map_or(i64::MAX, |every| now_ms + every);
            return Some(Duty::Balance);
        }
        if now_ms >= self.unclean_ms {
            self.unclean_ms = now_ms + self.options.unclean_every_ms;
            return Some(Duty::ElectUnclean);
        }
        None
    }

    /// There is more to do than was done at once.
    pub fn again(&mut self, duty: Duty, now_ms: i64) {
        match duty {
            Duty::Fence { .. } => {}
            Duty::Balance => self.balance_ms = now_ms,
            Duty::ElectUnclean => self.unclean_ms = now_ms,
        }
    }

    /// When to look again.
    pub fn wake_ms(&self, sessions: &Sessions, presence: &Presence, now_ms: i64) -> i64 {
        let due = [presence.next_ms(), sessions.next_expiry_ms(), Some(self.balance_ms), Some(self.unclean_ms)];
        due.into_iter().flatten().min().unwrap_or(i64::MAX).min(now_ms + LOOK_MS)
    }
}

/// Asks at the addresses of brokers that should be alive whether anybody listens there: a new active controller finds
/// out in this way who died with its predecessor. A refusal makes a suspect, which may still come.
pub async fn probe(image: Arc<Image>, me: NodeId, presence: Arc<Presence>) {
    let absent = |b: &&Arc<BrokerImage>| b.id != me && !presence.is_here(b.id, b.epoch);
    let brokers: Vec<Arc<BrokerImage>> = image.live_brokers().filter(absent).cloned().collect();
    let probes = brokers.into_iter().map(|broker| {
        let presence = Arc::clone(&presence);
        async move {
            if is_dead(&broker).await {
                presence.refused(broker.id, broker.epoch);
            }
        }
    });
    futures::stream::iter(probes).buffer_unordered(PROBES).collect::<()>().await;
}

/// Whether the broker's machine says that nobody listens at any of the broker's addresses.
async fn is_dead(broker: &BrokerImage) -> bool {
    for endpoint in &broker.endpoints {
        let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        match tokio::time::timeout(PROBE_WAIT, connecting).await {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            _ => return false,
        }
    }
    !broker.endpoints.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::Steady;
    use millrace_state::Session;

    #[test]
    fn the_dead_come_before_the_silent_and_both_before_the_rest() {
        let presence = Arc::new(Presence::new(Steady::new(), 200));
        let mut sessions = Sessions::new(3000);
        for (broker, last_heard_ms) in [(1, 0), (2, 500)] {
            sessions.heard(broker, Session { broker_epoch: 10, last_heard_ms, applied: 0 });
        }
        let options = DutyOptions { balance_every_ms: Some(3100), unclean_every_ms: 3200, ..DutyOptions::default() };
        let mut duties = Duties::new(options);
        duties.begin(0);
        assert_eq!(duties.next(&sessions, &presence, 2999), None);
        assert_eq!(duties.wake_ms(&sessions, &presence, 2999), 3000);
        drop(presence.come(3, 11));
        assert!((200..3000).contains(&duties.wake_ms(&sessions, &presence, 2999)));
        let fence = |broker, epoch, silent| Some(Duty::Fence { broker, epoch, silent });
        assert_eq!(duties.next(&sessions, &presence, 3000), fence(3, 11, false));
        assert_eq!(duties.next(&sessions, &presence, 3000), fence(1, 10, true));
        sessions.lost(1);
        assert_eq!(duties.next(&sessions, &presence, 3200), Some(Duty::Balance));
        assert_eq!(duties.next(&sessions, &presence, 3200), Some(Duty::ElectUnclean));
        assert_eq!(duties.next(&sessions, &presence, 3200), None);
        duties.again(Duty::Balance, 3201);
        assert_eq!(duties.next(&sessions, &presence, 3201), Some(Duty::Balance));
        sessions.forgive(500);
        assert_eq!(duties.next(&sessions, &presence, 3700), None);
    }

    #[tokio::test]
    async fn only_a_refusal_proves_a_death() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = |port| millrace_metadata::record::Endpoint {
            listener: "PLAINTEXT".into(),
            host: "127.0.0.1".into(),
            port,
            security_protocol: 0,
        };
        let mut image = Image::default();
        let registration = crate::tests::registration(1);
        image.apply(&millrace_metadata::Record::RegisterBroker {
            registration: Box::new(millrace_metadata::record::BrokerRegistration {
                endpoints: vec![endpoint(port)],
                ..registration
            }),
            epoch: 1,
            fenced: false,
            in_controlled_shutdown: false,
            index: 1,
            shutdown_at: 0,
        });
        let broker = image.broker(1).unwrap().clone();
        assert!(!is_dead(&broker).await);
        drop(listener);
        assert!(is_dead(&broker).await);
    }
}
