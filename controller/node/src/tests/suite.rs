//! openraft's own suite for storage, on both stores.

use std::sync::Arc;

use millrace_metadata::Image;
use millrace_store::{Kv, KvStore, MemoryKv};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::compact::Growth;
use crate::log::Log;
use crate::machine::{Machine, Outlet};
use crate::raft::Types;

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
