//! What a commit costs: clients that commit one offset after the other, on one thread, into a log in memory.
//! `cargo bench -p millrace-groups`, with the number of clients as an argument.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use millrace_groups::memory::MemoryLog;
use millrace_groups::types::{Commit, CommitPartition, CommitTopic};
use millrace_groups::{GroupCoordinator, GroupSettings, Now, Parts};
use millrace_metadata::{ErrorCode, TopicId};

const PARTITIONS: i32 = 50;
const COMMITS: usize = 400_000;

fn now() -> Now {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    Now { wall_ms: ms, steady_ms: ms }
}

fn commit(client: usize, offset: i64) -> Commit {
    Commit {
        group_id: format!("group-{client}"),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: None,
        missing_group: ErrorCode::IllegalGeneration,
        topics: vec![CommitTopic {
            name: "orders".to_owned(),
            id: TopicId([1; 16]),
            partitions: vec![CommitPartition { index: 0, offset, leader_epoch: 3, metadata: String::new() }],
        }],
    }
}

async fn run(clients: usize) {
    let groups = GroupCoordinator::start(Parts {
        settings: Arc::new(GroupSettings::default()),
        partitions: PARTITIONS,
        log: Arc::new(MemoryLog::default()),
        clock: Arc::new(now),
        uuids: Box::new(|| Box::new(|| [7; 16])),
    });
    (0..PARTITIONS).for_each(|partition| groups.lead(partition, 0));
    groups.loaded().await;
    let began = Instant::now();
    let each = COMMITS / clients;
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let groups = groups.clone();
            tokio::spawn(async move {
                for offset in 0..each {
                    assert!(groups.commit(commit(client, offset as i64)).await.is_ok());
                }
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.is_ok());
    }
    let took = began.elapsed();
    let rate = (each * clients) as f64 / took.as_secs_f64();
    println!("{clients} clients: {rate:.0} commits/s, {:.2} us each", 1e6 / rate);
}

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let counts = if asked.is_empty() { vec![1, 10, 100, 1_000] } else { asked };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => counts.into_iter().for_each(|clients| runtime.block_on(run(clients))),
        Err(error) => eprintln!("{error}"),
    }
}
