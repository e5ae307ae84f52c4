//! What operators do to a cluster that works, with the clients and commands that they use: racks, new brokers and
//! drained ones, other controllers, a disk that breaks, records deleted early.
#![allow(clippy::unwrap_used)]

mod brokers;
mod controllers;
mod disk;
mod rack;
mod records;
mod steady;

use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use millrace_tests::cluster::Cluster;
use millrace_tests::harness;

const TOPIC: &str = "operations";
const LIMIT: Duration = Duration::from_secs(90);
/// Several clusters at a time would measure the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

/// Runs `millrace` and returns what it printed; fails if it fails.
fn millrace(cluster: &Cluster, args: &[&str]) -> anyhow::Result<String> {
    let done = Command::new(harness::program("millrace"))
        .args(["--timeout", "60", "--bootstrap-server", &cluster.bootstrap()])
        .args(args)
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    anyhow::ensure!(done.status.success(), "millrace {}: {out}{err}", args.join(" "));
    Ok(out.into_owned())
}
