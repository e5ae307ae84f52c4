//! Things go wrong, and right again.

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind, NewTopic, Reassignment, TopicRef};
use millrace_metadata::{Command, ConfigResource, NodeId};

use millrace_store::MemoryDisk;

use crate::check::Violation;
use crate::net::Addr;
use crate::plan::{Fault, Peer, TopicPlan};
use crate::world::{Event, World};

/// The end of something that went wrong.
#[derive(Debug)]
pub enum Undo {
    Start(NodeId),
    /// The controlled shutdown of this process took too long: it ends all the same.
    Stopped {
        node: NodeId,
        boot: u32,
    },
    Heal(Vec<(Addr, Addr)>),
    Lag(NodeId),
    Disk(NodeId),
    FreeDisk(NodeId),
    Loss,
    Controller,
    Crash(NodeId),
}

impl World {
    /// All that is planned begins at its time.
    pub fn plan_faults(&mut self) {
        for (i, planned) in self.plan.faults.clone().iter().enumerate() {
            self.after(planned.at_ms * 1000, Event::Begin(i));
        }
    }

    pub fn begin(&mut self, index: usize) -> Result<(), Violation> {
        let fault = self.plan.faults[index].fault.clone();
        let now = self.now;
        self.trace.note(now, format_args!("fault {index}: {fault:?}"));
        match fault {
            Fault::Crash { node, keep, down_ms } => {
                self.crash_node(node, keep)?;
                self.after(down_ms * 1000, Event::End(Undo::Start(node)));
            }
            Fault::Wipe { node, down_ms } => {
                self.crash_node(node, 0)?;
                self.node(node).disk = MemoryDisk::new();
                self.node(node).disks += 1;
                let dir = self.node(node).dir_id();
                self.check.wiped(node, dir);
                self.after(down_ms * 1000, Event::End(Undo::Start(node)));
            }
            Fault::Unregister { node } => self.ask_controller(Command::UnregisterBroker { broker: node })?,
            Fault::Stop { node, down_ms } => {
                self.stop_node(node);
                self.after(down_ms * 1000 + 2_000_000, Event::End(Undo::Start(node)));
            }
            Fault::Pause { node, ms } => {
                if self.node(node).process.is_some() {
                    self.node(node).paused_until = now + ms * 1000;
                }
            }
            Fault::Cut { node, peer, outgoing, incoming, ms } => {
                let ways = self.ways(node, peer, (outgoing, incoming));
                ways.iter().for_each(|(from, to)| self.net.cut(*from, *to));
                self.after(ms * 1000, Event::End(Undo::Heal(ways)));
            }
            Fault::Lag { node, extra_ms, ms } => {
                self.node(node).lag_us = extra_ms * 1000;
                self.after(ms * 1000, Event::End(Undo::Lag(node)));
            }
            Fault::FullDisk { node, ms } => {
                self.fill_disk(node, true);
                self.after(ms * 1000, Event::End(Undo::FreeDisk(node)));
            }
            Fault::SlowDisk { node, sync_us, ms } => {
                self.node(node).sync_us = sync_us;
                self.after(ms * 1000, Event::End(Undo::Disk(node)));
            }
            Fault::FailDisk { node, down_ms } => {
                if let Some(process) = &self.node(node).process {
                    process.store.fail_next_sync();
                    // The only directory is lost: the process ends as soon as it notices.
                    self.after(50_000, Event::End(Undo::Crash(node)));
                    self.after(down_ms * 1000 + 50_000, Event::End(Undo::Start(node)));
                }
            }
            Fault::Loss { chance, ms } => {
                self.net.loss = chance;
                self.after(ms * 1000, Event::End(Undo::Loss));
            }
            Fault::ControllerChange { down_ms } => {
                self.controller.down_until = now + down_ms * 1000;
                self.after(down_ms * 1000, Event::End(Undo::Controller));
            }
            admin => self.administer(admin)?,
        }
        Ok(())
    }

    fn fill_disk(&mut self, node: NodeId, full: bool) {
        if let Some(process) = &self.node(node).process {
            process.store.set_full(full);
        }
    }

    fn ways(&self, node: NodeId, peer: Peer, (outgoing, incoming): (bool, bool)) -> Vec<(Addr, Addr)> {
        let others: Vec<Addr> = match peer {
            Peer::Controller => vec![Addr::Controller],
            Peer::Node(other) => vec![Addr::Node(other)],
            Peer::All => {
                let nodes = (1..=self.plan.brokers).filter(|n| *n != node).map(Addr::Node);
                nodes.chain([Addr::Controller]).collect()
            }
        };
        let me = Addr::Node(node);
        let mut ways = Vec::new();
        for other in others.into_iter().filter(|o| *o != me) {
            ways.extend(outgoing.then_some((me, other)));
            ways.extend(incoming.then_some((other, me)));
        }
        ways
    }

