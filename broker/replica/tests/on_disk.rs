//! The same on the real store: what was acknowledged is there after restarts, moves and retention.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{LONG, NODE, append, cx, produced, read};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, Image, PartitionImage, Record as Fact, TopicId};
use millrace_replica::{DirSetup, LogDerive, Partition, ReplicaManager, ReplicaOptions};
use millrace_store::{RocksLogStore, StoreOptions, open_log_store};

struct Disk {
    _root: tempfile::TempDir,
    paths: Vec<PathBuf>,
    image: Arc<Image>,
    config: Arc<TopicConfig>,
}

struct Running {
    stores: Vec<Arc<RocksLogStore>>,
    manager: Arc<ReplicaManager>,
}

impl Disk {
    fn new(dirs: usize, partitions: i32, config: TopicConfig) -> Disk {
        let root = tempfile::tempdir().unwrap();
        let paths = (0..dirs).map(|i| root.path().join(format!("d{i}"))).collect();
        let mut image = Image::default();
        image.apply(&Fact::Topic { name: "t".into(), id: TopicId([1; 16]) });
        for index in 0..partitions {
            let partition = Box::new(PartitionImage::new(&[NODE], &[DirId::ZERO]));
            image.apply(&Fact::Partition { topic: TopicId([1; 16]), index, partition });
        }
        Disk { _root: root, paths, image: Arc::new(image), config: Arc::new(config) }
    }

    fn start(&self) -> Running {
        let mut stores = Vec::new();
        let mut dirs = Vec::new();
        for (i, path) in self.paths.iter().enumerate() {
            let store = open_log_store(path, StoreOptions::small(), Arc::new(LogDerive)).unwrap();
            stores.push(store.clone());
            dirs.push(DirSetup { path: path.clone(), id: DirId([i as u8 + 9; 16]), store: Ok(store) });
        }
        let manager = Arc::new(ReplicaManager::start(ReplicaOptions { node_id: NODE, dirs }));
        let config = self.config.clone();
        manager.apply(&self.image, &|_| config.clone());
        Running { stores, manager }
    }
}

impl Running {
    fn partition(&self, index: i32) -> Arc<Partition> {
        self.manager.partition("t", index).unwrap()
    }

    fn stop(self) {
        self.manager.close().unwrap();
    }
}

async fn read_all(partition: &Partition) -> Vec<bytes::Bytes> {
    let (mut at, mut out) = (partition.log_start_offset(), Vec::new());
    while at < partition.high_watermark() {
        let data = read(partition, at).await.unwrap();
        let last = data.batches.last().expect("a readable offset yields a batch");
        at = millrace_log::BatchView::new(last).unwrap().last_offset() + 1;
        out.extend(data.batches);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_keep_batches_producers_and_epochs() {
    let disk = Disk::new(1, 3, TopicConfig::default());
    let mut expected: Vec<Vec<bytes::Bytes>> = vec![Vec::new(); 3];
    let mut sequence = 0;
    for round in 0..4 {
        let running = disk.start();
        for index in 0..3 {
            let p = running.partition(index);
            assert_eq!(read_all(&p).await, expected[index as usize], "round {round}");
            if sequence > 0 {
                let again = p.append_as_leader(produced(10, 1000, (7, 0, sequence - 10)), cx(-1)).unwrap();
                assert_eq!((again.last_offset + 1, again.bytes), (p.log_end_offset(), 0), "a resend after a restart");
            }
        }
        for step in 0..20 {
            for index in 0..3 {
                let p = running.partition(index);
                let last = p.append_as_leader(produced(10, 1000, (7, 0, sequence)), cx(-1)).unwrap().last_offset;
                p.committed(last, LONG).await.unwrap();
            }
            sequence += 10;
            if step == 7 || step == 13 {
                running.stores[0].roll().unwrap();
            }
        }
        for (index, expected) in (0..).zip(&mut expected) {
            *expected = read_all(&running.partition(index)).await;
            assert_eq!(expected.len(), (round + 1) * 20);
        }
        running.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_while_it_is_written_to() {
    let disk = Disk::new(2, 1, TopicConfig::default());
    let running = disk.start();
    let p = running.partition(0);
    let target = disk.paths.iter().find(|path| **path != p.dir().1).unwrap().clone();
    let mut sequence = 0;
    let mut write = async |p: &Partition, times: usize| {
        for _ in 0..times {
            let last = p.append_as_leader(produced(10, 1000, (7, 0, sequence)), cx(-1)).unwrap().last_offset;
            p.committed(last, LONG).await.unwrap();
            sequence += 10;
        }
    };
    write(&p, 200).await;
    running.stores.iter().for_each(|s| s.roll().unwrap());
    running.manager.move_to_dir("t", 0, target.to_str().unwrap()).await.unwrap();
    while p.dir().1 != target
        || running.manager.describe_dirs().await.iter().any(|d| d.replicas.iter().any(|r| r.is_future))
    {
        write(&p, 5).await;
    }
    write(&p, 20).await;
    let (end, batches) = (p.high_watermark(), read_all(&p).await);
    assert_eq!(batches.iter().map(|b| i64::from(millrace_log::BatchView::new(b).unwrap().count())).sum::<i64>(), end);
    drop(p);
    running.stop();
    let running = disk.start();
    let p = running.partition(0);
    assert_eq!((p.dir().1.clone(), p.high_watermark()), (target, end));
    assert_eq!(read_all(&p).await, batches);
    let again = p.append_as_leader(produced(10, 1000, (7, 0, end as i32 - 10)), cx(-1)).unwrap();
    assert_eq!(again.bytes, 0);
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_shortens_the_log_and_stays_after_a_restart() {
    let config = TopicConfig { retention_ms: 1000, ..TopicConfig::default() };
    let disk = Disk::new(1, 2, config);
    let running = disk.start();
    let (old, young) = (running.partition(0), running.partition(1));
    let last = append(&old, 100);
    old.committed(last, LONG).await.unwrap();
    running.stores[0].roll().unwrap();
    let last = young.append_as_leader(produced(100, 900_000, (-1, -1, -1)), cx(-1)).unwrap().last_offset;
    young.committed(last, Duration::from_secs(10)).await.unwrap();
    assert_eq!(running.manager.apply_retention(900_500), 1);
    assert_eq!((old.log_start_offset(), old.log_end_offset(), old.size_bytes()), (100, 100, 0));
    assert_eq!(young.log_start_offset(), 0);
    drop((old, young));
    running.stop();
    let running = disk.start();
    let p = running.partition(0);
    assert_eq!((p.log_start_offset(), p.high_watermark()), (100, 100));
    assert_eq!(append(&p, 1), 100);
    drop(p);
    running.stop();
}
