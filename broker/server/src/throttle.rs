//! Throttles of replication (KIP-73; Kafka's `ReplicationQuotaManager`): replicas that a topic lists move no faster
//! than a rate of the broker allows. Replicas in sync are never held back.

use millrace_metadata::config::list_items;
use millrace_metadata::image::Image;
use parking_lot::Mutex;

/// Topic setting that lists the leaders' side.
pub const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
/// Topic setting that lists the followers' side.
pub const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";
/// All replicas of the topic.
const ALL: &str = "*";
/// Seconds whose allowance can be saved up.
const BURST_SECONDS: i64 = 1;

/// Whether `setting` of the topic lists the replica of `partition` on `broker`.
pub fn lists(image: &Image, topic: &str, setting: &str, partition: i32, broker: i32) -> bool {
    let Some(value) = image.topic_config(topic).and_then(|config| config.get(setting)) else {
        return false;
    };
    list_items(value).into_iter().any(|item| {
        let pair = item.split_once(':').map(|(p, b)| (p.trim().parse(), b.trim().parse()));
        item == ALL || pair == Some((Ok(partition), Ok(broker)))
    })
}

/// The two directions of a broker.
#[derive(Debug, Default)]
pub struct Throttles {
    /// What followers fetch here (`leader.replication.throttled.rate`).
    pub leader: Throttle,
    /// What is fetched from leaders (`follower.replication.throttled.rate`).
    pub follower: Throttle,
}

/// Counts bytes against a rate. What was too much is paid off before more goes.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that may go at once; below 0 when more went than was allowed.
    allowance: i64,
    /// Steady time of the last look, in ms.
    at_ms: i64,
}

impl Throttle {
    /// Milliseconds until something may go at `rate` bytes per second, 0 for now.
    pub fn wait_ms(&self, rate: u64, now_ms: i64) -> u64 {
        let mut state = self.state.lock();
        let rate = state.refill(rate, now_ms);
        if state.allowance > 0 {
            return 0;
        }
        // Rounded up, so that there is an allowance when the time is over.
        ((1 - state.allowance).saturating_mul(1000) / rate + 1).unsigned_abs()
    }

    /// Counts `bytes` that went.
    pub fn record(&self, bytes: usize, rate: u64, now_ms: i64) {
        let mut state = self.state.lock();
        state.refill(rate, now_ms);
        state.allowance = state.allowance.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl State {
    fn refill(&mut self, rate: u64, now_ms: i64) -> i64 {
        let rate = i64::try_from(rate).unwrap_or(i64::MAX).max(1);
        let passed = (now_ms - self.at_ms).max(0);
        self.at_ms = self.at_ms.max(now_ms);
        let gained = i64::try_from(i128::from(rate) * i128::from(passed) / 1000).unwrap_or(i64::MAX);
        let most = rate.saturating_mul(BURST_SECONDS);
        self.allowance = self.allowance.saturating_add(gained).min(most);
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_metadata::record::{ConfigResource, Record};

    #[test]
    fn bytes_go_at_the_rate() {
        let throttle = Throttle::default();
        let start = 1_000_000;
        assert_eq!(throttle.wait_ms(1_000, start), 0);
        throttle.record(1_000, 1_000, start);
        assert!((1..=2).contains(&throttle.wait_ms(1_000, start)));
        throttle.record(3_000, 1_000, start + 10);
        let wait = throttle.wait_ms(1_000, start + 10);
        assert!((2_985..=3_005).contains(&wait), "{wait}");
        assert_eq!(throttle.wait_ms(1_000, start + 10 + 3_005), 0);
    }

    #[test]
    fn no_more_than_a_second_is_saved_up() {
        let throttle = Throttle::default();
        throttle.wait_ms(1_000, 1_000_000);
        throttle.record(2_000, 1_000, 9_000_000);
        assert!(throttle.wait_ms(1_000, 9_000_000) > 900);
    }

    #[test]
    fn replicas_are_listed_one_by_one_or_all() {
        let mut image = Image::default();
        let mut set = |value: &str| {
            image.apply(&Record::config(ConfigResource::topic("t"), LEADER_REPLICAS, Some(value.to_owned())));
            image.clone()
        };
        let one = set("0:1, 2:3");
        assert!(lists(&one, "t", LEADER_REPLICAS, 2, 3));
        assert!(!lists(&one, "t", LEADER_REPLICAS, 2, 1));
        assert!(!lists(&one, "t", FOLLOWER_REPLICAS, 2, 3));
        assert!(!lists(&one, "other", LEADER_REPLICAS, 2, 3));
        assert!(lists(&set("*"), "t", LEADER_REPLICAS, 7, 7));
    }
}
