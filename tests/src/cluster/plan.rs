//! What a cluster is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Clock, Cluster, Net, Node, Ramdisk};
use crate::harness::{Dir, Peer, Spec};

/// Ports of every node in a network of its own.
pub(super) const BROKER_PORT: u16 = 9092;
pub(super) const CONTROLLER_PORT: u16 = 9093;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    Combined,
    Broker,
    Controller,
    /// A controller that finds the quorum when it is there.
    Joining,
}

impl Roles {
    pub fn broker(self) -> bool {
        matches!(self, Roles::Combined | Roles::Broker)
    }

    pub fn controller(self) -> bool {
        self != Roles::Broker
    }

    fn setting(self) -> &'static str {
        match self {
            Roles::Combined => "broker,controller",
            Roles::Broker => "broker",
            Roles::Controller | Roles::Joining => "controller",
        }
    }
}

/// One node of a plan.
#[derive(Clone, Debug)]
pub struct NodePlan {
    pub id: i32,
    pub roles: Roles,
    /// Only for this node.
    pub settings: Vec<(String, String)>,
}

/// The nodes of a cluster and what they have in common.
#[derive(Clone, Debug)]
pub struct Plan {
    pub peer: Peer,
    pub nodes: Vec<NodePlan>,
    pub settings: Vec<(String, String)>,
    wrapper: Vec<String>,
    env: Vec<(String, String)>,
    namespaces: bool,
    named: bool,
    clocks: bool,
    lines: bool,
    ramdisk_mib: Option<u64>,
    heap_mib: u32,
    binary: Option<PathBuf>,
}

impl Plan {
    /// `count` nodes that are broker and controller, with ids from 1.
    pub fn combined(peer: Peer, count: i32) -> Plan {
        Plan::of(peer, (1..=count).map(|id| (id, Roles::Combined)).collect())
    }

    /// Brokers with ids from 1, and controllers with ids from 101.
    pub fn split(peer: Peer, brokers: i32, controllers: i32) -> Plan {
        let brokers = (1..=brokers).map(|id| (id, Roles::Broker));
        let controllers = (1..=controllers).map(|n| (100 + n, Roles::Controller));
        Plan::of(peer, controllers.chain(brokers).collect())
    }

    fn of(peer: Peer, nodes: Vec<(i32, Roles)>) -> Plan {
        let nodes: Vec<NodePlan> =
            nodes.into_iter().map(|(id, roles)| NodePlan { id, roles, settings: Vec::new() }).collect();
        let brokers = nodes.iter().filter(|n| n.roles.broker()).count();
        let factor = brokers.min(3).to_string();
        let min_isr = if brokers >= 3 { "2" } else { "1" };
        let plan = Plan {
            peer,
            nodes,
            settings: Vec::new(),
            wrapper: Vec::new(),
            env: Vec::new(),
            namespaces: false,
            named: false,
            clocks: false,
            lines: false,
            ramdisk_mib: None,
            heap_mib: 512,
            binary: None,
        };
        let plan = plan
            .set("offsets.topic.replication.factor", &factor)
            .set("default.replication.factor", &factor)
            .set("min.insync.replicas", min_isr)
            .set("group.initial.rebalance.delay.ms", "0");
        match peer {
            Peer::Millrace => plan,
            Peer::Kafka => plan
                .set("transaction.state.log.replication.factor", &factor)
                .set("transaction.state.log.min.isr", min_isr)
                .set("share.coordinator.state.topic.replication.factor", &factor)
                .set("share.coordinator.state.topic.min.isr", min_isr),
        }
    }

    /// One more broker, which is no controller.
    #[must_use]
    pub fn broker(self, id: i32) -> Plan {
        self.and(id, Roles::Broker)
    }

    /// One more controller, which is no founder: it finds the others by their addresses.
    #[must_use]
    pub fn controller(self, id: i32) -> Plan {
        self.and(id, Roles::Joining)
    }

    fn and(mut self, id: i32, roles: Roles) -> Plan {
        self.nodes.push(NodePlan { id, roles, settings: Vec::new() });
        self
    }

