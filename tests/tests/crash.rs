//! kill -9 of a single node at random moments while producers and a consumer group are at work: nothing that was
//! acknowledged may be lost, moved, doubled or reordered, and committed offsets may not go back.
//! `MILLRACE_CRASH_ROUNDS` and `MILLRACE_CRASH_SEED` choose length and moments.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_tests::chaos::{Cx, Load, Running, ends, read_log};
use millrace_tests::checker::{check, report};
use millrace_tests::harness::{Broker, Peer, Spec, proc};
use millrace_tests::raw::Conn;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TOPIC: &str = "crash";
const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(30);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_lost() -> anyhow::Result<()> {
    let rounds = number("MILLRACE_CRASH_ROUNDS", 12);
    let seed = number("MILLRACE_CRASH_SEED", rand::random_range(0..1_000_000));
    eprintln!("MILLRACE_CRASH_SEED={seed} MILLRACE_CRASH_ROUNDS={rounds}");
    let mut rng = StdRng::seed_from_u64(seed);
    let spec = Spec::new(Peer::from_env())?;
    let mut broker = Broker::start(&spec)?;
    Conn::open(spec.port)?.create_and_wait(TOPIC, PARTITIONS, &[("retention.ms", "-1")])?;
    let load = Load { rate: 4_000, members: 1, churn: false, ..Load::new(TOPIC, PARTITIONS) };
    let cx = Cx::new(&load, [(0, spec.socket())].into());
    let running = Running::start(&cx);
    running.wait_progress(LIMIT)?;
    for round in 0..rounds {
        // Most kills meet clients at work, however slow the machine is; some meet a broker that has just come back.
        if rng.random_bool(0.8) {
            running.wait_progress(LIMIT)?;
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(20..700)));
        broker.kill9()?;
        broker = Broker::start(&spec)?;
        let acknowledged = cx.acknowledged.load(Ordering::Relaxed);
        eprintln!("round {round}: usable after {:?}, {acknowledged} acknowledged", broker.launch.ready);
    }
    let enough =
        || cx.acknowledged.load(Ordering::Relaxed) > rounds * 100 && cx.commits.load(Ordering::Relaxed) > rounds;
    proc::wait_for("records and commits", LIMIT, || Ok(enough().then_some(())))?;
    let addr = spec.socket();
    let mut history = running.finish(|| ends(|_| Conn::connect(addr), TOPIC))?;
    history.log = read_log(|_| Conn::connect(addr), TOPIC)?;
    assert!(history.acknowledged() as u64 > rounds * 100, "only {} records were acknowledged", history.acknowledged());
    assert!(history.commits.len() as u64 > rounds, "only {} commits were seen", history.commits.len());
    let violations = check(&history);
    assert!(violations.is_empty(), "seed {seed}: {} violations\n{}", violations.len(), report(&violations));
    let complaints = cx.complaints.lock().unwrap().clone();
    assert_eq!(complaints, Vec::<String>::new(), "seed {seed}");
    eprintln!(
        "{} sent, {} acknowledged, {} reads, {} commits seen",
        history.sends.len(),
        history.acknowledged(),
        history.reads.len(),
        history.commits.len()
    );
    broker.stop().map(|_| ())
}
