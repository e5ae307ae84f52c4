//! The measurements of three nodes with combined roles: RF 3, min ISR 2, Millrace or Apache Kafka.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::load::{self, Load, PARTITIONS, Route};
use super::scenarios::{Bench, Row};
use super::{GB, MIB, Meter, Variant, latency};
use crate::cluster::failover::{self, Blow};
use crate::cluster::{Cluster, NewTopic, Plan};
use crate::harness::{Peer, proc};

const TOPIC: &str = "bench";
const NODES: i32 = 3;
const FACTOR: i16 = 3;
const BATCH: usize = 128 << 10;
/// Connections of the light client to each broker.
const CONNECTIONS: usize = 2;
/// Longest wait for something that takes seconds when it works.
const LIMIT: Duration = Duration::from_secs(120);

/// Names for the command line, and what they measure.
pub const ROWS: [Row; 11] = [
    ("cluster-idle", Bench::cluster_idle),
    ("cluster-stream", Bench::cluster_stream),
    ("cluster-latency", Bench::cluster_latency),
    ("cluster-3000", Bench::cluster_3000),
    ("cluster-catch-up", Bench::cluster_catch_up),
    ("cluster-gap-leader", |bench, variant| bench.gaps(variant, Blow::KillLeader, 20)),
    ("cluster-gap-controller", |bench, variant| bench.gaps(variant, Blow::KillController, 10)),
    ("cluster-gap-both", |bench, variant| bench.gaps(variant, Blow::KillBoth, 10)),
    ("cluster-gap-cut", |bench, variant| bench.gaps(variant, Blow::CutOffLeader, 5)),
    ("cluster-gap-cut-both", |bench, variant| bench.gaps(variant, Blow::CutOffBoth, 5)),
    ("cluster-gap-rolling", |bench, variant| bench.gaps(variant, Blow::RollingRestart, 3)),
];

/// A few rounds are enough to know a wait of many seconds.
const KAFKA_ROUNDS: usize = 3;

impl Bench {
    fn plan(&self, variant: Variant) -> Plan {
        let plan = Plan::combined(variant.peer(), NODES);
        match variant {
            Variant::MillraceOs => plan.set("flush.policy", "os"),
            Variant::Millrace | Variant::Kafka | Variant::KafkaFsync => plan,
        }
    }