    /// A setting of all nodes.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Plan {
        self.settings.retain(|(k, _)| k != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A setting of one node.
    #[must_use]
    pub fn set_on(mut self, id: i32, key: &str, value: &str) -> Plan {
        for node in self.nodes.iter_mut().filter(|n| n.id == id) {
            node.settings.push((key.to_owned(), value.to_owned()));
        }
        self
    }

    /// Words put before every command line; they must `exec` it.
    #[must_use]
    pub fn wrap<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Plan {
        self.wrapper.extend(words.into_iter().map(Into::into));
        self
    }

    /// An environment variable of every process.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Plan {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Listeners for clients are called by a name, `localhost`, as users have them, and not by the address.
    #[must_use]
    pub fn named(mut self) -> Plan {
        self.named = true;
        self
    }

    /// A network namespace for each node; needs root, `ip` and `nft`.
    #[must_use]
    pub fn namespaces(mut self) -> Plan {
        self.namespaces = true;
        self
    }

    /// Namespaces if this machine can make them.
    #[must_use]
    pub fn namespaces_if_possible(mut self) -> Plan {
        self.namespaces = Net::possible();
        self
    }

    /// The data of each node on a tmpfs of this size, which can be filled; needs root.
    #[must_use]
    pub fn ramdisk(mut self, mib: u64) -> Plan {
        self.ramdisk_mib = Some(mib);
        self
    }

    /// A network for each node, with cables on which frames can be delayed.
    #[must_use]
    pub fn lines(mut self) -> Plan {
        self.lines = true;
        self.namespaces()
    }

    /// Each process has a wall clock that can be set.
    #[must_use]
    pub fn clocks(mut self) -> Plan {
        self.clocks = true;
        self
    }

    /// JVM heap of Kafka nodes.
    #[must_use]
    pub fn heap_mib(mut self, mib: u32) -> Plan {
        self.heap_mib = mib;
        self
    }

    /// The program that all nodes start with, if it is not the one that was built last.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Plan {
        self.binary = Some(path.to_owned());
        self
    }

    /// Directories, networks and settings of a cluster of which nothing runs yet.
    pub fn lay_out(&self) -> anyhow::Result<Cluster> {
        let ids: Vec<i32> = self.nodes.iter().map(|n| n.id).collect();
        let net = self.namespaces.then(|| Net::build(&ids, self.lines)).transpose()?;
        let dir = Dir::temp()?;
        let mut specs = Vec::new();
        for node in &self.nodes {
            let mut spec = Spec::new(self.peer)?;
            spec.settings.clear();
            spec.dir = Dir::Kept(dir.path().join(format!("node-{}", node.id)));
            spec.heap_mib = self.heap_mib;
            spec.env = self.env.clone();
            spec.binary = self.binary.clone();
            // A fault makes nodes warn; what no fault explains is found by `Cluster::alarms`.
            spec.expected_log = vec![String::new()];
            if let Some(net) = &net {
                spec.host = IpAddr::V4(net.ip(node.id)?);
                (spec.port, spec.controller_port) = (BROKER_PORT, CONTROLLER_PORT);
                spec.wrapper = net.wrapper(node.id);
            }
            spec.wrapper.extend(self.wrapper.iter().cloned());
            specs.push(spec);
        }
        let voters = self.voters(&specs);
        let mut nodes = BTreeMap::new();
        for (node, spec) in self.nodes.iter().zip(specs) {
            let mut spec = self.settle(node, spec, &voters);
            let disk = match self.ramdisk_mib {
                None => None,
                Some(mib) => {
                    let disk = Ramdisk::mount(&spec.dir.path().join("disk"), mib)?;
                    spec = spec.set("log.dirs", &disk.path().join("data").display().to_string());
                    Some(disk)
                }
            };
            let clock = self.clocks.then(|| Clock::new(spec.dir.path())).transpose()?;
            spec.env.extend(clock.iter().flat_map(Clock::env));
            let node_state =
                Node { spec, roles: node.roles, disk, clock, process: None, paused: false, cut_off: false, slow: None };
            nodes.insert(node.id, node_state);
        }
        Ok(Cluster { nodes, net, peer: self.peer, alarms: Vec::new(), _dir: dir })
    }

    fn voters(&self, specs: &[Spec]) -> String {
        let founder = |roles: Roles| matches!(roles, Roles::Combined | Roles::Controller);
        let voters = self.nodes.iter().zip(specs).filter(|(node, _)| founder(node.roles));
        let voters = voters.map(|(node, spec)| format!("{}@{}:{}", node.id, spec.host, spec.controller_port));
        voters.collect::<Vec<_>>().join(",")
    }

    fn settle(&self, node: &NodePlan, spec: Spec, voters: &str) -> Spec {
        let client = match self.named {
            true => format!("PLAINTEXT://localhost:{}", spec.port),
            false => format!("PLAINTEXT://{}", spec.addr()),
        };
        let controller = format!("CONTROLLER://{}:{}", spec.host, spec.controller_port);
        let listeners = match node.roles {
            Roles::Combined => format!("{client},{controller}"),
            Roles::Broker => client,
            Roles::Controller | Roles::Joining => controller,
        };
        let mut spec = spec
            .set("process.roles", node.roles.setting())
            .set("node.id", &node.id.to_string())
            .set("listeners", &listeners)
            .set("controller.listener.names", "CONTROLLER")
            .set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT");
        spec = match node.roles {
            Roles::Joining => {
                let addresses: Vec<&str> = voters.split(',').filter_map(|v| Some(v.split_once('@')?.1)).collect();
                spec.set("controller.quorum.bootstrap.servers", &addresses.join(","))
            }
            _ => spec.set("controller.quorum.voters", voters),
        };
        if node.roles.broker() {
            spec = spec.set("inter.broker.listener.name", "PLAINTEXT");
        }
        for (key, value) in self.settings.iter().chain(&node.settings) {
            spec = spec.set(key, value);
        }
        spec
    }
}
