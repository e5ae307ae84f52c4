//! A disk that is really full: a small tmpfs as data directory. Producers get an error that tells them to try
//! again, consumers still read, and when there is space again everything goes on without a restart.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millrace_tests::bench::load::{next_offset, ready_batch};
use millrace_tests::harness::{Broker, Dir, Peer, Spec, proc};
use millrace_tests::raw::{Conn, FetchPart, ProducePart};

const TOPIC: &str = "full";
const DISK_MIB: u64 = 256;
const FILLER_BYTES: usize = 96 << 20;
const BATCH: usize = 128 << 10;
/// LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS (before and after the
/// append), KAFKA_STORAGE_ERROR: clients try again after these.
const RETRIABLE: [i16; 6] = [5, 6, 7, 19, 20, 56];

/// A mounted tmpfs; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path) -> Disk {
        fs::create_dir_all(path).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"])
            .arg(path)
            .status()
            .unwrap();
        assert!(done.success(), "a tmpfs could not be mounted (needs root)");
        Disk(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Reads the partition from its start; returns where it ends and how many batch bytes were read.
fn read_all(port: u16) -> anyhow::Result<(i64, u64)> {
    let mut conn = Conn::open(port)?;
    let (mut offset, mut bytes) = (0, 0);
    loop {
        let got = conn.fetch(&FetchPart { topic: TOPIC, partition: 0, offset, max_bytes: 4 << 20 }, 100)?;
        anyhow::ensure!(got.error == 0, "fetch at {offset}: error {}", got.error);
        let (next, whole) = next_offset(&got.records, offset);
        bytes += whole;
        if next == offset {
            return Ok((offset, bytes));
        }
        offset = next;
    }
}

#[test]
fn producers_wait_consumers_read_and_space_brings_it_back() -> anyhow::Result<()> {
    let home = Dir::temp()?;
    let disk = Disk::mount(&home.path().join("disk"));
    let spec = Spec::new(Peer::from_env())?.set("log.dirs", &disk.0.join("data").display().to_string());
    let spec = spec.expect_log("space").expect_log("os error 28").expect_log("full");
    let mut broker = Broker::start(&spec)?;
    let mut conn = Conn::open(broker.port())?;
    conn.create_and_wait(TOPIC, 1, &[])?;
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![1u8; FILLER_BYTES])?;

    let batch = ready_batch(BATCH, 1024);
    let part = ProducePart { topic: TOPIC, partition: 0, batch: &batch };
    let records = (BATCH / 1024) as i64;
    let mut acknowledged = 0;
    let error = loop {
        let result = conn.produce(&part, -1)?;
        if result.error != 0 {
            break result.error;
        }
        assert_eq!(result.base_offset, acknowledged);
        acknowledged += records;
        assert!((acknowledged as u64) << 10 < DISK_MIB << 20, "more fits on the disk than it has");
    };
    assert!(RETRIABLE.contains(&error), "error {error} does not tell a producer to try again");
    assert!(acknowledged > 0, "nothing was accepted before the disk was full");
    assert!(broker.is_running(), "the broker ended\n{}", broker.log_text());

    let (end, bytes) = read_all(broker.port())?;
    assert_eq!(end, acknowledged, "readable up to {end}");
    assert!(bytes > acknowledged as u64 * 1024);

    fs::remove_file(&filler)?;
    let result = proc::wait_for("acceptance after there is space", Duration::from_secs(30), || {
        let result = conn.produce(&part, -1)?;
        std::thread::sleep(Duration::from_millis(20));
        Ok((result.error == 0).then_some(result))
    })
    .map_err(|e| anyhow::anyhow!("{e}\n{}", broker.log_text()))?;
    // What failed may be there or not, but never twice and never in place of something acknowledged.
    assert!(result.base_offset >= acknowledged, "{} was acknowledged twice", result.base_offset);
    let (end, _) = read_all(broker.port())?;
    assert_eq!(end, result.base_offset + records);
    broker.stop()?;

    let broker = Broker::start(&spec)?;
    assert_eq!(read_all(broker.port())?.0, end, "after a restart");
    broker.stop()?;
    drop(disk);
    Ok(())
}
