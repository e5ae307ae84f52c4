//! Measures Millrace and Apache Kafka alternating on the same machine: `make bench`.

pub mod cluster;
pub mod latency;
pub mod load;
pub mod report;
pub mod scenarios;
pub mod tools;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;

use crate::harness::{Broker, Peer, Spec, proc};

/// Bytes of a record's value in the throughput rows.
pub const RECORD: usize = 1024;
pub const GB: f64 = 1e9;
const MIB: f64 = 1024.0 * 1024.0;
/// Part of the CPU that other processes may use before a measurement is called noisy.
const QUIET: f64 = 0.15;

/// A broker together with its promise: what has happened when it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// Millrace's default: synced before the acknowledgement.
    Millrace,
    /// `flush.policy=os`: acknowledged from the page cache.
    MillraceOs,
    /// Kafka's default: acknowledged from the page cache.
    Kafka,
    /// Topics with `flush.messages=1`.
    KafkaFsync,
}

impl Variant {
    pub const ALL: [Variant; 4] = [Variant::Millrace, Variant::Kafka, Variant::KafkaFsync, Variant::MillraceOs];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Millrace => "millrace",
            Variant::MillraceOs => "millrace-os",
            Variant::Kafka => "kafka",
            Variant::KafkaFsync => "kafka-fsync",
        }
    }

    pub fn parse(name: &str) -> anyhow::Result<Variant> {
        Variant::ALL.into_iter().find(|v| v.name() == name).with_context(|| format!("unknown broker {name}"))
    }

    pub fn peer(self) -> Peer {
        match self {
            Variant::Millrace | Variant::MillraceOs => Peer::Millrace,
            Variant::Kafka | Variant::KafkaFsync => Peer::Kafka,
        }
    }

    pub fn topic_configs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Variant::KafkaFsync => &[("flush.messages", "1")],
            _ => &[],
        }
    }
}

/// What a whole run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub variants: Vec<Variant>,
    pub rows: Vec<String>,
    pub repeats: usize,
    /// All amounts of data are multiplied by this; 1 is the size that the published figures have.
    pub scale: f64,
    /// Broker on core 0, client on core 1.
    pub pinned: bool,
}

impl Options {
    pub fn bytes(&self, gigabytes: f64) -> u64 {
        (gigabytes * self.scale * GB) as u64
    }

    pub fn spec(&self, variant: Variant) -> anyhow::Result<Spec> {
        let mut spec = Spec::new(variant.peer())?;
        if variant == Variant::MillraceOs {
            spec = spec.set("flush.policy", "os");
        }
        if self.pinned {
            spec = spec.wrap(["taskset", "-c", "0"]);
        }
        Ok(spec)
    }

    /// Keeps the calling thread off the broker's core when the run is pinned.
    pub fn pin_client(&self) {
        if self.pinned {
            let mut set = rustix::thread::CpuSet::new();
            set.set(1);
            if let Err(e) = rustix::thread::sched_setaffinity(None, &set) {
                eprintln!("the client could not be pinned: {e}");
            }
        }
    }
}

/// CPU that brokers used between two moments, and whether the machine was quiet.
pub struct Meter {
    pids: Vec<u32>,
    broker: f64,
    own: f64,
    machine: f64,
    start: Instant,
}

pub struct Used {
    pub wall: f64,
    pub cpu: f64,
    /// Part of the machine's CPU that neither broker nor client used.
    pub others: f64,
}

impl Meter {
    pub fn start(broker: &Broker) -> anyhow::Result<Meter> {
        Meter::of(vec![broker.pid()])
    }

    pub fn of(pids: Vec<u32>) -> anyhow::Result<Meter> {
        Ok(Meter {
            broker: cpu_sum(&pids)?,
            own: proc::cpu_seconds(std::process::id())?,
            machine: proc::machine_cpu_seconds()?,
            start: Instant::now(),
            pids,
        })
    }

    pub fn stop(&self) -> anyhow::Result<Used> {
        let wall = self.start.elapsed().as_secs_f64();
        let cpu = cpu_sum(&self.pids)? - self.broker;
        let own = proc::cpu_seconds(std::process::id())? - self.own;
        let machine = proc::machine_cpu_seconds()? - self.machine;
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        Ok(Used { wall, cpu, others: ((machine - cpu - own) / (wall * cores)).max(0.0) })
    }
}

/// User and system CPU seconds of all these processes.
fn cpu_sum(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().map(|pid| proc::cpu_seconds(*pid)).sum()
}

/// Bytes that the disk under `dir` has written since boot, after everything dirty went out.
pub fn device_bytes(dir: &Path) -> anyhow::Result<u64> {
    const SECTOR: u64 = 512;
    const SECTORS_WRITTEN: usize = 6;
    Command::new("sync").status()?;
    let dev = fs::metadata(dir)?.dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))?;
    let sectors: u64 = stat.split_whitespace().nth(SECTORS_WRITTEN).context("short block stat")?.parse()?;
    Ok(sectors * SECTOR)
}

/// Empties the page cache; needs root.
pub fn drop_caches() -> anyhow::Result<()> {
    Command::new("sync").status()?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop caches (needs root)")
}
