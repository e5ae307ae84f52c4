//! What a broker is started with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::free_port;

/// Which broker to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Millrace,
    Kafka,
}

impl Peer {
    /// `PEER=kafka` in the environment runs a test against Apache Kafka, to try the test itself.
    pub fn from_env() -> Peer {
        match std::env::var("PEER").as_deref() {
            Ok("kafka") => Peer::Kafka,
            _ => Peer::Millrace,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Peer::Millrace => "millrace",
            Peer::Kafka => "kafka",
        }
    }
}

/// A directory that lives as long as something refers to it, or one that stays.
#[derive(Clone)]
pub enum Dir {
    Temp(Arc<TempDir>),
    Kept(PathBuf),
}

impl Dir {
    pub fn temp() -> anyhow::Result<Dir> {
        // `MILLRACE_TEST_DIR` places the data on a chosen disk.
        let base = std::env::var_os("MILLRACE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        // `tests/sweep.sh` knows by its name whose it is.
        let prefix = format!("millrace-test-{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(base)?;
        Ok(Dir::Temp(Arc::new(dir)))
    }

    pub fn path(&self) -> &Path {
        match self {
            Dir::Temp(dir) => dir.path(),
            Dir::Kept(path) => path,
        }
    }
}

/// What Millrace warns about, because it has no effect there yet.
const KAFKA_ONLY: [(&str, &str); 4] = [
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];

/// Settings of one broker. Starting the same `Spec` again restarts the broker on the same data and port.
#[derive(Clone)]
pub struct Spec {
    pub peer: Peer,
    pub dir: Dir,
    /// The address that all listeners are bound to.
    pub host: IpAddr,
    pub port: u16,
    pub controller_port: u16,
    /// Kafka's names; a later entry replaces an earlier one.
    pub settings: Vec<(String, String)>,
    /// Words put before the command line, like `prlimit --as=…` or `taskset -c 0`. They must `exec` it.
    pub wrapper: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Parts of WARN and ERROR lines that a test expects.
    pub expected_log: Vec<String>,
    /// The program, if it is not the one that was built last.
    pub binary: Option<PathBuf>,
    /// JVM heap of the Kafka peer in MiB.
    pub heap_mib: u32,
}

impl Spec {
    /// A single node with what the tests need: one replica of internal topics and no wait before the first
    /// rebalance.
    pub fn new(peer: Peer) -> anyhow::Result<Spec> {
        let mut spec = Spec {
            peer,
            dir: Dir::temp()?,
            host: Ipv4Addr::LOCALHOST.into(),
            port: free_port()?,
            controller_port: free_port()?,
            settings: Vec::new(),
            wrapper: Vec::new(),
            env: Vec::new(),
            expected_log: Vec::new(),
            binary: None,
            heap_mib: 1024,
        };
        let mut settings = vec![
            ("node.id", "0"),
            ("offsets.topic.replication.factor", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        if peer == Peer::Kafka {
            settings.extend(KAFKA_ONLY);
        }
        for (key, value) in settings {
            spec = spec.set(key, value);
        }
        Ok(spec)
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Spec {
        self.settings.retain(|(k, _)| k != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn wrap<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Spec {
        self.wrapper.extend(words.into_iter().map(Into::into));
        self
    }

    /// WARN and ERROR lines that contain `part` do not fail the test.
    #[must_use]
    pub fn expect_log(mut self, part: &str) -> Spec {
        self.expected_log.push(part.to_owned());
        self
    }

    #[must_use]
    pub fn at(mut self, dir: Dir, port: u16) -> Spec {
        self.dir = dir;
        self.port = port;
        self
    }

    pub fn data_dir(&self) -> PathBuf {
        match self.setting("log.dirs") {
            Some(dir) => PathBuf::from(dir),
            None => self.dir.path().join("data"),
        }
    }

    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn addr(&self) -> String {
        self.socket().to_string()
    }

    /// Where clients connect.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}
