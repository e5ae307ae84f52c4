//! What a seed stands for: a cluster, its topics, and what goes wrong when.

use millrace_groups::TOPIC;
use millrace_metadata::NodeId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How long everything may take to be whole again afterwards, ms.
pub const CALM_MS: u64 = 20_000;

#[derive(Debug, Clone)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: i32,
    pub factor: i16,
    pub min_isr: i32,
    pub unclean: bool,
}

/// Whom a broker does not reach, or who does not reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Controller,
    Node(NodeId),
    /// Every broker and the controllers.
    All,
}

#[derive(Debug, Clone)]
pub enum Fault {
    /// The process dies; so many queued writes have reached the disk by luck.
    Crash {
        node: NodeId,
        keep: usize,
        down_ms: u64,
    },
    /// The process dies, and its disk with it.
    Wipe {
        node: NodeId,
        down_ms: u64,
    },
    /// An administrator takes the registration away, whether the broker is there or not.
    Unregister {
        node: NodeId,
    },
    /// Asked to stop: hands its leaderships over first.
    Stop {
        node: NodeId,
        down_ms: u64,
    },
    Pause {
        node: NodeId,
        ms: u64,
    },
    /// Nothing arrives in these directions.
    Cut {
        node: NodeId,
        peer: Peer,
        outgoing: bool,
        incoming: bool,
        ms: u64,
    },
    /// Metadata arrives so much later than it is agreed.
    Lag {
        node: NodeId,
        extra_ms: u64,
        ms: u64,
    },
    /// No space is left.
    FullDisk {
        node: NodeId,
        ms: u64,
    },
    SlowDisk {
        node: NodeId,
        sync_us: u64,
        ms: u64,
    },
    /// The next sync fails: the process loses its only directory and is restarted.
    FailDisk {
        node: NodeId,
        down_ms: u64,
    },
    /// Connections break.
    Loss {
        chance: f64,
        ms: u64,
    },
    ControllerChange {
        down_ms: u64,
    },
    Reassign {
        topic: usize,
        partition: i32,
        replicas: Vec<NodeId>,
    },
    CancelReassign {
        topic: usize,
        partition: i32,
    },
    ElectPreferred,
    MinIsr {
        topic: usize,
        value: i32,
    },
    Unclean {
        topic: usize,
        on: bool,
    },
    /// Deletes the topic and makes it again with the same name.
    Recreate {
        topic: usize,
    },
}

#[derive(Debug, Clone)]
pub struct Planned {
    pub at_ms: u64,
    pub fault: Fault,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub brokers: NodeId,
    pub topics: Vec<TopicPlan>,
    pub producers: usize,
    pub consumers: usize,
    /// Groups that commit offsets; the topic for them is the last one.
    pub groups: usize,
    /// Followers use incremental fetch sessions.
    pub sessions: bool,
    /// `num.replica.fetchers`.
    pub fetchers: usize,
    /// Usual delays of a message and of a sync lie below these, µs.
    pub net_us: u64,
    pub sync_us: u64,
    /// Usual lag of metadata, ms.
    pub lag_ms: u64,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_ms: i64,
    /// How long things go wrong and clients work, ms.
    pub storm_ms: u64,
    pub faults: Vec<Planned>,
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let rng = &mut StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let brokers = *pick(&[3, 3, 4, 5], rng);
        let topics: Vec<TopicPlan> = (0..rng.random_range(1..=2)).map(|i| topic(i, rng)).collect();
        let mut plan = Plan {
            brokers,
            topics,
            producers: rng.random_range(2..=4),
            consumers: rng.random_range(1..=2),
            groups: *pick(&[0, 1, 2], rng),
            sessions: rng.random_bool(0.7),
            fetchers: rng.random_range(1..=2),
            net_us: *pick(&[300, 1_000, 5_000], rng),
            sync_us: *pick(&[200, 2_000, 10_000], rng),
            lag_ms: *pick(&[2, 20, 200], rng),
            replica_lag_ms: *pick(&[400, 1_000], rng),
            storm_ms: *pick(&[6_000, 6_000, 6_000, 15_000], rng),
            faults: Vec::new(),
        };
        if plan.groups > 0 {
            plan.topics.push(offsets_topic(rng));
        }
        let count = rng.random_range(3..=14) * plan.storm_ms / 6_000;
        for _ in 0..count {
            let fault = fault(&plan, rng);
            plan.faults.push(Planned { at_ms: rng.random_range(300..plan.storm_ms), fault });
        }
        plan.faults.sort_by_key(|f| f.at_ms);
        plan
    }

    /// The same without some of its faults.
    pub fn without(&self, dropped: &[usize]) -> Plan {
        let mut plan = self.clone();
        let mut at = 0;
        plan.faults.retain(|_| {
            at += 1;
            !dropped.contains(&(at - 1))
        });
        plan
    }
}

