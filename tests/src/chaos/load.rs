//! The clients of a run: how many, and how they are started and ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;

use super::{group, looks, producers, readers};
use crate::checker::{History, Moment};
use crate::raw::Conn;

/// How long a reader may take to reach the end once everything is well.
const CATCH_UP: Duration = Duration::from_secs(90);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A paused process takes connections and does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What is started.
#[derive(Clone, Debug)]
pub struct Load {
    pub topic: String,
    pub partitions: i32,
    pub group: String,
    /// Idempotent producers of librdkafka.
    pub producers: u32,
    /// Records per second of each of them.
    pub rate: u32,
    /// Producers that send each value once and never again.
    pub single: u32,
    pub members: u32,
    /// Whether a member leaves and joins again now and then.
    pub churn: bool,
}

impl Load {
    pub fn new(topic: &str, partitions: i32) -> Load {
        let (topic, group) = (topic.to_owned(), format!("{topic}-group"));
        Load { topic, partitions, group, producers: 3, rate: 400, single: 2, members: 2, churn: true }
    }
}

/// What all clients of a run share.
pub struct Cx {
    pub load: Load,
    pub bootstrap: String,
    pub addrs: BTreeMap<i32, SocketAddr>,
    begin: Instant,
    pub stop_producing: AtomicBool,
    pub stop_looking: AtomicBool,
    /// The end of each partition when the producers had finished.
    pub goal: OnceLock<Vec<i64>>,
    pub acknowledged: AtomicU64,
    /// Commits of the group that were made or found.
    pub commits: AtomicU64,
    /// Last offset that any member of the group read, by partition.
    pub group_at: Mutex<Vec<i64>>,
    numbers: AtomicU32,
    sessions: AtomicU64,
    /// What is no violation but should not be: fatal errors of clients, readers that do not reach the end.
    pub complaints: Mutex<Vec<String>>,
}

impl Cx {
    pub fn new(load: &Load, addrs: BTreeMap<i32, SocketAddr>) -> Arc<Cx> {
        let bootstrap = addrs.values().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Arc::new(Cx {
            load: load.clone(),
            bootstrap,
            addrs,
            begin: Instant::now(),
            stop_producing: AtomicBool::new(false),
            stop_looking: AtomicBool::new(false),
            goal: OnceLock::new(),
            acknowledged: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            group_at: Mutex::new(vec![-1; load.partitions as usize]),
            numbers: AtomicU32::new(0),
            sessions: AtomicU64::new(0),
            complaints: Mutex::new(Vec::new()),
        })
    }

    pub fn now(&self) -> Moment {
        self.begin.elapsed().as_nanos() as Moment
    }

    pub fn since(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A producer number that nobody had.
    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A reader's session that nobody had.
    pub fn session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub fn complain(&self, what: String) {
        const KEPT: usize = 20;
        let mut complaints = self.complaints.lock().unwrap_or_else(|e| e.into_inner());
        if complaints.len() < KEPT {
            eprintln!("{:8.3} complaint: {what}", self.since().as_secs_f64());
            complaints.push(what);
        }
    }

    /// For the reader of a failure.
    pub fn note(&self, what: String) {
        eprintln!("{:8.3} {what}", self.since().as_secs_f64());
    }

    /// Settings that every client of librdkafka has here.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "200")
            .set("retry.backoff.ms", "20")
            .set("topic.metadata.refresh.fast.interval.ms", "50")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("socket.timeout.ms", "5000")
            .set("log_level", "0");
        config
    }

    pub fn connect(&self, id: i32) -> anyhow::Result<Conn> {
        let addr = self.addrs.get(&id).ok_or_else(|| anyhow::anyhow!("no broker {id}"))?;
        Conn::connect_within(*addr, CONNECT_LIMIT, ANSWER_LIMIT)
    }

