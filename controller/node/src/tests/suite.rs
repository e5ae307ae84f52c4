//! openraft's own suite for storage, on both stores; and what a killed process and a torn write leave behind.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_metadata::Image;
use millrace_store::{Kv, KvStore, MemoryKv};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{RaftLogReader, StorageError};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::compact::Growth;
use crate::log::Log;
use crate::machine::{Machine, Outlet};
use crate::raft::{Entry, LeaderId, LogId, Types, Vote};

fn pair(kv: Arc<dyn Kv>) -> (Log, Machine) {
    let outlet = Outlet {
        images: watch::channel(Arc::new(Image::default())).0,
        growth: Arc::new(Growth::new(usize::MAX)),
        feed: Arc::default(),
    };
    (Log::open(Arc::clone(&kv)).unwrap(), Machine::open(kv, outlet).unwrap())
}

struct Memory;

impl StoreBuilder<Types, Log, Machine> for Memory {
    async fn build(&self) -> Result<((), Log, Machine), StorageError<Types>> {
        let (log, machine) = pair(Arc::new(MemoryKv::new()));
        Ok(((), log, machine))
    }
}

struct Disk;

impl StoreBuilder<Types, Log, Machine, TempDir> for Disk {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = pair(Arc::new(KvStore::open(dir.path()).unwrap()));
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    Suite::test_all(Memory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_disk() {
    Suite::test_all(Disk).await.unwrap();
}

fn entry(index: u64) -> Entry {
    Entry::new_blank(LogId::new(LeaderId::new(1, 7).to_committed(), index))
}

/// Appends an entry; it is durable on return.
async fn append(log: &mut Log, index: u64) {
    let (flushed, is_flushed) = openraft_flush();
    log.append([entry(index)], flushed).await.unwrap();
    is_flushed.await.unwrap().unwrap();
}

fn openraft_flush() -> (IOFlushed<Types>, tokio::sync::oneshot::Receiver<std::io::Result<()>>) {
    use openraft::type_config::TypeConfigExt;
    let (sender, receiver) = Types::oneshot();
    (IOFlushed::signal(sender), receiver)
}

/// The indexes that a log has after a restart; without gaps, or the store refuses.
async fn left(dir: &Path) -> Option<(Option<Vote>, u64)> {
    let mut log = Log::open(Arc::new(KvStore::open(dir).ok()?)).ok()?;
    let state = log.get_log_state().await.unwrap();
    let next = state.last_log_id.map_or(0, |id| id.index() + 1);
    let entries = log.try_get_log_entries(0..next).await.unwrap();
    assert!(entries.iter().map(|e| e.log_id.index()).eq(0..next), "the log has a gap");
    let vote = log.read_vote().await.unwrap();
    drop(log);
    wait_until_closed(dir);
    Some((vote, next))
}

/// The log's writer lets go of the store on its own thread, after the log is dropped; until then nobody else can open it.
fn wait_until_closed(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = KvStore::open(dir) {
        assert!(Instant::now() < deadline, "still open: {error}");
        std::thread::yield_now();
    }
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn newest_wal(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    files.filter(|f| f.extension().is_some_and(|e| e == "log")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_costs_nothing_that_was_synced_and_leaves_no_gap() {
    const ENTRIES: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(Arc::new(KvStore::open(dir.path()).unwrap())).unwrap();
    let vote = Vote { leader_id: LeaderId::new(1, 7), committed: true };
    log.save_vote(&vote).await.unwrap();
    for index in 0..ENTRIES {
        append(&mut log, index).await;
    }
    // The power goes with half of the next write on the disk.
    for garbage in [0usize, 1, 7, 100, 40_000] {
        let after = tempfile::tempdir().unwrap();
        copy(dir.path(), after.path());
        let mut wal = std::fs::OpenOptions::new().append(true).open(newest_wal(after.path())).unwrap();
        wal.write_all(&vec![0xa5; garbage]).unwrap();
        assert_eq!(left(after.path()).await, Some((Some(vote), ENTRIES)), "{garbage} bytes of garbage");
    }
    // A disk that lied: what is left is a beginning, or the store is refused.
    for cut in [1u64, 10, 333, 2000] {
        let after = tempfile::tempdir().unwrap();
        copy(dir.path(), after.path());
        let wal = std::fs::OpenOptions::new().write(true).open(newest_wal(after.path())).unwrap();
        wal.set_len(wal.metadata().unwrap().len().saturating_sub(cut)).unwrap();
        if let Some((_, next)) = left(after.path()).await {
            assert!(next < ENTRIES, "{cut} bytes less");
        }
    }
}

const CHILD: &str = "MILLRACE_TEST_RAFT_LOG";

/// Not a test by itself: the process that the next test kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_appends() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let mut log = Log::open(Arc::new(KvStore::open(&dir).unwrap())).unwrap();
    let state = log.get_log_state().await.unwrap();
    for index in state.last_log_id.map_or(0, |id| id.index() + 1).. {
        append(&mut log, index).await;
        println!("durable {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_keeps_what_it_reported() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::suite::child_that_appends", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut durable = lines.filter_map(|l| l.split_once("durable ")?.1.trim().parse::<u64>().ok());
        let mut last = durable.by_ref().nth(10 + 7 * round as usize).unwrap();
        child.kill().unwrap();
        last = durable.last().unwrap_or(last);
        child.wait().unwrap();
        let (_, next) = left(dir.path()).await.expect("the store opens");
        assert!(next > last, "round {round}: {last} was durable, {next} are left");
    }
}
