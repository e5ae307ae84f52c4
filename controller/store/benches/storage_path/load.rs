//! The load that both ways carry, and what is measured of it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex};

use crate::Args;

/// Incompressible values in the shape of a Kafka batch of format 2, with a right checksum.
pub struct Load {
    pub size: usize,
    pub count: u64,
    random: Bytes,
    window: u64,
    rate: f64,
    flow: Flow,
}

/// How much is on its way, and how long it took.
#[derive(Default)]
struct Flow {
    pending: AtomicU64,
    waiting: Mutex<()>,
    drained: Condvar,
    latencies: Mutex<Vec<u32>>,
}

impl Load {
    pub fn new(args: &Args) -> Self {
        let size = (args.value_kib * 1024.0) as usize;
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let random: Vec<u8> = (0..(8 << 20) / 8)
            .flat_map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .collect();
        Load {
            size,
            count: ((args.gb * 1e9) as u64 / size as u64).max(1),
            random: random.into(),
            window: (args.window_mib * 1048576.0) as u64,
            rate: args.rate,
            flow: Flow::default(),
        }
    }

    /// The next value: what a connection would have read from its socket, freshly written memory with its checksum.
    pub fn value(&self, n: u64) -> Bytes {
        let mut value = BytesMut::with_capacity(self.size);
        let at = (n as usize * 4096) % (self.random.len() - self.size.min(self.random.len() / 2));
        value.extend_from_slice(&self.random[at..at + self.size]);
        if self.size >= 61 {
            value[..8].copy_from_slice(&n.to_be_bytes());
            value[8..12].copy_from_slice(&(self.size as u32 - 12).to_be_bytes());
            value[16] = 2;
            let crc = crc32c::crc32c(&value[21..]);
            value[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        value.freeze()
    }

    /// Waits for the turn of the `n`-th of `threads` streams' values and returns the time from which it counts.
    pub fn turn(&self, started: Instant, n: u64) -> Instant {
        if self.rate > 0.0 {
            let due = started + Duration::from_secs_f64(n as f64 / self.rate);
            let now = Instant::now();
            if due > now {
                std::thread::sleep(due - now);
            }
            due
        } else {
            let mut guard = self.flow.waiting.lock();
            while self.flow.pending.load(Ordering::Acquire) >= self.window {
                self.flow.drained.wait(&mut guard);
            }
            Instant::now()
        }
    }

    pub fn queued(&self) {
        self.flow.pending.fetch_add(self.size as u64, Ordering::AcqRel);
    }

    /// Values queued at these times are durable now.
    pub fn durable(&self, times: impl Iterator<Item = Instant>) {
        let now = Instant::now();
        let mut n = 0;
        {
            let mut all = self.flow.latencies.lock();
            for t in times {
                all.push(now.saturating_duration_since(t).as_micros() as u32);
                n += 1;
            }
        }
        self.flow.pending.fetch_sub(n * self.size as u64, Ordering::AcqRel);
        let _guard = self.flow.waiting.lock();
        self.flow.drained.notify_all();
    }

    pub fn wait_all(&self) {
        let mut guard = self.flow.waiting.lock();
        while self.flow.pending.load(Ordering::Acquire) > 0 {
            self.flow.drained.wait(&mut guard);
        }
    }

    /// p50, p99, p99.9 and the maximum in ms.
    pub fn quantiles(&self) -> [f64; 4] {
        let mut all = self.flow.latencies.lock();
        all.sort_unstable();
        let at = |q: f64| f64::from(all[((all.len() - 1) as f64 * q) as usize]) / 1e3;
        [at(0.5), at(0.99), at(0.999), at(1.0)]
    }
}

/// Figures between two moments.
pub struct Meter {
    device: Option<std::path::PathBuf>,
    at: Instant,
    cpu: f64,
    sectors: u64,
}

impl Meter {
    pub fn start(dir: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let dev = std::fs::metadata(dir).unwrap().dev();
        let stat = format!("/sys/dev/block/{}:{}/stat", libc::major(dev), libc::minor(dev)).into();
        let mut meter = Meter { device: Some(stat), at: Instant::now(), cpu: 0.0, sectors: 0 };
        meter.reset();
        meter
    }

    pub fn reset(&mut self) {
        self.sectors = self.sectors_written();
        self.cpu = cpu_seconds();
        self.at = Instant::now();
    }

    fn sectors_written(&self) -> u64 {
        // SAFETY: has no arguments.
        unsafe { libc::sync() };
        let text = self.device.as_ref().and_then(|p| std::fs::read_to_string(p).ok()).unwrap_or_default();
        text.split_whitespace().nth(6).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Seconds, CPU seconds.
    pub fn read(&self) -> (f64, f64) {
        (self.at.elapsed().as_secs_f64(), cpu_seconds() - self.cpu)
    }

    pub fn device_bytes(&self) -> u64 {
        (self.sectors_written() - self.sectors) * 512
    }
}

pub fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has room for the answer and was zeroed.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let s = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    s(usage.ru_utime) + s(usage.ru_stime)
}

/// Resident memory in MiB: now and at most.
pub fn rss_mib() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("0");
        line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    (kib("VmRSS:"), kib("VmHWM:"))
}

/// CPU seconds that making the values costs, to be taken off.
pub fn making_costs(load: &Load) -> f64 {
    let before = cpu_seconds();
    let n = (load.count / 20).max(1);
    for i in 0..n {
        std::hint::black_box(load.value(i));
    }
    (cpu_seconds() - before) * load.count as f64 / n as f64
}

pub fn drop_page_cache() {
    // SAFETY: has no arguments.
    unsafe { libc::sync() };
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// Prints the line of the write phase.
pub fn report(name: &str, load: &Load, (seconds, cpu): (f64, f64), making: f64, device: u64) {
    let gb = (load.count * load.size as u64) as f64 / 1e9;
    let [p50, p99, p999, max] = load.quantiles();
    let (rss, peak) = rss_mib();
    println!(
        "{name}: {:.0} MB/s  cpu {:.2} s/GB (+{:.2} making values)  durable ms p50 {p50:.2} p99 {p99:.2} p99.9 \
         {p999:.2} max {max:.1}  device {:.2} B/B  rss {rss:.0} MiB (peak {peak:.0})",
        gb * 1e3 / seconds,
        (cpu - making) / gb,
        making / gb,
        device as f64 / 1e9 / gb,
    );
}
