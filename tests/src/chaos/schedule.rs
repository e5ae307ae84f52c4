//! Which faults come when: everything follows from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::faults::{Fault, Which};
use crate::cluster::Plane;

/// A class of faults that a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kill,
    /// Two or all nodes at once.
    Massacre,
    Pause,
    Isolate,
    Cut,
    Lose,
    Restart,
    Reassign,
    DiskFull,
    DiskSlow,
    Delay,
    Clock,
}

impl Kind {
    pub const ALL: [(&'static str, Kind); 12] = [
        ("kill", Kind::Kill),
        ("massacre", Kind::Massacre),
        ("pause", Kind::Pause),
        ("isolate", Kind::Isolate),
        ("cut", Kind::Cut),
        ("lose", Kind::Lose),
        ("restart", Kind::Restart),
        ("reassign", Kind::Reassign),
        ("full", Kind::DiskFull),
        ("slow", Kind::DiskSlow),
        ("delay", Kind::Delay),
        ("clock", Kind::Clock),
    ];

    pub fn parse(name: &str) -> anyhow::Result<Kind> {
        let known = Kind::ALL.iter().find(|(n, _)| *n == name);
        known.map(|(_, kind)| *kind).ok_or_else(|| anyhow::anyhow!("unknown fault {name}"))
    }

    pub fn needs_net(self) -> bool {
        matches!(self, Kind::Isolate | Kind::Cut | Kind::Lose | Kind::Delay)
    }
}

/// One round: a fault, perhaps a second one while it lasts, the end of both, and a rest.
#[derive(Clone, Debug)]
pub struct Step {
    pub first: Fault,
    pub second: Option<Fault>,
    /// How long a fault lasts before the next thing happens.
    pub hold: Duration,
    pub rest: Duration,
    /// Whether all replicas must be in sync before the next round.
    pub settle: bool,
}

/// The endless list of rounds of a seed.
pub struct Schedule {
    rng: StdRng,
    kinds: Vec<Kind>,
    partitions: i32,
    /// Kinds that have not come yet: each comes once before any comes again.
    left: Vec<Kind>,
}

impl Schedule {
    pub fn new(seed: u64, kinds: &[Kind], partitions: i32) -> Schedule {
        Schedule { rng: StdRng::seed_from_u64(seed), kinds: kinds.to_vec(), partitions, left: Vec::new() }
    }

    fn kind(&mut self) -> Kind {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
        }
        let at = self.rng.random_range(0..self.left.len());
        self.left.swap_remove(at)
    }

    fn which(&mut self) -> Which {
        let partition = self.rng.random_range(0..self.partitions);
        match self.rng.random_range(0..6) {
            0 | 1 => Which::Leader(partition),
            2 | 3 => Which::Controller,
            4 => Which::Coordinator,
            _ => Which::Follower(partition),
        }
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        const MOST_PERCENT: u32 = 25;
        let which = self.which();
        match kind {
            Kind::Kill => Fault::Kill(which),
            Kind::Massacre => Fault::KillMany { all: self.rng.random_bool(0.5) },
            Kind::Pause => Fault::Pause(which),
            Kind::Isolate => Fault::Isolate(which),
            Kind::Cut => {
                let planes = [Plane::All, Plane::Brokers, Plane::Controllers];
                let plane = planes[self.rng.random_range(0..planes.len())];
                Fault::Cut { from: which, to: self.rng.random_range(0..8), plane, both: self.rng.random_bool(0.5) }
            }
            Kind::Lose => Fault::Lose(which, self.rng.random_range(1..=MOST_PERCENT)),
            Kind::Restart => Fault::RollingRestart,
            Kind::Reassign => Fault::Reassign(self.rng.random_range(0..self.partitions)),
            Kind::DiskFull => Fault::DiskFull(which),
            Kind::DiskSlow => Fault::DiskSlow(which, 1 << self.rng.random_range(16..21)),
            Kind::Delay => Fault::Delay(which, 1 << self.rng.random_range(1..10)),
            Kind::Clock => {
                // Less than an hour back: `message.timestamp.after.max.ms` refuses what comes from so far in the future.
                const STEPS: [i64; 6] = [2, 90, 4_000, 90_000, -90, -3_000];
                Fault::Clock(which, STEPS[self.rng.random_range(0..STEPS.len())])
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let kind = self.kind();
        let first = self.fault(kind);
        let second = (self.rng.random_bool(0.3) && self.kinds.len() > 1).then(|| {
            let kind = self.kinds[self.rng.random_range(0..self.kinds.len())];
            self.fault(kind)
        });
        let mut millis = |range: std::ops::Range<u64>| Duration::from_millis(self.rng.random_range(range));
        let (hold, rest) = (millis(200..6_000), millis(0..1_500));
        Some(Step { first, second, hold, rest, settle: self.rng.random_bool(0.7) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_rounds() {
        let kinds = Kind::ALL.map(|(_, kind)| kind);
        let rounds = |seed| Schedule::new(seed, &kinds, 4).take(50).map(|s| format!("{s:?}")).collect::<Vec<_>>();
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn every_kind_comes() {
        let kinds = Kind::ALL.map(|(_, kind)| kind);
        let mut schedule = Schedule::new(1, &kinds, 4);
        let seen: Vec<Kind> = kinds.iter().map(|_| schedule.kind()).collect();
        assert!(kinds.iter().all(|kind| seen.contains(kind)));
    }
}
