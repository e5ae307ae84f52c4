//! Cost of many idle partitions: `cargo bench -p millrace-replica --bench partitions`. Prints how long it takes to
//! create and to reopen them, and the resident bytes of each (this room, the log, and the in-memory store): without
//! other replicas, with two that are led from here, and with two of which another broker leads.

use std::sync::Arc;
use std::time::Instant;

use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, Image, PartitionImage, Record, TopicId};
use millrace_replica::{DirSetup, LogDerive, ReplicaManager, ReplicaOptions};
use millrace_store::{LogStore, MemoryDisk, MemoryStore};

const TOPICS: u32 = 1000;
const PARTITIONS: i32 = 10;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn start(disk: &MemoryDisk) -> Result<(ReplicaManager, MemoryStore), Box<dyn std::error::Error>> {
    let store = MemoryStore::open(disk, Arc::new(LogDerive))?;
    let dir = DirSetup { path: "memory".into(), id: DirId([1; 16]), store: Ok(Arc::new(store.clone())) };
    Ok((ReplicaManager::start(ReplicaOptions { node_id: 1, dirs: vec![dir] }), store))
}

/// An image of all partitions on these brokers, of which the first leads.
fn image(replicas: &[i32]) -> Image {
    let mut image = Image::default();
    image.index = 1;
    let dirs = vec![DirId::ZERO; replicas.len()];
    for topic in 0..TOPICS {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&topic.to_be_bytes());
        id[15] = 1;
        let id = TopicId(id);
        image.apply(&Record::Topic { name: format!("topic-{topic}"), id });
        for index in 0..PARTITIONS {
            let partition = Box::new(PartitionImage::new(replicas, &dirs));
            image.apply(&Record::Partition { topic: id, index, partition });
        }
    }
    image
}

/// Each kind is measured in a process of its own, as freed memory would be used again.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const KINDS: [(&str, &[i32]); 3] = [("alone", &[1]), ("led", &[1, 2, 3]), ("followed", &[2, 3, 1])];
    let asked = std::env::args().nth(1).unwrap_or_default();
    match KINDS.iter().find(|(name, _)| *name == asked) {
        Some((_, replicas)) => measure(replicas),
        None => {
            for (name, _) in KINDS {
                std::process::Command::new(std::env::current_exe()?).arg(name).status()?;
            }
            Ok(())
        }
    }
}

fn measure(replicas: &[i32]) -> Result<(), Box<dyn std::error::Error>> {
    let config = Arc::new(TopicConfig::default());
    let image = Arc::new(image(replicas));
    let disk = MemoryDisk::new();
    let count = image.partition_count();
    println!("replicas {replicas:?}");
    for what in ["create", "reopen"] {
        let before = resident_bytes();
        let begun = Instant::now();
        let (manager, store) = start(&disk)?;
        manager.apply(&image, &|_| config.clone());
        let elapsed = begun.elapsed();
        let each = resident_bytes().saturating_sub(before) / count;
        println!("  {what} {count} partitions: {} ms, {each} bytes resident each", elapsed.as_millis());
        let begun = Instant::now();
        let mut next = (*image).clone();
        next.index = 2;
        let next = Arc::new(next);
        manager.apply(&next, &|_| config.clone());
        println!("    a metadata change that concerns none of them: {} µs", begun.elapsed().as_micros());
        let begun = Instant::now();
        let shortened = manager.apply_retention(1);
        println!("    a retention check ({shortened} shortened): {} µs", begun.elapsed().as_micros());
        let begun = Instant::now();
        manager.tick(1 << 40);
        println!("    a look at all replicas: {} µs", begun.elapsed().as_micros());
        for fetcher in manager.fetchers().all() {
            for what in ["first", "next"] {
                let begun = Instant::now();
                let named = fetcher.request(1 << 40, false).map_or(0, |request| request.partitions.len());
                println!("    the {what} request to the leader names {named}: {} µs", begun.elapsed().as_micros());
            }
        }
        drop(manager);
        store.close()?;
    }
    Ok(())
}