    fn start_cluster(&self, variant: Variant) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::start(&self.plan(variant))?;
        cluster.create_topic(TOPIC, PARTITIONS, FACTOR, variant.topic_configs())?;
        Ok(cluster)
    }

    /// Three processes that have formed a cluster and serve nobody.
    fn cluster_idle(&mut self, variant: Variant) -> anyhow::Result<()> {
        const IDLE: Duration = Duration::from_secs(10);
        let begin = Instant::now();
        let cluster = Cluster::start(&self.plan(variant))?;
        self.add("3 nodes, exec until every broker names all, s", variant, begin.elapsed().as_secs_f64());
        std::thread::sleep(IDLE / 2);
        let meter = Meter::of(cluster.pids())?;
        std::thread::sleep(IDLE);
        self.add("3 nodes, CPU s in 10 idle s (sum)", variant, meter.stop()?.cpu);
        let mut largest = 0;
        for pid in cluster.pids() {
            largest = largest.max(proc::settled_rss_bytes(pid)?);
        }
        self.add("3 nodes, resident MiB of the largest idle node", variant, largest as f64 / MIB);
        Ok(())
    }

    /// 128 KiB batches to all leaders.
    fn cluster_stream(&mut self, variant: Variant) -> anyhow::Result<()> {
        let cluster = self.start_cluster(variant)?;
        let routes = routes(&cluster)?;
        let load = |total| Load { routes: &routes, topic: TOPIC, batch: BATCH, per_request: 1, total, stop: None };
        load::produce(&load(self.options.bytes(0.3)), &self.options)?;
        let meter = Meter::of(cluster.pids())?;
        let done = load::produce(&load(self.options.bytes(1.0)), &self.options)?;
        let used = meter.stop()?;
        let row = |what: &str| format!("RF 3, produce 128 KiB, {what}");
        self.judge("RF 3, produce 128 KiB", variant, &used);
        self.add(&row("MB/s"), variant, done.values as f64 / 1e6 / done.wall.as_secs_f64());
        self.add(&row("sum of broker CPU s/GB"), variant, used.cpu / (done.values as f64 / GB));
        for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
            let ms = done.acks.value_at_quantile(q) as f64 / 1e3;
            self.add(&row(&format!("saturated ack {name} ms")), variant, ms);
        }
        let resident: u64 = cluster.pids().into_iter().map(proc::rss_bytes).sum::<anyhow::Result<u64>>()?;
        self.add(&row("resident MiB after it (sum)"), variant, resident as f64 / MIB);
        Ok(())
    }

    fn cluster_latency(&mut self, variant: Variant) -> anyhow::Result<()> {
        const RATE: u32 = 1_000;
        let length = Duration::from_secs_f64((30.0 * self.options.scale).max(3.0));
        let cluster = self.start_cluster(variant)?;
        let mut routes = routes(&cluster)?;
        routes.dedup_by_key(|route| route.addr);
        latency::open_loop(&routes, TOPIC, RATE, length / 3, &self.options)?;
        let meter = Meter::of(cluster.pids())?;
        let done = latency::open_loop(&routes, TOPIC, RATE, length, &self.options)?;
        let used = meter.stop()?;
        self.judge("RF 3, latency", variant, &used);
        self.add("RF 3, 1,000 × 100 B per s, acked/s", variant, done.acked_per_second);
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let ms = done.acks.value_at_quantile(q) as f64 / 1e3;
            self.add(&format!("RF 3, 1,000 × 100 B per s, ack {name} ms"), variant, ms);
        }
        self.add("RF 3, 1,000 × 100 B per s, brokers' CPU %", variant, used.cpu / used.wall * 100.0);
        Ok(())
    }

    /// A topic of 3,000 partitions that one broker leads, and the end of that broker.
    fn cluster_3000(&mut self, variant: Variant) -> anyhow::Result<()> {
        const COUNT: i32 = 3_000;
        let mut cluster = Cluster::start(&self.plan(variant))?;
        let active = cluster.active_controller()?;
        let victim = cluster.brokers().into_iter().find(|id| *id != active).context("no second broker")?;
        let replicas = led_by(&cluster, victim);
        let begin = Instant::now();
        let topic = NewTopic {
            name: TOPIC,
            partitions: COUNT,
            replicas: FACTOR,
            assignment: vec![replicas; COUNT as usize],
            configs: variant.topic_configs().to_vec(),
        };
        let error = cluster.connect_patiently(active)?.create(&topic)?;
        anyhow::ensure!(error == 0, "create {COUNT} partitions: error {error}");
        wait_led(&mut cluster, COUNT, |leader| leader >= 0)?;
        self.add("3 nodes, create 3,000 partitions until all lead, s", variant, begin.elapsed().as_secs_f64());
        cluster.wait_in_sync(TOPIC, LIMIT)?;
        let begin = Instant::now();
        cluster.kill9(victim)?;
        wait_led(&mut cluster, COUNT, |leader| leader >= 0 && leader != victim)?;
        let took = begin.elapsed().as_secs_f64();
        self.add("3 nodes, leader of 3,000 killed until all have another, s", variant, took);
        Ok(())
    }

    /// A node comes back with nothing of a topic while producers write to it.
    fn cluster_catch_up(&mut self, variant: Variant) -> anyhow::Result<()> {
        const BEFORE: Duration = Duration::from_secs(10);
        let gigabytes = 5.0 * self.options.scale;
        let mut cluster = Cluster::start(&self.plan(variant))?;
        let active = cluster.active_controller()?;
        let fresh = cluster.brokers().into_iter().find(|id| *id != active).context("no second broker")?;
        let leaders: Vec<i32> = cluster.brokers().into_iter().filter(|id| *id != fresh).collect();
        let assignment = (0..PARTITIONS as usize).map(|n| led_by(&cluster, leaders[n % leaders.len()])).collect();
        let configs = variant.topic_configs().to_vec();
        cluster.create(&NewTopic { name: TOPIC, partitions: PARTITIONS, replicas: FACTOR, assignment, configs })?;
        cluster.stop(fresh)?;
        let routes = routes(&cluster)?;
        let total = (gigabytes * GB) as u64;
        let load = Load { routes: &routes, topic: TOPIC, batch: BATCH, per_request: 1, total, stop: None };
        load::produce(&load, &self.options).with_context(|| cluster.logs())?;
        let alone = self.run_for(&mut cluster, &load, |_| std::thread::sleep(BEFORE))?;
        let held = cluster.connect(leaders[0])?.log_bytes(TOPIC)?;
        let begin = Instant::now();
        let mut complete = false;
        let during = self.run_for(&mut cluster, &load, |cluster| {
            complete = cluster.start_node(fresh).and_then(|()| cluster.wait_in_sync(TOPIC, LIMIT * 2)).is_ok();
        })?;
        let took = begin.elapsed().as_secs_f64();
        let got = cluster.connect(fresh)?.log_bytes(TOPIC)?;
        let row = |what: &str| format!("follower catches up {gigabytes:.1} GB, {what}");
        if !complete {
            let what = format!("not in sync within {took:.0} s, {got} of {held} bytes and what came meanwhile");
            self.report.noisy.push(format!("{} on {}: {what}", row("result"), variant.name()));
        }
        self.add(&row("MB/s"), variant, got as f64 / 1e6 / took);
        self.add(&row("producers before, MB/s"), variant, alone);
        self.add(&row("producers meanwhile, MB/s"), variant, during);
        Ok(())
    }

    /// Produces while `work` runs, but no more than four times what the load is for: work that never ends must not fill
    /// the disk. Returns MB/s.
    fn run_for(&self, cluster: &mut Cluster, load: &Load<'_>, work: impl FnOnce(&mut Cluster)) -> anyhow::Result<f64> {
        let stop = AtomicBool::new(false);
        let load = Load { total: load.total * 4, stop: Some(&stop), ..*load };
        let options = &self.options;
        let done = std::thread::scope(|scope| {
            let producers = scope.spawn(|| load::produce(&load, options));
            work(cluster);
            stop.store(true, Ordering::Relaxed);
            producers.join().map_err(|_| anyhow::anyhow!("the producers panicked"))?
        })?;
        Ok(done.values as f64 / 1e6 / done.wall.as_secs_f64())
    }

    /// The longest gap between two acknowledgements of one producer, again and again.
    fn gaps(&mut self, variant: Variant, blow: Blow, rounds: usize) -> anyhow::Result<()> {
        let rounds = if variant.peer() == Peer::Kafka { rounds.min(KAFKA_ROUNDS) } else { rounds };
        let rounds = ((rounds as f64 * self.options.scale).round() as usize).max(1);
        let plan = self.plan(variant);
        let mut cluster = Cluster::start(&if blow.cuts() { plan.namespaces() } else { plan })?;
        cluster.create_topic(TOPIC, 1, FACTOR, variant.topic_configs())?;
        let row = format!("longest gap between acks, {}, s", blow.name());
        for round in 0..rounds {
            let gap =
                failover::gap(&mut cluster, TOPIC, blow).with_context(|| format!("round {} of {rounds}", round + 1))?;
            gap.each.iter().for_each(|each| self.add(&row, variant, each.as_secs_f64()));
            if blow == Blow::RollingRestart {
                let errors = gap.errors.len();
                self.add("errors at the producer in a rolling restart", variant, errors as f64);
                gap.errors.iter().take(5).for_each(|e| eprintln!("    {e}"));
            }
        }
        Ok(())
    }
}

