//! The network between controllers, brokers and clients: delay, one-way cuts, calls whose outcome nobody learns.

use std::collections::BTreeSet;

use millrace_metadata::NodeId;
use rand::Rng;
use rand::rngs::StdRng;

/// Who talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addr {
    /// The active controller, wherever it is.
    Controller,
    Node(NodeId),
    Client(usize),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Arrives after so many microseconds.
    After(u64),
    /// Never arrives.
    Lost,
    /// Arrives some time after the cut is healed, as retransmitted bytes do; the caller may long have given up.
    Held,
}

/// Which ways are cut, and how slow the others are.
#[derive(Debug)]
pub struct Net {
    cuts: BTreeSet<(Addr, Addr)>,
    /// Usual delay of a message lies below this, µs.
    pub delay_us: u64,
    /// Chance that a message is late by up to `late_us`.
    pub late: f64,
    pub late_us: u64,
    /// Chance that a connection breaks under a message.
    pub loss: f64,
}

impl Net {
    pub fn new(delay_us: u64) -> Net {
        Net { cuts: BTreeSet::new(), delay_us, late: 0.01, late_us: 60_000, loss: 0.0 }
    }

    pub fn cut(&mut self, from: Addr, to: Addr) {
        self.cuts.insert((from, to));
    }

    pub fn heal(&mut self, from: Addr, to: Addr) {
        self.cuts.remove(&(from, to));
    }

    pub fn is_cut(&self, from: Addr, to: Addr) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub fn delay(&self, rng: &mut StdRng) -> u64 {
        if rng.random_bool(self.late) {
            return rng.random_range(self.delay_us..self.late_us.max(self.delay_us + 1));
        }
        rng.random_range(50..self.delay_us.max(51))
    }

    pub fn route(&self, from: Addr, to: Addr, rng: &mut StdRng) -> Route {
        if self.is_cut(from, to) {
            return if rng.random_bool(0.5) { Route::Held } else { Route::Lost };
        }
        if self.loss > 0.0 && rng.random_bool(self.loss) {
            return Route::Lost;
        }
        Route::After(self.delay(rng))
    }
}
