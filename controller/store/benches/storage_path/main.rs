//! Measures the storage path: own journal with ingestion ("d", the store of this crate) against RocksDB's own WAL,
//! memtable and blob files ("a"), under the same load.
//!
//! ```text
//! cargo bench -p millrace-store --bench storage_path -- --way d --value-kib 64 --logs 6 --gb 3
//! ```
//! Prints one line per run. CPU is user + system of the process (getrusage); device bytes are what the block device
//! under the directory wrote according to /sys/dev/block/*/stat, after a sync, so other writers on the same disk are
//! in it. A write counts as durable when the sync that covers it has returned.
#![allow(clippy::unwrap_used)]

mod load;
mod way_a;
mod way_d;

use clap::Parser;

use load::{Load, Meter};

/// As in the broker.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One run of the storage path.
#[derive(Parser, Clone)]
pub struct Args {
    /// "d": journal and ingestion; "a": RocksDB's own write path.
    #[arg(long, default_value = "d")]
    way: String,
    /// Size of one batch.
    #[arg(long, default_value_t = 64.0)]
    value_kib: f64,
    /// Logs written to in turn.
    #[arg(long, default_value_t = 6)]
    logs: u64,
    /// Total of the values, in GB.
    #[arg(long, default_value_t = 2.0)]
    gb: f64,
    /// Bytes that may be queued and not durable at a time, in MiB.
    #[arg(long, default_value_t = 8.0)]
    window_mib: f64,
    /// Open loop with this many values per second; 0: as fast as it goes within the window.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Producing threads.
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Where the data goes; removed afterwards.
    #[arg(long, default_value = "/tmp/millrace-bench")]
    dir: std::path::PathBuf,
    #[arg(long, default_value_t = 16)]
    segment_mib: u64,
    #[arg(long, default_value_t = 4)]
    segments: usize,
    /// Read everything back afterwards.
    #[arg(long)]
    scan: bool,
    /// Drop the page cache before the scan (needs root).
    #[arg(long)]
    cold: bool,
    /// Do not sync (flush.policy=os).
    #[arg(long)]
    os: bool,
    /// Compute an own checksum over the values instead of relying on the batch's.
    #[arg(long)]
    own_crc: bool,
    /// Open the store again after dropping it without a close, and print how long that takes.
    #[arg(long)]
    reopen: bool,
    /// Leave the data there.
    #[arg(long)]
    keep: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let _ = std::fs::remove_dir_all(&args.dir);
    std::fs::create_dir_all(&args.dir).unwrap();
    let meter = Meter::start(&args.dir);
    let load = Load::new(&args);
    match args.way.as_str() {
        "a" => way_a::run(&args, &load, meter),
        "d" => way_d::run(&args, &load, meter),
        other => panic!("--way {other}: a or d"),
    }
    if !args.keep {
        std::fs::remove_dir_all(&args.dir).unwrap();
    }
}
