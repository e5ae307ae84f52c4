//! Networks of their own for nodes: one namespace each, joined by a bridge that the tests stand on too.
//!
//! ```text
//! tests ── bridge 10.a.b.1 ─┬─ veth ── namespace of node 1, 10.a.b.11
//!                           ├─ veth ── namespace of node 2, 10.a.b.12
//! ```
//! Where delays are wanted, a [`Line`] takes the place of the veth pair.
//! Cuts and losses are rules of nftables inside the namespace that is sent to: packets vanish, as on a broken
//! wire, and nobody gets an error.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::line::Line;

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    All,
    /// What goes to or comes from the listener for clients and brokers.
    Brokers,
    /// What goes to or comes from the listener for controllers.
    Controllers,
}

const NAMES: &str = "millrace";
const TABLE: &str = "inet faults";

/// The namespaces and the bridge of one cluster; removed when dropped.
pub struct Net {
    tag: String,
    /// The first two changing bytes of the addresses.
    subnet: (u8, u8),
    /// The last byte of each node's address.
    hosts: BTreeMap<i32, u8>,
    /// Cables with a delay, if the plan wants them.
    lines: BTreeMap<i32, Line>,
}

impl Net {
    /// Whether this machine lets us make namespaces and rules.
    pub fn possible() -> bool {
        rustix::process::geteuid().is_root()
            && ["ip", "nft"].iter().all(|tool| run(&[tool, "-V"]).is_ok())
            && run(&["ip", "netns", "list"]).is_ok()
    }

    /// Whether what nodes send can be delayed, too.
    pub fn lines_possible() -> bool {
        Net::possible() && fs::exists("/dev/net/tun").unwrap_or(false)
    }

    /// With `lines`, what nodes send can be delayed.
    pub fn build(nodes: &[i32], lines: bool) -> anyhow::Result<Net> {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = BUILT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}x{number}", std::process::id());
        let subnet = free_subnet(std::process::id().wrapping_mul(31).wrapping_add(number))?;
        let hosts = nodes.iter().zip(11..).map(|(id, host)| (*id, host)).collect();
        let mut net = Net { tag, subnet, hosts, lines: BTreeMap::new() };
        let bridge = net.bridge();
        run(&["ip", "link", "add", &bridge, "type", "bridge"]).context("a bridge (needs root)")?;
        run(&["ip", "addr", "add", &format!("{}/24", net.address(1)), "dev", &bridge])?;
        run(&["ip", "link", "set", &bridge, "up"])?;
        for id in nodes {
            net.add(*id, lines)?;
        }
        Ok(net)
    }

    fn add(&mut self, id: i32, line: bool) -> anyhow::Result<()> {
        let (space, bridge, ip) = (self.space(id)?, self.bridge(), self.ip(id)?);
        let (outer, inner) = (self.outer(self.hosts[&id]), "eth0");
        run(&["ip", "netns", "add", &space])?;
        if line {
            let node = format!("mw{}n{}", self.tag, self.hosts[&id]);
            self.lines.insert(id, Line::new(&node, &outer).context("a TAP device")?);
            run(&["ip", "link", "set", &node, "netns", &space, "name", inner])?;
        } else {
            run(&["ip", "link", "add", &outer, "type", "veth", "peer", "name", inner, "netns", &space])?;
        }
        run(&["ip", "link", "set", &outer, "master", &bridge, "up"])?;
        run(&["ip", "-n", &space, "addr", "add", &format!("{ip}/24"), "dev", inner])?;
        run(&["ip", "-n", &space, "link", "set", inner, "up"])?;
        run(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
        let rules = [
            format!("add table {TABLE}"),
            format!("add chain {TABLE} in {{ type filter hook input priority 0; }}"),
            format!("add chain {TABLE} out {{ type filter hook output priority 0; }}"),
        ];
        rules.iter().try_for_each(|rule| self.nft(id, rule))
    }

    fn outer(&self, host: u8) -> String {
        format!("mv{}n{host}", self.tag)
    }

    fn bridge(&self) -> String {
        format!("mb{}", self.tag)
    }

    fn space(&self, id: i32) -> anyhow::Result<String> {
        anyhow::ensure!(self.hosts.contains_key(&id), "no node {id}");
        Ok(format!("{NAMES}-{}-{id}", self.tag))
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.subnet.0, self.subnet.1, host)
    }

    pub fn ip(&self, id: i32) -> anyhow::Result<Ipv4Addr> {
        Ok(self.address(*self.hosts.get(&id).with_context(|| format!("no node {id}"))?))
    }

    /// Words before a command that run it in the namespace of a node.
    pub fn wrapper(&self, id: i32) -> Vec<String> {
        ["ip", "netns", "exec", &format!("{NAMES}-{}-{id}", self.tag)].map(str::to_owned).to_vec()
    }

    fn nft(&self, id: i32, rule: &str) -> anyhow::Result<()> {
        let space = self.space(id)?;
        run(&["ip", "netns", "exec", &space, "nft", rule])
    }

    pub fn cut(&self, from: i32, to: i32, plane: Plane) -> anyhow::Result<()> {
        let source = self.ip(from)?;
        let ports = match plane {
            Plane::All => return self.nft(to, &format!("add rule {TABLE} in ip saddr {source} drop")),
            Plane::Brokers => super::plan::BROKER_PORT,
            Plane::Controllers => super::plan::CONTROLLER_PORT,
        };
        for side in ["dport", "sport"] {
            self.nft(to, &format!("add rule {TABLE} in ip saddr {source} tcp {side} {ports} drop"))?;
        }
        Ok(())
    }

    pub fn isolate(&self, id: i32) -> anyhow::Result<()> {
        self.nft(id, &format!("add rule {TABLE} in iifname != \"lo\" drop"))?;
        self.nft(id, &format!("add rule {TABLE} out oifname != \"lo\" drop"))
    }

    pub fn lose(&self, id: i32, percent: u32) -> anyhow::Result<()> {
        self.nft(id, &format!("add rule {TABLE} in iifname != \"lo\" numgen random mod 100 < {percent} drop"))
    }

    pub fn delay(&self, id: i32, delay: Duration) -> anyhow::Result<()> {
        self.lines.get(&id).context("the plan has no lines")?.delay(delay);
        Ok(())
    }

    pub fn heal(&self) -> anyhow::Result<()> {
        for id in self.hosts.keys() {
            self.nft(*id, &format!("flush table {TABLE}"))?;
        }
        self.lines.values().for_each(|line| line.delay(Duration::ZERO));
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for (id, host) in &self.hosts {
            // The kernel takes its time with namespaces; without their cable they are harmless.
            let _ = run(&["ip", "link", "del", &self.outer(*host)]);
            let _ = run(&["ip", "-n", &format!("{NAMES}-{}-{id}", self.tag), "link", "del", "eth0"]);
            let _ = run(&["ip", "netns", "del", &format!("{NAMES}-{}-{id}", self.tag)]);
        }
        let _ = run(&["ip", "link", "del", &self.bridge()]);
    }
}

