//! Many topics and partitions on a real disk. Prints what it took; the bounds are generous, because other work may
//! share the machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{create, join};
use crate::{Controller, ControllerOptions};

const BOUND: Duration = Duration::from_secs(30);

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_clients_create_topics_one_after_the_other() {
    const CLIENTS: usize = 10;
    const TOPICS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let controller = Arc::new(Controller::start(ControllerOptions::new(1, dir.path())).await.unwrap());
    join(&controller, 1).await;
    let before = controller.images().borrow().index;
    let begin = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let controller = controller.clone();
        tokio::spawn(async move {
            for n in 0..TOPICS {
                assert!(create(&controller, &[format!("t{client}-{n}")], 3).await);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let image = controller.images().borrow().clone();
    println!("{} topics: {:?} in {} entries", image.topic_count(), begin.elapsed(), image.index - before);
    assert!(begin.elapsed() < BOUND);
    assert!(image.index - before < (CLIENTS * TOPICS) as u64, "no entry was shared");
    assert_eq!(image.topic_count(), CLIENTS * TOPICS);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Controller::start(ControllerOptions::new(1, dir.path()));
    let controller = start().await.unwrap();
    join(&controller, 1).await;
    let idle = resident_kib();
    let begin = Instant::now();
    for n in 0..10 {
        assert!(create(&controller, &[format!("t{n}")], 1000).await);
    }
    println!("created 10,000 partitions: {:?}, {} KiB more", begin.elapsed(), resident_kib().saturating_sub(idle));
    assert!(begin.elapsed() < BOUND);
    controller.shutdown().await;
    // Each incarnation takes every leadership away and back: the log grows by 20,000 records, and is cut.
    for incarnation in 2..6 {
        let begin = Instant::now();
        let controller = start().await.unwrap();
        let started = begin.elapsed();
        join(&controller, incarnation).await;
        println!("restart: image ready {started:?}, leading again {:?}", begin.elapsed());
        assert!(begin.elapsed() < BOUND);
        let image = controller.images().borrow().clone();
        assert_eq!(image.partition_count(), 10_000);
        assert!(image.topics().all(|t| t.partitions.iter().all(|p| p.leader == 1)));
        controller.shutdown().await;
    }
}