/// All brokers, `leader` first.
fn led_by(cluster: &Cluster, leader: i32) -> Vec<i32> {
    let mut ids = cluster.brokers();
    ids.sort_by_key(|id| *id != leader);
    ids
}

/// Connections to each broker that leads something.
fn routes(cluster: &Cluster) -> anyhow::Result<Vec<Route>> {
    let views = cluster.leaders(TOPIC)?;
    let mut out = Vec::new();
    for id in cluster.brokers() {
        let led: Vec<i32> = views.iter().filter(|p| p.leader == id).map(|p| p.index).collect();
        for first in 0..CONNECTIONS.min(led.len()) {
            let mut partitions = led.clone();
            partitions.rotate_left(first);
            out.push(Route { addr: cluster.addr(id), partitions });
        }
    }
    anyhow::ensure!(!out.is_empty(), "nobody leads");
    Ok(out)
}

/// Waits until the leaders of all partitions are as wanted.
fn wait_led(cluster: &mut Cluster, count: i32, fine: impl Fn(i32) -> bool) -> anyhow::Result<()> {
    cluster.wait("leaders of all partitions", LIMIT, |cluster| {
        let views = cluster.leaders(TOPIC)?;
        Ok((views.len() == count as usize && views.iter().all(|p| fine(p.leader))).then_some(()))
    })
}
