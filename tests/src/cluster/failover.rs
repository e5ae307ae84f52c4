//! How long one producer waits when something happens to the node that it writes to: the longest gap between two
//! acknowledgements, from just before the blow until the producer has long been served again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Cluster;
use crate::bench::load::ready_batch;
use crate::raw::calls::produce_body;
use crate::raw::{Conn, ProducePart};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// kill -9 of the partition's leader, which is not the active controller.
    KillLeader,
    /// kill -9 of the active controller, which does not lead the partition.
    KillController,
    /// kill -9 of a node that is both.
    KillBoth,
    /// Everything that the partition's leader sends and is sent vanishes; needs namespaces.
    CutOffLeader,
    /// The same with a node that is the active controller as well; needs namespaces.
    CutOffBoth,
    /// Every node in turn is stopped by SIGTERM and started again, with a wait for all replicas in between.
    RollingRestart,
}

impl Blow {
    pub const ALL: [Blow; 6] = [
        Blow::KillLeader,
        Blow::KillController,
        Blow::KillBoth,
        Blow::CutOffLeader,
        Blow::CutOffBoth,
        Blow::RollingRestart,
    ];

    /// Whether it takes networks of the nodes' own.
    pub fn cuts(self) -> bool {
        matches!(self, Blow::CutOffLeader | Blow::CutOffBoth)
    }

    pub fn name(self) -> &'static str {
        match self {
            Blow::KillLeader => "leader killed",
            Blow::KillController => "active controller killed",
            Blow::KillBoth => "leader and active controller killed",
            Blow::CutOffLeader => "leader cut off silently",
            Blow::CutOffBoth => "leader and active controller cut off silently",
            Blow::RollingRestart => "controlled rolling restart",
        }
    }
}

/// What one producer saw.
#[derive(Clone, Debug)]
pub struct Gap {
    /// Between two acknowledgements.
    pub longest: Duration,
    /// The longest while each node in turn was restarted; one entry for the other blows.
    pub each: Vec<Duration>,
    /// Answers with an error or lost connections; a rolling restart should have none but NOT_LEADER_OR_FOLLOWER, which
    /// a client follows by itself.
    pub errors: Vec<String>,
}

const LIMIT: Duration = Duration::from_secs(90);
/// How long the producer is watched after it is served again.
const CALM: Duration = Duration::from_secs(2);
/// A client with a request timeout of its own gives up a silent leader; new ones ask Metadata meanwhile.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
const CONNECT_LIMIT: Duration = Duration::from_millis(200);
const NOT_LEADER: i16 = 6;
const PAUSE: Duration = Duration::from_millis(2);

/// Strikes once, measures, and brings the cluster back. The topic must exist with all replicas in sync; its partition 0
/// is written to. Combined roles for [`Blow::KillBoth`] and [`Blow::CutOffBoth`].
pub fn gap(cluster: &mut Cluster, topic: &str, blow: Blow) -> anyhow::Result<Gap> {
    let victim = arrange(cluster, topic, blow)?;
    let stop = AtomicBool::new(false);
    let addrs: Vec<_> = cluster.brokers().into_iter().map(|id| (id, cluster.addr(id))).collect();
    let seen = std::thread::scope(|scope| {
        let producer = scope.spawn(|| Producer { addrs, topic, stop: &stop }.run());
        let struck = strike(cluster, topic, blow, victim);
        stop.store(true, Ordering::Relaxed);
        let seen = producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))?;
        struck.map(|moments| (seen, moments))
    });
    let back = restore(cluster, topic, blow, victim);
    let ((acks, errors), moments) = seen?;
    back?;
    let gaps: Vec<(Instant, Duration)> = acks.windows(2).map(|w| (w[0], w[1] - w[0])).collect();
    let within = |from: Instant, to: Instant| {
        gaps.iter().filter(|(at, gap)| *at + *gap >= from && *at <= to).map(|(_, gap)| *gap).max().unwrap_or_default()
    };
    let each: Vec<Duration> = moments.windows(2).map(|w| within(w[0], w[1])).collect();
    Ok(Gap { longest: each.iter().copied().max().unwrap_or_default(), each, errors })
}

/// Brings leader and active controller where the blow wants them, and names the node that it meets.
fn arrange(cluster: &mut Cluster, topic: &str, blow: Blow) -> anyhow::Result<i32> {
    cluster.wait_in_sync(topic, LIMIT)?;
    let active = cluster.active_controller()?;
    let leader = cluster.leader(topic, 0)?;
    let wanted = match blow {
        Blow::KillBoth | Blow::CutOffBoth => cluster.brokers().into_iter().find(|id| *id == active),
        Blow::KillLeader | Blow::KillController | Blow::CutOffLeader if leader == active => {
            cluster.brokers().into_iter().find(|id| *id != active)
        }
        _ => Some(leader),
    };
    let wanted = wanted.context("the active controller is no broker")?;
    if leader != wanted {
        lead(cluster, topic, wanted)?;
    }
    Ok(if blow == Blow::KillController { active } else { wanted })
}

