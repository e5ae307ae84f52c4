//! The measurements. Each fills some rows of the table for one broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::load::{self, Load, PARTITIONS, Route};
use super::report::Report;
use super::{GB, MIB, Meter, Options, QUIET, Used, Variant, device_bytes, drop_caches, latency, tools};
use crate::harness::{Broker, proc};
use crate::raw::{Conn, ProducePart};

const TOPIC: &str = "bench";
const WARM_UP_GB: f64 = 0.5;

pub struct Bench {
    pub options: Options,
    pub report: Report,
}

pub type Row = (&'static str, fn(&mut Bench, Variant) -> anyhow::Result<()>);

/// Names for the command line, and what they measure.
pub const ROWS: [Row; 11] = [
    ("start", Bench::start),
    ("stream", Bench::stream),
    ("small", Bench::small),
    ("latency", Bench::latency),
    ("perf", Bench::perf),
    ("partitions-3000", Bench::partitions_3000),
    ("partitions-10000", Bench::partitions_10000),
    ("recovery-2gb", Bench::recovery_2gb),
    ("recovery-5gb", Bench::recovery_5gb),
    ("connections", Bench::connections),
    (MEMORY, Bench::memory),
];

/// Takes ten minutes for each broker, so it is measured only when it is asked for.
pub const MEMORY: &str = "memory";

impl Bench {
    pub(super) fn add(&mut self, row: &str, variant: Variant, value: f64) {
        self.report.add(row, variant, value);
    }

    pub(super) fn judge(&mut self, row: &str, variant: Variant, used: &Used) {
        if used.others > QUIET {
            self.report.noisy.push(format!(
                "{row} on {}: other processes used {:.0} % of the CPU",
                variant.name(),
                used.others * 100.0
            ));
        }
    }

    fn start_with_topic(&self, variant: Variant) -> anyhow::Result<Broker> {
        let broker = Broker::start(&self.options.spec(variant)?)?;
        Conn::open(broker.port())?.create_and_wait(TOPIC, PARTITIONS, variant.topic_configs())?;
        Ok(broker)
    }

    fn produce(&self, broker: &Broker, batch: usize, gigabytes: f64) -> anyhow::Result<load::Produced> {
        let total = self.options.bytes(gigabytes);
        load::produce(
            &Load {
                routes: &Route::to_one(broker.port(), PARTITIONS),
                topic: TOPIC,
                batch,
                per_request: 1,
                total,
                stop: None,
            },
            &self.options,
        )
    }

    /// Empty directory to the first acknowledged record, and an idle broker.
    fn start(&mut self, variant: Variant) -> anyhow::Result<()> {
        const IDLE: Duration = Duration::from_secs(10);
        let spec = self.options.spec(variant)?;
        let begin;
        let broker = {
            let broker = Broker::spawn(&spec)?;
            begin = Instant::now();
            let batch = load::ready_batch(100, 100);
            // Everything is retried until it works, as a client would.
            proc::wait_for("first record", Duration::from_secs(60), || {
                let Ok(mut conn) = Conn::open(broker.port()) else {
                    return Ok(None);
                };
                if conn.create_topic(TOPIC, 1, variant.topic_configs()).is_err() {
                    return Ok(None);
                }
                let part = ProducePart { topic: TOPIC, partition: 0, batch: &batch };
                let result = conn.produce(&part, -1);
                Ok(matches!(result, Ok(r) if r.error == 0).then_some(()))
            })?;
            broker
        };
        self.add("exec to first produce acknowledged, ms", variant, begin.elapsed().as_secs_f64() * 1e3);
        let before = proc::cpu_seconds(broker.pid())?;
        std::thread::sleep(IDLE);
        self.add("CPU s in 10 idle s", variant, proc::cpu_seconds(broker.pid())? - before);
        self.add("resident MiB idle", variant, proc::rss_bytes(broker.pid())? as f64 / MIB);
        broker.kill9()
    }

    /// 128 KiB batches: produce, read warm, read cold.
    fn stream(&mut self, variant: Variant) -> anyhow::Result<()> {
        let broker = self.start_with_topic(variant)?;
        self.produce(&broker, 128 << 10, WARM_UP_GB)?;
        let dir = broker.spec.data_dir();
        let device = device_bytes(&dir)?;
        let meter = Meter::start(&broker)?;
        let done = self.produce(&broker, 128 << 10, 2.0)?;
        let used = meter.stop()?;
        self.judge("produce 128 KiB", variant, &used);
        let written = device_bytes(&dir)? - device;
        self.produced("produce 128 KiB", variant, &done, &used);
        self.add("device bytes per byte produced, 128 KiB", variant, written as f64 / done.values as f64);
        self.add("resident MiB after load", variant, proc::rss_bytes(broker.pid())? as f64 / MIB);
        self.consume("consume warm", &broker, variant)?;
        let spec = broker.spec.clone();
        broker.stop()?;
        drop_caches()?;
        let broker = Broker::start(&spec)?;
        drop_caches()?;
        self.consume("consume cold", &broker, variant)?;
        broker.stop().map(|_| ())
    }

    fn produced(&mut self, row: &str, variant: Variant, done: &load::Produced, used: &Used) {
        self.add(&format!("{row}, MB/s"), variant, done.values as f64 / 1e6 / done.wall.as_secs_f64());
        self.add(&format!("{row}, broker CPU s/GB"), variant, used.cpu / (done.values as f64 / GB));
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            self.add(&format!("{row}, saturated ack {name} ms"), variant, done.acks.value_at_quantile(q) as f64 / 1e3);
        }
    }

    fn consume(&mut self, row: &str, broker: &Broker, variant: Variant) -> anyhow::Result<()> {
        let meter = Meter::start(broker)?;
        let done = load::consume(broker.port(), TOPIC, PARTITIONS, &self.options)?;
        let used = meter.stop()?;
        self.judge(row, variant, &used);
        self.add(&format!("{row}, MB/s"), variant, done.bytes as f64 / 1e6 / done.wall.as_secs_f64());
        self.add(&format!("{row}, broker CPU s/GB"), variant, used.cpu / (done.bytes as f64 / GB));
        Ok(())
    }

    /// 16 KiB batches.
    fn small(&mut self, variant: Variant) -> anyhow::Result<()> {
        let broker = self.start_with_topic(variant)?;
        self.produce(&broker, 128 << 10, WARM_UP_GB)?;
        let meter = Meter::start(&broker)?;
        let done = self.produce(&broker, 16 << 10, 1.0)?;
        let used = meter.stop()?;
        self.judge("produce 16 KiB", variant, &used);
        self.produced("produce 16 KiB", variant, &done, &used);
        broker.kill9()
    }

    fn latency(&mut self, variant: Variant) -> anyhow::Result<()> {
        let length = Duration::from_secs_f64((30.0 * self.options.scale).max(3.0));
        let broker = self.start_with_topic(variant)?;
        let meter = Meter::start(&broker)?;
        let routes = Route::to_one(broker.port(), PARTITIONS);
        let done = latency::open_loop(&routes, TOPIC, 2_000, length, &self.options)?;
        let used = meter.stop()?;
        self.judge("latency", variant, &used);
        self.add("2,000 × 100 B per s, acked/s", variant, done.acked_per_second);
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            self.add(
                &format!("2,000 × 100 B per s, ack {name} ms"),
                variant,
                done.acks.value_at_quantile(q) as f64 / 1e3,
            );
        }
        self.add("2,000 × 100 B per s, broker CPU %", variant, used.cpu / used.wall * 100.0);
        broker.kill9()
    }

    /// Kafka's own tools.
    fn perf(&mut self, variant: Variant) -> anyhow::Result<()> {
        let broker = self.start_with_topic(variant)?;
        let records = self.options.bytes(2.0) / 1024;
        tools::producer_performance(&self.options, &broker.addr(), TOPIC, self.options.bytes(WARM_UP_GB) / 1024)?;
        let gigabytes = records as f64 * 1024.0 / GB;
        let before = proc::cpu_seconds(broker.pid())?;
        let rate = tools::producer_performance(&self.options, &broker.addr(), TOPIC, records)?;
        self.add("ProducerPerformance, MB/s", variant, rate);
        self.add(
            "ProducerPerformance, broker CPU s/GB",
            variant,
            (proc::cpu_seconds(broker.pid())? - before) / gigabytes,
        );
        let before = proc::cpu_seconds(broker.pid())?;
        let rate = tools::consumer_performance(&self.options, &broker.addr(), TOPIC, records)?;
        self.add("ConsumerPerformance, MB/s", variant, rate);
        self.add(
            "ConsumerPerformance, broker CPU s/GB",
            variant,
            (proc::cpu_seconds(broker.pid())? - before) / gigabytes,
        );
        broker.kill9()
    }

    fn partitions_3000(&mut self, variant: Variant) -> anyhow::Result<()> {
        self.many_partitions(variant, 3_000, true)
    }

    fn partitions_10000(&mut self, variant: Variant) -> anyhow::Result<()> {
        self.many_partitions(variant, 10_000, false)
    }

    fn many_partitions(&mut self, variant: Variant, count: i32, load: bool) -> anyhow::Result<()> {
        let row = |what: &str| format!("{count} partitions, {what}");
        let broker = Broker::start(&self.options.spec(variant)?)?;
        let idle = proc::settled_rss_bytes(broker.pid())?;
        let begin = Instant::now();
        let mut conn = Conn::open(broker.port())?;
        conn.create_and_wait(TOPIC, count, variant.topic_configs())?;
        self.add(&row("create until all lead, s"), variant, begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        conn.partitions_with_leader(TOPIC)?;
        self.add(&row("Metadata of all, ms"), variant, begin.elapsed().as_secs_f64() * 1e3);
        let grown = proc::settled_rss_bytes(broker.pid())?.saturating_sub(idle);
        self.add(&row("resident KiB per idle partition"), variant, grown as f64 / 1024.0 / f64::from(count));
        if load {
            self.produce_to_all(&broker, variant, count)?;
        }
        self.add(&row("resident MiB"), variant, proc::rss_bytes(broker.pid())? as f64 / MIB);
        self.add(&row("open files"), variant, proc::open_files(broker.pid())? as f64);
        let spec = broker.spec.clone();
        let took = broker.stop()?;
        self.add(&row("stop, s"), variant, took.as_secs_f64());
        let begin = Instant::now();
        let broker = Broker::start(&spec)?;
        let mut conn = Conn::open(broker.port())?;
        proc::wait_for("leaders after the restart", Duration::from_secs(120), || {
            Ok((conn.partitions_with_leader(TOPIC)? == count as usize).then_some(()))
        })?;
        self.add(&row("restart until all lead, s"), variant, begin.elapsed().as_secs_f64());
        if !load {
            let grown = proc::settled_rss_bytes(broker.pid())?.saturating_sub(idle);
            let each = grown as f64 / 1024.0 / f64::from(count);
            self.add(&row("resident KiB per idle partition after a restart"), variant, each);
        }
        broker.kill9()
    }

    fn produce_to_all(&mut self, broker: &Broker, variant: Variant, count: i32) -> anyhow::Result<()> {
        const PER_REQUEST: usize = 250;
        let routes = Route::to_one(broker.port(), count);
        let gigabytes = |n: f64| Load {
            routes: &routes,
            topic: TOPIC,
            batch: 1024,
            per_request: PER_REQUEST,
            total: self.options.bytes(n),
            stop: None,
        };
        load::produce(&gigabytes(0.1), &self.options)?;
        let meter = Meter::start(broker)?;
        let done = load::produce(&gigabytes(0.5), &self.options)?;
        let used = meter.stop()?;
        let row = format!("{count} partitions, produce 1 KiB batches");
        self.judge(&row, variant, &used);
        self.add(&format!("{row}, MB/s"), variant, done.values as f64 / 1e6 / done.wall.as_secs_f64());
        self.add(&format!("{row}, broker CPU s/GB"), variant, used.cpu / (done.values as f64 / GB));
        Ok(())
    }

    fn recovery_2gb(&mut self, variant: Variant) -> anyhow::Result<()> {
        self.recovery(variant, 2.0)
    }

    fn recovery_5gb(&mut self, variant: Variant) -> anyhow::Result<()> {
        self.recovery(variant, 5.0)
    }

    /// kill -9, then exec until every partition acknowledges a record.
    fn recovery(&mut self, variant: Variant, gigabytes: f64) -> anyhow::Result<()> {
        let broker = self.start_with_topic(variant)?;
        self.produce(&broker, 128 << 10, gigabytes)?;
        let spec = broker.spec.clone();
        broker.kill9()?;
        let broker = Broker::spawn(&spec)?;
        let begin = Instant::now();
        let batch = load::ready_batch(100, 100);
        for partition in 0..PARTITIONS {
            proc::wait_for("acknowledgement after the kill", Duration::from_secs(300), || {
                let part = ProducePart { topic: TOPIC, partition, batch: &batch };
                let result = Conn::open(broker.port()).and_then(|mut conn| conn.produce(&part, -1));
                Ok(matches!(result, Ok(r) if r.error == 0).then_some(()))
            })?;
        }
        let row = format!("kill -9 with {:.1} GB", gigabytes * self.options.scale);
        self.add(&format!("{row}, exec until all acknowledge, s"), variant, begin.elapsed().as_secs_f64());
        self.add(&format!("{row}, CPU s"), variant, proc::cpu_seconds(broker.pid())?);
        broker.kill9()
    }

    fn connections(&mut self, variant: Variant) -> anyhow::Result<()> {
        const COUNT: usize = 2_000;
        let broker = self.start_with_topic(variant)?;
        let (rss, cpu) = (proc::rss_bytes(broker.pid())?, proc::cpu_seconds(broker.pid())?);
        let mut open = Vec::with_capacity(COUNT);
        for _ in 0..COUNT {
            let mut conn = Conn::open(broker.port())?;
            conn.broker_count()?;
            open.push(conn);
        }
        let grown = proc::rss_bytes(broker.pid())?.saturating_sub(rss);
        self.add("2,000 idle connections, resident KiB each", variant, grown as f64 / 1024.0 / COUNT as f64);
        self.add(
            "2,000 idle connections, CPU ms to connect",
            variant,
            (proc::cpu_seconds(broker.pid())? - cpu) * 1e3 / COUNT as f64,
        );
        drop(open);
        broker.kill9()
    }

    /// Ten minutes of full load with a small retention: whether resident memory levels off.
    fn memory(&mut self, variant: Variant) -> anyhow::Result<()> {
        let length = 600.0 * self.options.scale;
        let spec = self.options.spec(variant)?.set("log.retention.check.interval.ms", "5000");
        let broker = Broker::start(&spec)?;
        let mut configs = variant.topic_configs().to_vec();
        configs.extend([("retention.bytes", "268435456"), ("segment.bytes", "134217728")]);
        Conn::open(broker.port())?.create_and_wait(TOPIC, PARTITIONS, &configs)?;
        let stop = AtomicBool::new(false);
        let (sampled, produced) = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| proc::sample_rss(broker.pid(), length, &stop));
            let load = || -> anyhow::Result<u64> {
                let mut produced = 0;
                while !sampler.is_finished() {
                    produced += self.produce(&broker, 128 << 10, 1.0)?.values;
                }
                Ok(produced)
            };
            let produced = load();
            stop.store(true, Ordering::Relaxed);
            (sampler.join().unwrap_or_default(), produced)
        });
        self.add("long load, GB produced", variant, produced? as f64 / GB);
        // The first fifth is two minutes of ten, the last one as well.
        let fifth = sampled.len() / 5;
        let largest = |part: &[u64]| part.iter().copied().max().unwrap_or(0) as f64 / MIB;
        self.add("long load, largest resident MiB in the first fifth", variant, largest(&sampled[..fifth]));
        self.add("long load, largest resident MiB in the last fifth", variant, largest(&sampled[4 * fifth..]));
        self.add("long load, largest resident MiB", variant, proc::peak_rss_bytes(broker.pid())? as f64 / MIB);
        broker.kill9()
    }
}