    pub fn end(&mut self, undo: Undo) -> Result<(), Violation> {
        match undo {
            Undo::Start(node) => self.start_node(node),
            Undo::Stopped { node, boot } => {
                let same = self.node(node).boot == boot;
                if same && self.node(node).process.as_ref().is_some_and(|p| p.stopping) {
                    return self.close_node(node);
                }
            }
            Undo::Heal(ways) => ways.into_iter().for_each(|(from, to)| self.heal(from, to)),
            Undo::Lag(node) => self.node(node).lag_us = 0,
            Undo::Disk(node) => self.node(node).sync_us = 0,
            Undo::FreeDisk(node) => self.fill_disk(node, false),
            Undo::Loss => self.net.loss = 0.0,
            Undo::Controller => {
                self.controller.down_until = 0;
                let now_ms = self.now_ms();
                self.controller.elected(now_ms);
            }
            Undo::Crash(node) => return self.crash_node(node, 0),
        }
        Ok(())
    }

    /// An administrator's wish; the controller is asked directly.
    fn administer(&mut self, wish: Fault) -> Result<(), Violation> {
        let name = |topic: usize| self.plan.topics[topic].name.clone();
        let commands = match wish {
            Fault::Reassign { topic, partition, replicas } => {
                vec![reassign(name(topic), partition, Some(replicas))]
            }
            Fault::CancelReassign { topic, partition } => vec![reassign(name(topic), partition, None)],
            Fault::ElectPreferred => vec![Command::ElectLeaders { unclean: false, partitions: None }],
            Fault::MinIsr { topic, value } => vec![set(name(topic), "min.insync.replicas", value.to_string())],
            Fault::Unclean { topic, on } => {
                vec![set(name(topic), "unclean.leader.election.enable", on.to_string())]
            }
            Fault::Recreate { topic } => {
                let delete = Command::DeleteTopics { topics: vec![TopicRef::Name(name(topic))] };
                vec![delete, create(&self.plan.topics[topic])]
            }
            other => unreachable!("{other:?} is not an administrator's wish"),
        };
        for command in commands {
            self.ask_controller(command)?;
        }
        Ok(())
    }

    pub fn ask_controller(&mut self, command: Command) -> Result<(), Violation> {
        if self.controller.down_until > self.now {
            return Ok(());
        }
        let (before, now_ms) = (self.controller.index(), self.now_ms());
        let reply = self.controller.submit(&command, now_ms);
        let now = self.now;
        self.trace.note(now, format_args!("administrator: {command:?} → {reply:?}"));
        self.publish(before)
    }

    pub fn create_topics(&mut self) -> Result<(), Violation> {
        for topic in self.plan.topics.clone() {
            self.ask_controller(create(&topic))?;
        }
        Ok(())
    }

    /// Ends everything that is still wrong.
    pub fn calm(&mut self) -> Result<(), Violation> {
        let now = self.now;
        self.trace.note(now, format_args!("calm"));
        self.working = false;
        let mut all: Vec<Addr> = (1..=self.plan.brokers).map(Addr::Node).collect();
        all.push(Addr::Controller);
        for from in &all {
            for to in &all {
                if self.net.is_cut(*from, *to) {
                    self.heal(*from, *to);
                }
            }
        }
        self.net.loss = 0.0;
        self.net.late = 0.0;
        if self.controller.down_until > now {
            self.end(Undo::Controller)?;
        }
        for id in 1..=self.plan.brokers {
            let node = self.node(id);
            (node.lag_us, node.sync_us, node.paused_until) = (0, 0, 0);
            self.fill_disk(id, false);
            self.start_node(id);
        }
        Ok(())
    }
}

fn reassign(topic: String, partition: i32, replicas: Option<Vec<NodeId>>) -> Command {
    let partitions = vec![Reassignment { topic, partition, replicas }];
    Command::AlterPartitionReassignments { partitions, allow_rf_change: true }
}

fn set(topic: String, key: &str, value: String) -> Command {
    let op = ConfigOp { key: key.to_owned(), op: ConfigOpKind::Set, value: Some(value) };
    let change = ConfigChange { resource: ConfigResource::topic(topic), ops: vec![op], replace: false };
    Command::AlterConfigs { changes: vec![change], validate_only: false }
}

fn create(plan: &TopicPlan) -> Command {
    let configs = vec![
        ("min.insync.replicas".to_owned(), Some(plan.min_isr.to_string())),
        ("unclean.leader.election.enable".to_owned(), Some(plan.unclean.to_string())),
    ];
    let topic = NewTopic { configs, ..NewTopic::new(plan.name.clone(), plan.partitions, plan.factor) };
    Command::CreateTopics { topics: vec![topic], validate_only: false }
}