fn pick<'a, T>(of: &'a [T], rng: &mut StdRng) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

fn topic(index: usize, rng: &mut StdRng) -> TopicPlan {
    let factor = *pick(&[3, 3, 3, 2, 1], rng);
    let min_isr = *pick(&[2, 2, 2, 1, 3], rng);
    TopicPlan {
        name: format!("t{index}"),
        partitions: rng.random_range(1..=2),
        factor,
        min_isr,
        unclean: rng.random_bool(0.1),
    }
}

fn offsets_topic(rng: &mut StdRng) -> TopicPlan {
    let partitions = rng.random_range(1..=2);
    TopicPlan { name: TOPIC.to_owned(), partitions, factor: 3, min_isr: *pick(&[1, 2], rng), unclean: false }
}

fn fault(plan: &Plan, rng: &mut StdRng) -> Fault {
    let node = rng.random_range(1..=plan.brokers);
    let short = rng.random_range(50..800);
    let long = rng.random_range(100..3_500);
    match rng.random_range(0..100) {
        0..20 => Fault::Crash { node, keep: *pick(&[0, 0, 1, 3, 100], rng), down_ms: long },
        20..22 => Fault::Wipe { node, down_ms: long },
        22..24 => Fault::Unregister { node },
        24..29 => Fault::Stop { node, down_ms: long },
        29..38 => Fault::Pause { node, ms: rng.random_range(100..4_000) },
        38..55 => cut(plan, node, rng),
        55..63 => Fault::Lag { node, extra_ms: rng.random_range(100..2_500), ms: long },
        63..65 => Fault::FullDisk { node, ms: long },
        65..69 => Fault::SlowDisk { node, sync_us: rng.random_range(50_000..900_000), ms: long },
        69..71 => Fault::FailDisk { node, down_ms: short },
        71..75 => Fault::Loss { chance: rng.random_range(0.01..0.3), ms: long },
        75..80 => Fault::ControllerChange { down_ms: short },
        _ => admin(plan, rng),
    }
}

fn cut(plan: &Plan, node: NodeId, rng: &mut StdRng) -> Fault {
    let other = rng.random_range(1..=plan.brokers);
    let peer = *pick(&[Peer::Controller, Peer::Node(other), Peer::Node(other), Peer::All], rng);
    let (outgoing, incoming) = *pick(&[(true, false), (false, true), (true, true)], rng);
    Fault::Cut { node, peer, outgoing, incoming, ms: rng.random_range(100..4_000) }
}

fn admin(plan: &Plan, rng: &mut StdRng) -> Fault {
    let topic = rng.random_range(0..plan.topics.len());
    let partition = rng.random_range(0..plan.topics[topic].partitions);
    match rng.random_range(0..100) {
        0..40 => {
            let mut all: Vec<NodeId> = (1..=plan.brokers).collect();
            let count = rng.random_range(1..=3usize.min(all.len()));
            let replicas = (0..count).map(|_| all.remove(rng.random_range(0..all.len()))).collect();
            Fault::Reassign { topic, partition, replicas }
        }
        40..50 => Fault::CancelReassign { topic, partition },
        50..65 => Fault::ElectPreferred,
        65..85 => Fault::MinIsr { topic, value: rng.random_range(1..=3) },
        // Nobody does this to the offsets of groups.
        85.. if plan.topics[topic].name == TOPIC => Fault::ElectPreferred,
        85..90 => Fault::Unclean { topic, on: rng.random_bool(0.5) },
        _ => Fault::Recreate { topic },
    }
}
