//! Log output, and the levels that clients can change (`BROKER_LOGGER` resources).

use std::collections::BTreeMap;
use std::io::IsTerminal;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The logger that all others take their level from.
pub const ROOT: &str = "root";

/// Loggers whose level can be changed one by one: the rooms of the program and its louder libraries.
const LOGGERS: &[&str] = &[
    "h2",
    "millrace_broker",
    "millrace_controller",
    "millrace_groups",
    "millrace_log",
    "millrace_metadata",
    "millrace_replica",
    "millrace_rpc",
    "millrace_security",
    "millrace_state",
    "millrace_store",
    "millrace_transactions",
    "millrace_wire",
    "openraft",
    "tonic",
];

/// Libraries that say too much at INFO, with the level that they have unless somebody asks for more. What openraft
/// warns of is part of every election; what goes wrong, the controller says itself.
const QUIET: &[(&str, &str)] = &[("h2", "WARN"), ("openraft", "ERROR"), ("tonic", "WARN")];

/// Parts of openraft that call it an error when its core stops before them. Why it stops, the controller says itself.
const NO_ERROR: [&str; 2] = ["openraft::core::heartbeat", "openraft::raft::raft_inner"];

/// Levels that a client may set (`LogLevelConfig.java`).
const LEVELS: &[(&str, LevelFilter)] = &[
    ("TRACE", LevelFilter::TRACE),
    ("DEBUG", LevelFilter::DEBUG),
    ("INFO", LevelFilter::INFO),
    ("WARN", LevelFilter::WARN),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::ERROR),
];

/// The level names that exist.
pub fn level_names() -> impl Iterator<Item = &'static str> {
    LEVELS.iter().map(|(name, _)| *name)
}

fn level(name: &str) -> Option<(&'static str, LevelFilter)> {
    LEVELS.iter().copied().find(|(known, _)| *known == name)
}

/// The levels in force. Changes last until the process ends.
#[derive(Debug)]
pub struct Loggers {
    set: Mutex<BTreeMap<&'static str, &'static str>>,
    reload: Option<reload::Handle<Targets, Registry>>,
}

impl Default for Loggers {
    fn default() -> Self {
        Loggers { set: Mutex::new(BTreeMap::from([(ROOT, "INFO")])), reload: None }
    }
}

impl Loggers {
    /// Sends the program's log to standard error. `root` is the level to begin with; INFO if there is no such level.
    pub fn install(root: Option<&str>) -> Loggers {
        let mut loggers = Loggers::default();
        if let Some((name, _)) = root.and_then(|name| level(&name.to_ascii_uppercase())) {
            loggers.set.lock().insert(ROOT, name);
        }
        let (filter, handle) = reload::Layer::new(loggers.targets());
        let output =
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
        // A second installation, as in tests, keeps the first one's output.
        if tracing_subscriber::registry().with(filter).with(output).try_init().is_ok() {
            loggers.reload = Some(handle);
        }
        loggers
    }

    /// Every logger with its effective level, sorted.
    pub fn levels(&self) -> Vec<(&'static str, &'static str)> {
        let set = self.set.lock();
        let root = set.get(ROOT).copied().unwrap_or("INFO");
        let mut all: Vec<_> = LOGGERS.iter().map(|name| (*name, effective(&set, name, root))).collect();
        all.push((ROOT, root));
        all.sort_unstable();
        all
    }

    /// The known logger of this name.
    pub fn find(&self, name: &str) -> Option<&'static str> {
        if name == ROOT { Some(ROOT) } else { LOGGERS.iter().copied().find(|known| *known == name) }
    }

    /// Changes levels together: a level, or `None` to follow the root logger again. Names and levels that do not exist
    /// are passed over.
    pub fn change(&self, changes: &[(&'static str, Option<&str>)]) {
        {
            let mut set = self.set.lock();
            for (logger, wanted) in changes {
                match wanted.map(level) {
                    Some(Some((name, _))) => drop(set.insert(logger, name)),
                    Some(None) => {}
                    None => drop(set.remove(logger)),
                }
            }
        }
        if let Some(handle) = &self.reload {
            // The subscriber lives as long as the process, so that this cannot fail.
            let _ = handle.reload(self.targets());
        }
    }

    fn targets(&self) -> Targets {
        let set = self.set.lock();
        let filter = |name: &str| level(name).map_or(LevelFilter::INFO, |(_, filter)| filter);
        let root = set.get(ROOT).copied().unwrap_or("INFO");
        let loggers = LOGGERS.iter().map(|name| (*name, filter(effective(&set, name, root))));
        let targets = Targets::new().with_default(filter(root)).with_targets(loggers);
        match effective(&set, "openraft", root) {
            "ERROR" => targets.with_targets(NO_ERROR.map(|part| (part, LevelFilter::OFF))),
            _ => targets,
        }
    }
}

fn effective(set: &BTreeMap<&'static str, &'static str>, logger: &str, root: &'static str) -> &'static str {
    let quiet = || QUIET.iter().find(|(name, _)| *name == logger && root == "INFO").map(|(_, level)| *level);
    set.get(logger).copied().or_else(quiet).unwrap_or(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_root_until_set() {
        let loggers = Loggers::default();
        let of = |name: &str| loggers.levels().into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!((of("millrace_log"), of("openraft"), of(ROOT)), ("INFO", "ERROR", "INFO"));
        loggers.change(&[(ROOT, Some("DEBUG")), ("millrace_log", Some("ERROR"))]);
        assert_eq!((of("millrace_log"), of("openraft"), of("millrace_wire")), ("ERROR", "DEBUG", "DEBUG"));
        loggers.change(&[("millrace_log", None)]);
        assert_eq!(of("millrace_log"), "DEBUG");
    }
}