    /// Leader and leader epoch of a partition as some broker knows them; brokers are asked in turn from `first`.
    pub fn leader(&self, partition: i32, first: usize) -> Option<(i32, i32)> {
        let brokers: Vec<i32> = self.addrs.keys().copied().collect();
        (0..brokers.len()).map(|n| brokers[(first + n) % brokers.len()]).find_map(|id| {
            let views = self.connect(id).and_then(|mut conn| conn.partitions(&self.load.topic)).ok()?;
            let view = views.into_iter().find(|v| v.index == partition && v.leader >= 0)?;
            Some((view.leader, view.leader_epoch))
        })
    }
}

/// Clients at work.
pub struct Running {
    pub cx: Arc<Cx>,
    producers: Vec<JoinHandle<History>>,
    readers: Vec<JoinHandle<History>>,
    lookers: Vec<JoinHandle<History>>,
}

type Client = fn(&Arc<Cx>, u32) -> History;

fn start(cx: &Arc<Cx>, count: u32, client: Client) -> impl Iterator<Item = JoinHandle<History>> {
    (0..count).map(move |n| {
        let cx = cx.clone();
        std::thread::spawn(move || client(&cx, n))
    })
}

impl Running {
    pub fn start(cx: &Arc<Cx>) -> Running {
        let producers =
            start(cx, cx.load.producers, producers::idempotent).chain(start(cx, cx.load.single, producers::single));
        let readers = start(cx, 1, readers::plain).chain(start(cx, 1, readers::assigned)).chain(start(
            cx,
            cx.load.members,
            group::member,
        ));
        let lookers = start(cx, 1, looks::ends).chain(start(cx, 1, looks::commits));
        Running {
            cx: cx.clone(),
            producers: producers.collect(),
            readers: readers.collect(),
            lookers: lookers.collect(),
        }
    }

    /// Waits until a record is acknowledged that was not before.
    pub fn wait_progress(&self, limit: Duration) -> anyhow::Result<Duration> {
        let (begin, before) = (Instant::now(), self.cx.acknowledged.load(Ordering::Relaxed));
        while self.cx.acknowledged.load(Ordering::Relaxed) <= before {
            anyhow::ensure!(begin.elapsed() < limit, "nothing was acknowledged for {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(begin.elapsed())
    }

    /// Ends producers, lets readers reach the end, and returns what all saw. `ends` names the end of each partition.
    pub fn finish(self, ends: impl FnOnce() -> anyhow::Result<Vec<i64>>) -> anyhow::Result<History> {
        let mut history = History::default();
        self.cx.stop_producing.store(true, Ordering::Relaxed);
        let ended = join(self.producers, &mut history);
        let goal = ended.and_then(|()| ends());
        // Without a goal the readers end too.
        let goal = goal.map(|goal| self.cx.goal.set(goal));
        if goal.is_err() {
            let _ = self.cx.goal.set(vec![-1; self.cx.load.partitions as usize]);
        }
        join(self.readers, &mut history)?;
        self.cx.stop_looking.store(true, Ordering::Relaxed);
        join(self.lookers, &mut history)?;
        goal?.ok();
        Ok(history)
    }
}

fn join(threads: Vec<JoinHandle<History>>, history: &mut History) -> anyhow::Result<()> {
    for thread in threads {
        history.add(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
    }
    Ok(())
}

/// Says when a reader may end: all partitions are read up to the goal, or it takes too long.
#[derive(Default)]
pub struct Finish(Option<Instant>);

impl Finish {
    /// `at`: the last offset read of each partition, −1 before the first.
    pub fn reached(&mut self, cx: &Cx, who: &str, at: &[i64]) -> bool {
        let Some(goal) = cx.goal.get() else {
            return false;
        };
        let since = self.0.get_or_insert_with(Instant::now);
        if at.iter().zip(goal).all(|(at, end)| at + 1 >= *end) {
            return true;
        }
        let late = since.elapsed() > CATCH_UP;
        if late {
            cx.complain(format!("{who} is at {at:?} after {CATCH_UP:?}, the ends are {goal:?}"));
        }
        late
    }
}
