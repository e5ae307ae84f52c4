//! The store of this crate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millrace_store::*;
use parking_lot::Mutex;

use crate::Args;
use crate::load::{self, Load, Meter};

struct NoRows;

impl Derive for NoRows {
    fn derive(&self, _: PlogId, _: &[Bytes], _: &dyn Kv, _: &mut KvBatch) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Times of a log's batches that are not durable yet.
struct Waiting {
    load: &'static Load,
    times: Mutex<VecDeque<(i64, Instant)>>,
}

impl Observer for Waiting {
    fn durable(&self, end: i64) {
        let mut done = Vec::new();
        {
            let mut times = self.times.lock();
            while let Some((_, at)) = times.pop_front_if(|(offset, _)| *offset < end) {
                done.push(at);
            }
        }
        self.load.durable(done.into_iter());
    }
    fn failed(&self, error: &StoreError) {
        panic!("{error}");
    }
}

pub fn run(args: &Args, load: &Load, mut meter: Meter) {
    // The process ends with this run, and observers want what lives for ever.
    // SAFETY: `load` is owned by `main`, which returns only after `run`, by when the store and its threads are gone.
    let load: &'static Load = unsafe { &*std::ptr::from_ref(load) };
    let options = StoreOptions {
        segment_bytes: args.segment_mib << 20,
        segments: args.segments,
        flush: if args.os { FlushPolicy::Os } else { FlushPolicy::Sync },
        trust_batch_crc: !args.own_crc,
        ..StoreOptions::default()
    };
    let opened = Instant::now();
    let store = open_log_store(&args.dir, options.clone(), Arc::new(NoRows)).unwrap();
    println!("d: fresh open {:.1} ms, rss {:.0} MiB", opened.elapsed().as_secs_f64() * 1e3, load::rss_mib().0);
    let logs: Vec<_> = (0..args.logs)
        .map(|id| {
            let waiting = Arc::new(Waiting { load, times: Mutex::default() });
            (store.open(id, RetentionClass::Week, waiting.clone()).unwrap(), waiting)
        })
        .collect();
    let making = load::making_costs(load);
    meter.reset();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..args.threads {
            let logs = &logs;
            scope.spawn(move || {
                // Each thread has its own logs, so that offsets need no lock.
                let mine: Vec<_> = logs.iter().skip(thread as usize).step_by(args.threads as usize).collect();
                for n in (thread..load.count).step_by(args.threads as usize) {
                    let at = load.turn(started, n);
                    let (log, waiting) = mine[(n / args.threads) as usize % mine.len()];
                    let offset = log.bounds().end;
                    let bytes = load.value(n);
                    load.queued();
                    waiting.times.lock().push_back((offset, at));
                    let batch =
                        Batch { base_offset: offset, last_offset: offset, leader_epoch: 0, max_timestamp: 0, bytes };
                    log.append(batch).unwrap();
                }
            });
        }
    });
    load.wait_all();
    let (seconds, _) = meter.read();
    let stats = store.stats();
    store.roll().unwrap();
    let (_, cpu) = meter.read();
    load::report("d", load, (seconds, cpu), making, meter.device_bytes());
    let mean = |l: &Latency| l.sum_us as f64 / l.count().max(1) as f64;
    println!(
        "   groups {} mean {:.0} KiB, write {:.0} us, sync {:.0} us, ingest {:.0} ms, journal {:.3} B/B",
        stats.groups,
        stats.payload_bytes as f64 / 1024.0 / stats.groups as f64,
        mean(&stats.write),
        mean(&stats.sync),
        mean(&stats.ingest) / 1e3,
        stats.journal_bytes as f64 / stats.payload_bytes as f64,
    );
    if args.scan {
        scan(args, load, &logs.iter().map(|(log, _)| log.clone()).collect::<Vec<_>>(), &mut meter);
    }
    drop(logs);
    drop(store);
    if args.reopen {
        let before = load::cpu_seconds();
        let opened = Instant::now();
        let store = open_log_store(&args.dir, options, Arc::new(NoRows)).unwrap();
        let ms = opened.elapsed().as_secs_f64() * 1e3;
        println!("d: open again {ms:.1} ms, cpu {:.1} ms", (load::cpu_seconds() - before) * 1e3);
        drop(store);
    }
}

fn scan(args: &Args, load: &Load, logs: &[Arc<dyn Plog>], meter: &mut Meter) {
    for cold in [false, true] {
        if cold {
            if !args.cold {
                break;
            }
            load::drop_page_cache();
        }
        meter.reset();
        let mut bytes = 0;
        for log in logs {
            let end = log.bounds().end;
            let mut from = 0;
            while from < end {
                let chunk =
                    log.read(ReadSpec { from, until: i64::MAX, max_bytes: 1 << 20, at_least_one: true }).unwrap();
                bytes += chunk.bytes;
                from += chunk.batches.len() as i64;
            }
        }
        assert_eq!(bytes as u64, load.count * load.size as u64);
        let (seconds, cpu) = meter.read();
        let gb = bytes as f64 / 1e9;
        let name = if cold { "cold" } else { "warm" };
        println!("d: {name} scan {:.0} MB/s  cpu {:.2} s/GB", gb * 1e3 / seconds, cpu / gb);
    }
}
