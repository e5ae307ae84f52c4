//! How many connections there may be: in all, from one address, and new ones in a second. The limits can change while
//! connections come and go.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Over this time the rate of new connections is counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Limits on connections, Kafka's names in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnLimits {
    /// Connections in all (`max.connections`).
    pub total: usize,
    /// Connections from one address (`max.connections.per.ip`).
    pub per_ip: usize,
    /// Addresses for which that is different (`max.connections.per.ip.overrides`).
    pub overrides: BTreeMap<IpAddr, usize>,
    /// New connections in a second (`max.connection.creation.rate`).
    pub per_second: u32,
}

impl Default for ConnLimits {
    fn default() -> Self {
        let none = i32::MAX as usize;
        Self { total: none, per_ip: none, overrides: BTreeMap::new(), per_second: i32::MAX as u32 }
    }
}

/// Counts connections and holds them against the limits.
#[derive(Debug)]
pub struct Gate {
    limits: ArcSwap<ConnLimits>,
    counts: Mutex<Counts>,
    /// Somebody left, or the limits changed.
    eased: Notify,
    window: Duration,
}

#[derive(Debug)]
struct Counts {
    open: usize,
    per_ip: HashMap<IpAddr, usize>,
    window: Instant,
    accepted: u32,
}

impl Gate {
    pub fn new(limits: ConnLimits) -> Arc<Self> {
        Self::with_window(limits, WINDOW)
    }

    fn with_window(limits: ConnLimits, window: Duration) -> Arc<Self> {
        let counts = Counts { open: 0, per_ip: HashMap::new(), window: Instant::now(), accepted: 0 };
        let (limits, counts) = (ArcSwap::from_pointee(limits), Mutex::new(counts));
        Arc::new(Self { limits, counts, eased: Notify::new(), window })
    }

    /// New limits, for connections that come from now on.
    pub fn set(&self, limits: ConnLimits) {
        self.limits.store(Arc::new(limits));
        self.eased.notify_waiters();
    }

    /// Waits until one more connection may be accepted. Beyond the limits clients wait in the kernel's queue.
    pub async fn room(self: &Arc<Self>) -> Slot {
        loop {
            let mut eased = std::pin::pin!(self.eased.notified());
            eased.as_mut().enable();
            match self.try_room() {
                Ok(()) => return Slot(self.clone()),
                Err(None) => eased.await,
                Err(Some(later)) => drop(tokio::time::timeout_at(later, eased).await),
            }
        }
    }

    /// `Err` with the time at which the next window begins if only the rate stands in the way.
    fn try_room(&self) -> Result<(), Option<Instant>> {
        let limits = self.limits.load();
        let mut counts = self.counts.lock();
        if counts.open >= limits.total {
            return Err(None);
        }
        let now = Instant::now();
        if now >= counts.window + self.window {
            counts.window = now;
            counts.accepted = 0;
        }
        if counts.accepted >= limits.per_second {
            return Err(Some(counts.window + self.window));
        }
        counts.open += 1;
        Ok(())
    }

    /// Counts a connection that was accepted; `None` if its address has its share already.
    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<IpSlot> {
        let ip = ip.to_canonical();
        let limits = self.limits.load();
        let limit = limits.overrides.get(&ip).copied().unwrap_or(limits.per_ip);
        let mut counts = self.counts.lock();
        counts.accepted = counts.accepted.saturating_add(1);
        let open = counts.per_ip.entry(ip).or_insert(0);
        if *open >= limit {
            if *open == 0 {
                counts.per_ip.remove(&ip);
            }
            return None;
        }
        *open += 1;
        Some(IpSlot { gate: self.clone(), ip })
    }
}

/// One connection's place among all.
#[derive(Debug)]
pub struct Slot(Arc<Gate>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.counts.lock().open -= 1;
        self.0.eased.notify_one();
    }
}

/// One connection's place among those of its address.
#[derive(Debug)]
pub struct IpSlot {
    gate: Arc<Gate>,
    ip: IpAddr,
}

impl Drop for IpSlot {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock();
        if let Some(open) = counts.per_ip.get_mut(&self.ip) {
            *open -= 1;
            if *open == 0 {
                counts.per_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test]
    async fn the_total_is_kept_and_can_be_raised() {
        let gate = Gate::new(ConnLimits { total: 1, ..ConnLimits::default() });
        let first = gate.room().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap();
        gate.set(ConnLimits { total: 2, ..ConnLimits::default() });
        let third = gate.room().await;
        drop((second, third));
        assert_eq!(gate.counts.lock().open, 0);
    }

    #[tokio::test]
    async fn new_connections_are_paced() {
        let window = Duration::from_millis(40);
        let gate = Gate::with_window(ConnLimits { per_second: 3, ..ConnLimits::default() }, window);
        let began = Instant::now();
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push((gate.room().await, gate.admit(ip(1)).unwrap()));
        }
        assert!(began.elapsed() >= window, "the fourth and the seventh wait: {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn an_address_has_its_share() {
        let overrides = BTreeMap::from([(ip(2), 2), (ip(3), 0)]);
        let gate = Gate::new(ConnLimits { per_ip: 1, overrides, ..ConnLimits::default() });
        let one = gate.admit(ip(1)).unwrap();
        assert!(gate.admit(ip(1)).is_none());
        assert!(gate.admit("::ffff:10.0.0.1".parse().unwrap()).is_none());
        let two = (gate.admit(ip(2)).unwrap(), gate.admit(ip(2)).unwrap());
        assert!(gate.admit(ip(2)).is_none());
        assert!(gate.admit(ip(3)).is_none());
        drop((one, two));
        assert!(gate.counts.lock().per_ip.is_empty());
    }
}
