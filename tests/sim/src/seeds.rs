//! Thousands of seeds, each a cluster of its own with its own bad luck.
//!
//! `SIM_SEEDS=n` runs so many, `SIM_FROM=n` begins there, `SIM_SEED=n` runs one, and `SIM_TRACE=1` says what happened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::plan::Plan;
use crate::run::{Failure, Stats, run, run_plan, shrink};

/// Seeds of one run of the tests: about a minute on two cores.
const SEEDS: u64 = 4_000;

/// Seeds that once found something wrong.
const KEPT: &[u64] = &[67, 106, 832, 2177, 2213, 4497, 20_601, 28_179];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name} is not a number: {v}")))
}

/// Says what is needed to see the failure again.
fn report(failure: &Failure) -> String {
    let (plan, smallest) = shrink(failure.seed, failure, None);
    let again = run_plan(failure.seed, plan.clone(), None, std::env::var_os("SIM_TRACE").is_some());
    let text = again.map_or_else(|f| f.to_string(), |_| smallest.to_string());
    format!(
        "{text}\nwith these faults: {:#?}\nbrokers {}, topics {:?}\nagain: SIM_SEED={} SIM_TRACE=1 cargo test --release -p millrace-sim seeds::seeds -- --nocapture",
        plan.faults, plan.brokers, plan.topics, failure.seed
    )
}

#[test]
fn kept_seeds() {
    for seed in KEPT {
        if let Err(failure) = run(*seed, None, false) {
            panic!("{}", report(&failure));
        }
    }
}

#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        match run(seed, None, false) {
            Ok(stats) => return println!("{:#?}\n{stats:?}", Plan::of(seed)),
            Err(failure) => panic!("{}", report(&failure)),
        }
    }
    let (from, count) = (number("SIM_FROM").unwrap_or(1), number("SIM_SEEDS").unwrap_or(SEEDS));
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let found: Mutex<Vec<Box<Failure>>> = Mutex::default();
    let sum: Mutex<(Stats, u64)> = Mutex::default();
    let begun = Instant::now();
    let keep_going = std::env::var_os("SIM_ALL").is_some();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || (failed.load(Ordering::Relaxed) && !keep_going) {
                        return;
                    }
                    match run(seed, None, false) {
                        Ok(stats) => add(&mut sum.lock().unwrap(), stats),
                        Err(failure) => {
                            failed.store(true, Ordering::Relaxed);
                            found.lock().unwrap().push(failure);
                        }
                    }
                }
            });
        }
    });
    let (stats, runs) = *sum.lock().unwrap();
    println!("{runs} seeds in {:.1} s: {stats:?}", begun.elapsed().as_secs_f64());
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|f| f.seed);
    for failure in &found {
        println!("seed {} at {} ms: {}: {:.400}", failure.seed, failure.at_ms, failure.rule, failure.text);
    }
    if let Some(first) = found.first() {
        panic!("{} of {count} seeds failed\n{}", found.len(), report(first));
    }
    assert!(stats.acknowledged > runs * 20 && stats.read > runs * 10 && stats.elections > runs, "{stats:?}");
}

fn add(sum: &mut (Stats, u64), stats: Stats) {
    sum.1 += 1;
    sum.0.events += stats.events;
    sum.0.acknowledged += stats.acknowledged;
    sum.0.read += stats.read;
    sum.0.elections += stats.elections;
    sum.0.calm_ms = sum.0.calm_ms.max(stats.calm_ms);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 1..6 {
        let once = run(seed, None, false).map(|s| format!("{s:?}")).map_err(|f| f.to_string());
        let again = run(seed, None, true).map(|s| format!("{s:?}")).map_err(|f| f.to_string());
        match (once, again) {
            (Ok(once), Ok(again)) => assert_eq!(once, again),
            (Err(_), Err(_)) => {}
            (once, again) => panic!("{once:?}\n{again:?}"),
        }
    }
}
