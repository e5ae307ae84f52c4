//! Several broker processes that form one cluster, and what can be done to them: end, pause, cut off, fill up, slow
//! down. Loopback ports by default; with [`Plan::namespaces`] each node has a network of its own.
//! The same [`Plan`] starts Millrace or Apache Kafka.

mod admin;
mod clock;
mod disk;
pub mod failover;
pub mod features;
mod line;
mod net;
mod plan;

pub use admin::{NewTopic, PartitionView, Quorum};
pub use clock::Clock;
pub use disk::{BreakableDisk, Ramdisk, SlowDisk};
pub use net::{Net, Plane};
pub use plan::{NodePlan, Plan, Roles};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use crate::harness::{Broker, Dir, Peer, Spec, proc};
use crate::raw::Conn;

/// How long a whole cluster may take to form; three JVMs on two cores need most of it.
const FORM_LIMIT: Duration = Duration::from_secs(120);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long [`Cluster::ask`] goes from broker to broker.
const ASK_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

struct Node {
    spec: Spec,
    roles: Roles,
    disk: Option<Ramdisk>,
    clock: Option<Clock>,
    process: Option<Broker>,
    paused: bool,
    cut_off: bool,
    slow: Option<SlowDisk>,
}

/// A running cluster; everything it started, mounted and configured goes away with it, also in a panic.
pub struct Cluster {
    // Processes end before their networks and disks go.
    nodes: BTreeMap<i32, Node>,
    net: Option<Net>,
    peer: Peer,
    /// What ended processes printed that nobody should overlook.
    alarms: Vec<String>,
    _dir: Dir,
}

