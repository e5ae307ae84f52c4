//! What the operating system says about a process, and signals to it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal};

/// Clock ticks per second of `/proc/PID/stat`; fixed on Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid as i32).context("pid 0")?;
    rustix::process::kill_process(pid, signal).context("kill")
}

/// User and system CPU seconds that the process has used.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name may contain spaces; fields are counted after its closing bracket.
    let rest = stat.rsplit_once(')').context("no command in stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("short stat")?.parse::<f64>()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Busy CPU seconds of the whole machine since boot.
pub fn machine_cpu_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("empty /proc/stat")?;
    let n: Vec<f64> = line.split_whitespace().skip(1).filter_map(|v| v.parse().ok()).collect();
    let idle: f64 = n.get(3).unwrap_or(&0.0) + n.get(4).unwrap_or(&0.0);
    Ok((n.iter().take(8).sum::<f64>() - idle) / TICKS_PER_SECOND)
}

/// Resident bytes.
pub fn rss_bytes(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmRSS:").map(|kib| kib * 1024)
}

/// Resident memory at rest, in bytes: the lowest value once it has not fallen for two seconds. Allocators give back
/// what was freed with a delay.
pub fn settled_rss_bytes(pid: u32) -> anyhow::Result<u64> {
    const STILL: Duration = Duration::from_secs(2);
    const LIMIT: Duration = Duration::from_secs(20);
    const TICK: Duration = Duration::from_millis(200);
    const NOISE: u64 = 64 << 10;
    let begin = Instant::now();
    let mut lowest = rss_bytes(pid)?;
    let mut since = Instant::now();
    while since.elapsed() < STILL && begin.elapsed() < LIMIT {
        std::thread::sleep(TICK);
        let now = rss_bytes(pid)?;
        if now + NOISE < lowest {
            lowest = now;
            since = Instant::now();
        }
    }
    Ok(lowest)
}

/// Resident bytes, ten times a second for `seconds` or until `stop`.
pub fn sample_rss(pid: u32, seconds: f64, stop: &AtomicBool) -> Vec<u64> {
    const TICK: Duration = Duration::from_millis(100);
    let begin = Instant::now();
    let mut out = Vec::new();
    while begin.elapsed().as_secs_f64() < seconds && !stop.load(Ordering::Relaxed) {
        out.extend(rss_bytes(pid));
        std::thread::sleep(TICK);
    }
    out
}

/// The largest number of resident bytes so far.
pub fn peak_rss_bytes(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmHWM:").map(|kib| kib * 1024)
}

fn status_kib(pid: u32, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with(key)).context("no such line in status")?;
    Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
}

pub fn open_files(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Calls `ready` until it returns something or `limit` has passed.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    const PAUSE: Duration = Duration::from_millis(2);
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = ready()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            anyhow::bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(PAUSE);
    }
}