/// Lets a broker lead partition 0.
pub fn lead(cluster: &mut Cluster, topic: &str, broker: i32) -> anyhow::Result<()> {
    let views = cluster.leaders(topic)?;
    let mut replicas = views.first().context("no partition")?.replicas.clone();
    replicas.sort_by_key(|id| *id != broker);
    let error = cluster.ask(|conn| conn.reassign(topic, 0, Some(&replicas)))?;
    anyhow::ensure!(error == 0, "reorder the replicas of {topic}: error {error}");
    cluster.wait("another leader", LIMIT, |cluster| {
        cluster.ask(|conn| conn.elect_preferred())?;
        Ok((cluster.leader(topic, 0)? == broker).then_some(()))
    })?;
    cluster.wait_in_sync(topic, LIMIT)
}

/// Returns the moments between which gaps are looked for.
fn strike(cluster: &mut Cluster, topic: &str, blow: Blow, victim: i32) -> anyhow::Result<Vec<Instant>> {
    const BEFORE: Duration = Duration::from_millis(700);
    std::thread::sleep(BEFORE);
    let mut moments = vec![Instant::now()];
    match blow {
        Blow::KillLeader | Blow::KillController | Blow::KillBoth => cluster.kill9(victim)?,
        Blow::CutOffLeader | Blow::CutOffBoth => cluster.isolate(victim)?,
        Blow::RollingRestart => {
            for id in cluster.ids() {
                cluster.restart(id)?;
                cluster.wait_in_sync(topic, LIMIT)?;
                std::thread::sleep(CALM / 4);
                moments.push(Instant::now());
            }
            return Ok(moments);
        }
    }
    // The victim's partition has another leader, and some time has passed with it.
    cluster.wait("a leader that is well", LIMIT, |cluster| {
        let leader = cluster.leaders(topic)?.first().map_or(-1, |v| v.leader);
        Ok((leader >= 0 && cluster.is_well(leader)).then_some(()))
    })?;
    std::thread::sleep(CALM);
    cluster.active_controller()?;
    std::thread::sleep(CALM);
    moments.push(Instant::now());
    Ok(moments)
}

fn restore(cluster: &mut Cluster, topic: &str, blow: Blow, victim: i32) -> anyhow::Result<()> {
    match blow {
        Blow::CutOffLeader | Blow::CutOffBoth => cluster.heal()?,
        Blow::RollingRestart => {}
        Blow::KillLeader | Blow::KillController | Blow::KillBoth => cluster.start_node(victim)?,
    }
    // One that was cut off still believes what was true before, and would tell the next round so.
    cluster.wait("the same leader named by all", LIMIT, |cluster| {
        let named =
            cluster.brokers().into_iter().map(|id| Ok(cluster.connect(id)?.partitions(topic)?.first().cloned()));
        let Ok(views) = named.collect::<anyhow::Result<Vec<_>>>() else { return Ok(None) };
        Ok(views.windows(2).all(|pair| pair[0] == pair[1]).then_some(()))
    })?;
    cluster.wait_in_sync(topic, LIMIT)
}

/// One producer with one request at a time, which goes where Metadata sends it.
struct Producer<'a> {
    addrs: Vec<(i32, std::net::SocketAddr)>,
    topic: &'a str,
    stop: &'a AtomicBool,
}

impl Producer<'_> {
    /// The moment of each acknowledgement, and what went wrong.
    fn run(&self) -> (Vec<Instant>, Vec<String>) {
        let (mut acks, mut errors) = (Vec::new(), Vec::new());
        let batch = ready_batch(100, 100);
        let body = produce_body(&ProducePart { topic: self.topic, partition: 0, batch: &batch }, -1, 30_000);
        let mut turn = 0;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            let Some(mut conn) = self.leader(turn) else {
                std::thread::sleep(PAUSE);
                continue;
            };
            while !self.stop.load(Ordering::Relaxed) {
                match send(&mut conn, &body) {
                    Ok(0) => acks.push(Instant::now()),
                    Ok(error) => {
                        if error != NOT_LEADER {
                            errors.push(format!("error {error}"));
                        }
                        break;
                    }
                    Err(e) => {
                        errors.push(format!("{e:#}"));
                        break;
                    }
                }
                std::thread::sleep(PAUSE);
            }
        }
        // Or a producer that is never served again would seem to have waited for nothing.
        acks.push(Instant::now());
        (acks, errors)
    }

    fn leader(&self, turn: usize) -> Option<Conn> {
        let (_, addr) = self.addrs[turn % self.addrs.len()];
        let mut conn = Conn::connect_within(addr, CONNECT_LIMIT, ANSWER_LIMIT).ok()?;
        let leader = conn.partitions(self.topic).ok()?.first()?.leader;
        let (_, addr) = self.addrs.iter().find(|(id, _)| *id == leader)?;
        Conn::connect_within(*addr, CONNECT_LIMIT, ANSWER_LIMIT).ok()
    }
}

fn send(conn: &mut Conn, body: &[u8]) -> anyhow::Result<i16> {
    use crate::raw::calls::{PRODUCE_VERSION, produce_answer};
    let answer = conn.call(crate::raw::key::PRODUCE, PRODUCE_VERSION, body)?;
    Ok(produce_answer(&answer)?.error)
}
