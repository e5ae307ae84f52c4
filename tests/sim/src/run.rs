//! One seed: the storm, the calm, and what is to be said of them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::check::Violation;
use crate::mutation::Mutation;
use crate::plan::{CALM_MS, Plan};
use crate::trace::Trace;
use crate::world::{Event, World};

/// How often the calm is looked at, µs.
const LOOK_US: u64 = 250_000;
/// Replays that shrinking may cost.
const SHRINK_RUNS_MAX: usize = 60;

/// What a run did, to be summed up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    pub events: u64,
    pub acknowledged: u64,
    pub read: u64,
    pub elections: u64,
    /// Simulated time until everything was whole again, ms.
    pub calm_ms: u64,
}

/// A broken rule, with what led to it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub at_ms: u64,
    pub rule: &'static str,
    pub text: String,
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {} at {} ms: {}: {}", self.seed, self.at_ms, self.rule, self.text)
    }
}

/// Runs what the seed stands for.
pub fn run(seed: u64, mutation: Option<Mutation>, trace: bool) -> Result<Stats, Box<Failure>> {
    run_plan(seed, Plan::of(seed), mutation, trace)
}

/// Runs a plan with the chances of a seed.
pub fn run_plan(seed: u64, plan: Plan, mutation: Option<Mutation>, trace: bool) -> Result<Stats, Box<Failure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Rc::new(runtime.expect("a runtime without IO needs nothing"));
    let _guard = runtime.enter();
    let mut world = World::new(seed, plan, Trace::new(trace), mutation, runtime.clone());
    let result = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    let violation = match result {
        Ok(Ok(())) => {
            let (events, acknowledged, read) = (world.events, world.check.acknowledged, world.check.read);
            let calm_ms = (world.now / 1000).saturating_sub(world.plan.storm_ms);
            return Ok(Stats { events, acknowledged, read, elections: world.check.elections, calm_ms });
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            Violation::new("nothing panics", text.unwrap_or_default())
        }
    };
    let Violation { rule, text } = violation;
    Err(Box::new(Failure { seed, at_ms: world.now / 1000, rule, text, trace: world.trace.take() }))
}

fn play(world: &mut World) -> Result<(), Violation> {
    world.after(1_000, Event::Decider);
    (1..=world.plan.brokers).for_each(|id| world.start_node(id));
    world.run_until(200_000)?;
    world.create_topics()?;
    world.add_clients();
    world.plan_faults();
    let storm_ms = world.plan.storm_ms;
    world.run_until(storm_ms * 1000)?;
    world.calm()?;
    let end = (storm_ms + CALM_MS) * 1000;
    loop {
        let until = world.now + LOOK_US;
        world.run_until(until)?;
        match world.check.whole(&world.nodes) {
            Ok(()) => return Ok(()),
            Err(violation) if world.now >= end => return Err(violation),
            Err(_) => {}
        }
    }
}

/// Leaves out what is not needed for the failure, one fault after the other; answers which faults are.
pub fn shrink(seed: u64, failure: &Failure, mutation: Option<Mutation>) -> (Plan, Box<Failure>) {
    let whole = Plan::of(seed);
    let mut dropped: Vec<usize> = Vec::new();
    let mut best = Box::new(failure.clone());
    for at in (0..whole.faults.len()).rev().take(SHRINK_RUNS_MAX) {
        let mut candidate = dropped.clone();
        candidate.push(at);
        if let Err(found) = run_plan(seed, whole.without(&candidate), mutation, false)
            && found.rule == failure.rule
        {
            (dropped, best) = (candidate, found);
        }
    }
    (whole.without(&dropped), best)
}