/// Removes what a run left behind that was killed: its name tells its process.
fn sweep() {
    let left = |name: &str| {
        let pid: String = name.chars().take_while(char::is_ascii_digit).collect();
        !pid.is_empty() && !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
    };
    for name in names(&["ip", "netns", "list"]) {
        if name.strip_prefix(&format!("{NAMES}-")).is_some_and(left) {
            for pid in names(&["ip", "netns", "pids", &name]) {
                let _ = run(&["kill", "-9", &pid]);
            }
            let _ = run(&["ip", "netns", "del", &name]);
        }
    }
    for line in names(&["ls", "/sys/class/net"]) {
        if ["mb", "mv"].iter().any(|kind| line.strip_prefix(kind).is_some_and(left)) {
            let _ = run(&["ip", "link", "del", &line]);
        }
    }
}

/// The first word of each line that a command prints.
fn names(words: &[&str]) -> Vec<String> {
    let out = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// A /24 inside 10.200.0.0–10.249.255.255 that no interface has.
fn free_subnet(start: u32) -> anyhow::Result<(u8, u8)> {
    const FIRST: u32 = 200;
    const COUNT: u32 = 50 * 256;
    let out = Command::new("ip").args(["-o", "addr"]).stdin(Stdio::null()).output()?;
    let taken = String::from_utf8_lossy(&out.stdout).into_owned();
    let free = (0..COUNT).map(|step| (start.wrapping_add(step)) % COUNT).find_map(|n| {
        let (a, b) = ((FIRST + n / 256) as u8, (n % 256) as u8);
        (!taken.contains(&format!(" 10.{a}.{b}."))).then_some((a, b))
    });
    free.context("no free subnet")
}

fn run(words: &[&str]) -> anyhow::Result<()> {
    let out = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().context(words.join(" "))?;
    anyhow::ensure!(out.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    Ok(())
}
