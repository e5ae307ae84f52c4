//! Writers, readers and the committer at the same time: no wake-up is lost, nobody waits for ever.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use millrace_log::BatchView;
use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, Image, PartitionImage, Record as Fact, TopicId};
use millrace_replica::{DirSetup, LogDerive, Partition, ReplicaManager, ReplicaOptions, Waiter};
use millrace_store::MemoryStore;

const PARTITIONS: i32 = 3;
const WRITERS: i64 = 4;
const BATCHES: i32 = 300;
const RECORDS: i32 = 3;

/// A store that commits on a thread of its own.
fn start() -> Arc<ReplicaManager> {
    let store = MemoryStore::new(Arc::new(LogDerive)).unwrap();
    let dir = DirSetup { path: "/d".into(), id: DirId([9; 16]), store: Ok(Arc::new(store)) };
    let manager = Arc::new(ReplicaManager::start(ReplicaOptions { node_id: NODE, dirs: vec![dir] }));
    let mut image = Image::default();
    image.apply(&Fact::Topic { name: "t".into(), id: TopicId([1; 16]) });
    for index in 0..PARTITIONS {
        let partition = Box::new(PartitionImage::new(&[NODE], &[DirId::ZERO]));
        image.apply(&Fact::Partition { topic: TopicId([1; 16]), index, partition });
    }
    let config = Arc::new(TopicConfig::default());
    manager.apply(&Arc::new(image), &|_| config.clone());
    manager
}

async fn write(partitions: Vec<Arc<Partition>>, producer: i64) {
    let acks = if producer % 2 == 0 { -1 } else { 1 };
    for i in 0..BATCHES {
        let p = &partitions[(i % PARTITIONS) as usize];
        let sequence = i / PARTITIONS * RECORDS;
        let last = p.append_as_leader(produced(RECORDS, 1000, (producer, 0, sequence)), cx(acks)).unwrap().last_offset;
        match acks {
            -1 => p.committed(last, LONG).await.unwrap(),
            _ => p.written(last, LONG).await.unwrap(),
        }
        if acks == -1 {
            assert!(p.high_watermark() > last);
        }
    }
}

/// Reads every partition to its end as a parked fetch does, with `min_bytes` that are not always there at once.
async fn consume(partitions: Vec<Arc<Partition>>, min_bytes: usize) {
    let per_partition = WRITERS * i64::from(BATCHES / PARTITIONS * RECORDS);
    let mut offsets = vec![0; partitions.len()];
    while offsets.iter().any(|o| *o < per_partition) {
        let mut got = 0;
        let mut seen = Vec::new();
        for (p, offset) in partitions.iter().zip(&mut offsets) {
            let data = read(p, *offset).await.unwrap();
            for batch in &data.batches {
                let view = BatchView::new(batch).unwrap();
                assert_eq!(view.base_offset(), *offset, "a gap or a repetition");
                *offset = view.last_offset() + 1;
            }
            got += data.bytes;
            seen.push(data.seen);
        }
        let missing = offsets.iter().map(|o| per_partition - o).sum::<i64>();
        // The last bytes may be fewer than asked for.
        if got < min_bytes && missing * 100 > min_bytes as i64 {
            let waiter = Waiter::new(min_bytes - got);
            partitions.iter().zip(seen).for_each(|(p, seen)| p.watch(&waiter, seen));
            waiter.woken().await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_written_is_read_in_order_and_nobody_hangs() {
    let manager = start();
    let partitions: Vec<_> = (0..PARTITIONS).map(|i| manager.partition("t", i).unwrap()).collect();
    let mut tasks = Vec::new();
    for producer in 0..WRITERS {
        tasks.push(tokio::spawn(write(partitions.clone(), producer)));
    }
    for min_bytes in [1, 700, 5000] {
        tasks.push(tokio::spawn(consume(partitions.clone(), min_bytes)));
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("a lost wake-up").unwrap();
    }
    for p in &partitions {
        assert_eq!(p.producers().await.unwrap().len(), WRITERS as usize);
    }
}
