//! What a broker must bear from clients that are broken or malicious: it stays up under a memory limit, its memory
//! stays flat, other clients keep their latency, and no bad byte reaches a log.
#![allow(clippy::unwrap_used)]

mod bombs;
mod bystander;
mod crowds;
mod frames;

use millrace_tests::harness::{Broker, Peer, Spec, proc};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Address space that a broker gets in these tests: far below what hostile input announces.
const ADDRESS_SPACE: u64 = 3 << 30;
/// Resident memory that hostile input may add.
const GROWTH: u64 = 160 << 20;

/// For topics: records are stamped with an old time, and retention would take them away after half a minute.
const KEPT: (&str, &str) = ("retention.ms", "-1");
/// Sockets of this process, which runs several of these tests at the same time.
const OPEN_FILES: u64 = 8_000;

/// Raised once for all tests: the limit is the process's, and one test must not take from another.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|now| now >= OPEN_FILES) {
        return;
    }
    assert!(
        maximum.is_none_or(|most| most >= OPEN_FILES),
        "the hard limit of open files is {maximum:?}, the tests need {OPEN_FILES}"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum }).unwrap();
}

/// A broker that may not take more memory than [`ADDRESS_SPACE`].
fn limited_broker() -> Broker {
    limited(Spec::new(Peer::Millrace).unwrap())
}

fn limited(spec: Spec) -> Broker {
    raise_open_files();
    let limit = format!("--as={ADDRESS_SPACE}");
    Broker::start(&spec.wrap(["prlimit".to_owned(), limit])).unwrap()
}

/// Runs `attack` on a broker that serves another client meanwhile, and checks what must hold afterwards.
fn survives(mut broker: Broker, attack: impl FnOnce(&Broker)) {
    let bystander = bystander::Bystander::start(broker.port());
    let before = proc::rss_bytes(broker.pid()).unwrap();
    attack(&broker);
    let peak = proc::peak_rss_bytes(broker.pid()).unwrap();
    bystander.finish();
    assert!(broker.is_running(), "the broker ended\n{}", broker.log_text());
    assert!(peak < before + GROWTH, "resident memory rose from {before} to {peak} bytes");
    broker.stop().unwrap();
}
