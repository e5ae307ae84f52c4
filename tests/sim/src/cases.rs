//! What once went wrong, as plans of their own: seeds mean something else whenever the plans change.

use crate::plan::{Fault, Peer, Plan, Planned, TopicPlan};
use crate::run::run_plan;

/// Chances that each case gets.
const SEEDS: u64 = 40;

fn holds(min_isr: i32, faults: &[(u64, Fault)]) {
    for seed in 1..=SEEDS {
        let topic = TopicPlan { name: "t0".to_owned(), partitions: 2, factor: 3, min_isr, unclean: false };
        let faults = faults.iter().map(|(at_ms, fault)| Planned { at_ms: *at_ms, fault: fault.clone() }).collect();
        let plan = Plan { brokers: 4, topics: vec![topic], groups: 0, storm_ms: 6_000, faults, ..Plan::of(seed) };
        if let Err(failure) = run_plan(seed, plan, None, false) {
            panic!("{failure}");
        }
    }
}

/// A follower whose sync failed asked on from behind what it had not got, and its leader took that for an
/// acknowledgement.
#[test]
fn a_failed_sync_acknowledges_nothing() {
    let fail = |node| Fault::FailDisk { node, down_ms: 500 };
    holds(2, &[(1_000, fail(1)), (2_500, fail(2)), (4_000, fail(3))]);
}

/// A leader that had not yet heard of a higher minimum took its smaller in-sync set for enough, and committed without a
/// replica that was still eligible.
#[test]
fn a_higher_minimum_counts_with_the_set_that_follows_it() {
    let cut = |node| Fault::Cut { node, peer: Peer::All, outgoing: true, incoming: true, ms: 1_200 };
    let lag = |node| Fault::Lag { node, extra_ms: 800, ms: 5_000 };
    let faults = [
        (300, lag(1)),
        (300, lag(2)),
        (300, lag(3)),
        (1_000, cut(3)),
        (1_100, Fault::MinIsr { topic: 0, value: 3 }),
        (2_600, Fault::Crash { node: 1, keep: 0, down_ms: 900 }),
        (2_700, Fault::Crash { node: 2, keep: 0, down_ms: 2_000 }),
    ];
    holds(1, &faults);
}

/// Replicas that were eligible below a minimum stayed so when it was lowered, although the leader went on without them.
#[test]
fn a_lower_minimum_ends_eligibility() {
    let faults = [
        (600, Fault::Crash { node: 2, keep: 0, down_ms: 3_500 }),
        (700, Fault::Crash { node: 3, keep: 0, down_ms: 3_500 }),
        (1_500, Fault::MinIsr { topic: 0, value: 1 }),
        (3_900, Fault::Crash { node: 1, keep: 0, down_ms: 1_500 }),
        (3_950, Fault::Crash { node: 4, keep: 0, down_ms: 1_500 }),
    ];
    holds(2, &faults);
}

/// A broker whose disk was replaced is not eligible for what the old one held, and a second start does not take away
/// what it has fetched since.
#[test]
fn a_lost_disk_is_not_eligible() {
    let faults = [
        (1_000, Fault::Wipe { node: 1, down_ms: 300 }),
        (2_500, Fault::Crash { node: 1, keep: 0, down_ms: 100 }),
        (3_000, Fault::Wipe { node: 2, down_ms: 300 }),
        (4_000, Fault::Crash { node: 3, keep: 0, down_ms: 800 }),
    ];
    holds(2, &faults);
}