impl Cluster {
    /// Starts all nodes and waits until every broker names all brokers.
    pub fn start(plan: &Plan) -> anyhow::Result<Cluster> {
        let mut cluster = plan.lay_out()?;
        for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
            cluster.spawn(id)?;
        }
        cluster.wait_whole(FORM_LIMIT)?;
        Ok(cluster)
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn ids(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    pub fn brokers(&self) -> Vec<i32> {
        self.nodes.iter().filter(|(_, n)| n.roles.broker()).map(|(id, _)| *id).collect()
    }

    pub fn controllers(&self) -> Vec<i32> {
        self.nodes.iter().filter(|(_, n)| n.roles.controller()).map(|(id, _)| *id).collect()
    }

    /// `host:port` of all brokers.
    pub fn bootstrap(&self) -> String {
        self.brokers().iter().map(|id| self.addr(*id).to_string()).collect::<Vec<_>>().join(",")
    }

    /// The listener for clients. Panics if there is no such node: ids come from [`Cluster::ids`].
    pub fn addr(&self, id: i32) -> SocketAddr {
        self.nodes[&id].spec.socket()
    }

    pub fn spec(&self, id: i32) -> &Spec {
        &self.nodes[&id].spec
    }

    /// What the next start of a node uses.
    pub fn spec_mut(&mut self, id: i32) -> anyhow::Result<&mut Spec> {
        Ok(&mut self.node_mut(id)?.spec)
    }

    pub fn pid(&self, id: i32) -> Option<u32> {
        self.nodes.get(&id)?.process.as_ref().map(Broker::pid)
    }

    pub fn pids(&self) -> Vec<u32> {
        self.ids().into_iter().filter_map(|id| self.pid(id)).collect()
    }

    /// Whether the node has a process that is neither paused nor cut off.
    pub fn is_well(&self, id: i32) -> bool {
        self.nodes.get(&id).is_some_and(|n| n.process.is_some() && !n.paused && !n.cut_off)
    }

    fn node_mut(&mut self, id: i32) -> anyhow::Result<&mut Node> {
        self.nodes.get_mut(&id).with_context(|| format!("no node {id}"))
    }

    fn process(&self, id: i32) -> anyhow::Result<&Broker> {
        self.nodes.get(&id).and_then(|n| n.process.as_ref()).with_context(|| format!("node {id} does not run"))
    }

    /// Starts the process of a node and returns at once.
    pub fn spawn(&mut self, id: i32) -> anyhow::Result<()> {
        let node = self.node_mut(id)?;
        anyhow::ensure!(node.process.is_none(), "node {id} runs already");
        node.process = Some(Broker::spawn(&node.spec)?);
        Ok(())
    }

    /// Starts a node that must not start; returns what it printed until it ended by itself.
    pub fn refused(&mut self, id: i32, limit: Duration) -> anyhow::Result<String> {
        let node = self.node_mut(id)?;
        anyhow::ensure!(node.process.is_none(), "node {id} runs already");
        let mut process = Broker::spawn(&node.spec)?;
        let begin = Instant::now();
        while process.is_running() {
            anyhow::ensure!(begin.elapsed() < limit, "node {id} goes on:\n{}", process.log_text());
            std::thread::sleep(POLL);
        }
        Ok(process.log_text())
    }

    /// Starts a node and waits until a broker names it.
    pub fn start_node(&mut self, id: i32) -> anyhow::Result<()> {
        self.spawn(id)?;
        self.wait_up(id)
    }

    /// SIGTERM and a wait for the end; returns how long it took.
    pub fn stop(&mut self, id: i32) -> anyhow::Result<Duration> {
        self.resume(id)?;
        let broker = self.node_mut(id)?.process.take().with_context(|| format!("node {id} does not run"))?;
        self.note_alarms(id, &broker);
        broker.stop()
    }

    /// SIGTERM, a wait for the end, a start and a wait until a broker names the node.
    pub fn restart(&mut self, id: i32) -> anyhow::Result<()> {
        self.stop(id)?;
        self.start_node(id)
    }

    /// SIGKILL and a wait until the process is gone.
    pub fn kill9(&mut self, id: i32) -> anyhow::Result<()> {
        let node = self.node_mut(id)?;
        node.paused = false;
        node.slow = None;
        let broker = node.process.take().with_context(|| format!("node {id} does not run"))?;
        self.note_alarms(id, &broker);
        broker.kill9()
    }

    /// SIGSTOP: the process stands still, its connections stay.
    pub fn pause(&mut self, id: i32) -> anyhow::Result<()> {
        proc::signal(self.process(id)?.pid(), Signal::STOP)?;
        self.node_mut(id)?.paused = true;
        Ok(())
    }

    /// SIGCONT; no effect on a node that is not paused.
    pub fn resume(&mut self, id: i32) -> anyhow::Result<()> {
        if self.node_mut(id)?.paused {
            proc::signal(self.process(id)?.pid(), Signal::CONT)?;
            self.node_mut(id)?.paused = false;
        }
        Ok(())
    }

    fn net(&self) -> anyhow::Result<&Net> {
        self.net.as_ref().context("the nodes share one network: the plan needs namespaces()")
    }

    pub fn has_net(&self) -> bool {
        self.net.is_some()
    }

    /// Drops silently what `from` sends to `to`; the other direction stays open.
    pub fn cut(&mut self, from: i32, to: i32, plane: Plane) -> anyhow::Result<()> {
        self.net()?.cut(from, to, plane)
    }

    /// Drops silently everything that a node sends or is sent, also by clients.
    pub fn isolate(&mut self, id: i32) -> anyhow::Result<()> {
        self.net()?.isolate(id)?;
        self.node_mut(id)?.cut_off = true;
        Ok(())
    }

    /// Loses a part of the packets that a node is sent.
    pub fn lose(&mut self, id: i32, percent: u32) -> anyhow::Result<()> {
        self.net()?.lose(id, percent)
    }

    /// Delays what a node sends, give or take a half, in a plan with [`Plan::lines`].
    pub fn delay(&mut self, id: i32, delay: Duration) -> anyhow::Result<()> {
        self.net()?.delay(id, delay)
    }

    /// Ends all cuts, losses and delays.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        if let Some(net) = &self.net {
            net.heal()?;
        }
        self.nodes.values_mut().for_each(|n| n.cut_off = false);
        Ok(())
    }

    /// The data disk of a node, in a plan with [`Plan::ramdisk`].
    pub fn disk(&self, id: i32) -> anyhow::Result<&Ramdisk> {
        self.nodes.get(&id).and_then(|n| n.disk.as_ref()).context("the plan has no ramdisk")
    }

    /// Lets the process write only so many bytes per second until [`Cluster::normal_disk`]. `false` if this machine
    /// cannot do it.
    pub fn slow_disk(&mut self, id: i32, bytes_per_second: u64) -> anyhow::Result<bool> {
        let pid = self.process(id)?.pid();
        let node = self.node_mut(id)?;
        node.slow = SlowDisk::throttle(pid, node.spec.dir.path(), bytes_per_second)?;
        Ok(node.slow.is_some())
    }

    pub fn normal_disk(&mut self, id: i32) -> anyhow::Result<()> {
        self.node_mut(id)?.slow = None;
        Ok(())
    }

    /// Sets the wall clock of a node so many seconds ahead of the machine's, in a plan with [`Plan::clocks`].
    pub fn set_clock(&mut self, id: i32, seconds: i64) -> anyhow::Result<()> {
        let clock = self.nodes.get(&id).and_then(|n| n.clock.as_ref());
        clock.context("the plan has no clocks")?.set(seconds)
    }

    /// Every clock is right again.
    pub fn right_clocks(&mut self) -> anyhow::Result<()> {
        self.nodes.values().filter_map(|n| n.clock.as_ref()).try_for_each(|clock| clock.set(0))
    }

    /// A connection to one broker, with short limits.
    pub fn connect(&self, id: i32) -> anyhow::Result<Conn> {
        Conn::connect_within(self.addr(id), CONNECT_LIMIT, ANSWER_LIMIT)
    }

    /// A connection to one broker, for what may take long.
    pub fn connect_patiently(&self, id: i32) -> anyhow::Result<Conn> {
        Conn::connect(self.addr(id))
    }

    /// Asks the brokers that are well, one after another and again, until one answers.
    pub fn ask<T>(&self, mut question: impl FnMut(&mut Conn) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let begin = Instant::now();
        let mut last = anyhow::anyhow!("no broker is well");
        loop {
            for id in self.brokers().into_iter().filter(|id| self.is_well(*id)) {
                match self.connect(id).and_then(|mut conn| question(&mut conn)) {
                    Ok(answer) => return Ok(answer),
                    Err(e) => last = e,
                }
            }
            if begin.elapsed() > ASK_LIMIT {
                return Err(last.context(format!("no broker answered within {ASK_LIMIT:?}")));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a node that was started is named by a broker.
    pub fn wait_up(&mut self, id: i32) -> anyhow::Result<()> {
        if !self.nodes[&id].roles.broker() {
            return self.wait_voter(id);
        }
        self.wait("a started broker", FORM_LIMIT, |cluster| {
            let answer = cluster.connect(id).and_then(|mut conn| conn.brokers());
            Ok(matches!(answer, Ok(named) if named.contains(&id)).then_some(()))
        })
    }

    /// A controller alone serves no client: it is up when the leader of the quorum hears from it.
    fn wait_voter(&mut self, id: i32) -> anyhow::Result<()> {
        self.wait("a started controller", FORM_LIMIT, |cluster| {
            let quorum = cluster.ask(|conn| conn.quorum())?;
            let end = quorum.voters.iter().map(|(_, end)| *end).max().unwrap_or(0);
            const BEHIND: i64 = 50;
            let near = quorum.voters.iter().any(|(voter, at)| *voter == id && *at >= 0 && at + BEHIND >= end);
            Ok((near && quorum.leader >= 0).then_some(()))
        })
    }

    /// Waits until every broker that runs names all brokers that run.
    pub fn wait_whole(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.wait("every broker named by every broker", limit, |cluster| {
            let up: Vec<i32> = cluster.brokers().into_iter().filter(|id| cluster.is_well(*id)).collect();
            let whole = up.iter().all(|id| {
                let named = cluster.connect(*id).and_then(|mut conn| conn.brokers());
                named.is_ok_and(|named| up.iter().all(|id| named.contains(id)))
            });
            Ok(whole.then_some(()))
        })
    }

    /// Waits for something, and fails early when a process that should run has ended.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut(&mut Cluster) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let begin = Instant::now();
        loop {
            if let Some(found) = ready(self)? {
                return Ok(found);
            }
            self.fail_if_dead()?;
            anyhow::ensure!(begin.elapsed() < limit, "{what}: not within {limit:?}\n{}", self.logs());
            std::thread::sleep(POLL);
        }
    }

    /// Fails when a process has ended that nobody ended.
    pub fn fail_if_dead(&mut self) -> anyhow::Result<()> {
        for (id, node) in &mut self.nodes {
            if let Some(process) = &mut node.process
                && !process.is_running()
            {
                anyhow::bail!("node {id} ended by itself\n{}", process.log_text());
            }
        }
        Ok(())
    }

    /// Nodes whose processes have ended by themselves; they can be started again.
    pub fn reap(&mut self) -> anyhow::Result<Vec<i32>> {
        let mut ended = Vec::new();
        for id in self.ids() {
            let node = self.node_mut(id)?;
            if node.process.as_mut().is_some_and(|p| !p.is_running())
                && let Some(broker) = node.process.take()
            {
                self.note_alarms(id, &broker);
                ended.push(id);
            }
        }
        Ok(ended)
    }

    /// What every node printed since it was started.
    pub fn log_texts(&self) -> String {
        self.nodes.values().filter_map(|n| Some(n.process.as_ref()?.log_text())).collect()
    }

    /// The last lines of every node's log.
    pub fn logs(&self) -> String {
        const LINES: usize = 15;
        let mut out = String::new();
        for (id, node) in &self.nodes {
            let text = node.process.as_ref().map(Broker::log_text).unwrap_or_else(|| "does not run".to_owned());
            let lines: Vec<&str> = text.lines().collect();
            out += &format!("--- node {id}\n{}\n", lines[lines.len().saturating_sub(LINES)..].join("\n"));
        }
        out
    }

    fn note_alarms(&mut self, id: i32, broker: &Broker) {
        self.alarms.extend(alarms(id, broker));
    }

    /// Panics and errors that nodes printed so far: faults explain a WARN, they explain neither of these.
    pub fn alarms(&self) -> Vec<String> {
        let running = self.nodes.iter().filter_map(|(id, n)| Some((*id, n.process.as_ref()?)));
        self.alarms.iter().cloned().chain(running.flat_map(|(id, b)| alarms(id, b))).collect()
    }
}

fn alarms(id: i32, broker: &Broker) -> Vec<String> {
    if broker.spec.peer == Peer::Kafka {
        return Vec::new();
    }
    let text = broker.log_text();
    let bad = |line: &&str| line.contains("panicked at") || line.contains(" ERROR ");
    text.lines().filter(bad).map(|line| format!("node {id}: {line}")).collect()
}
