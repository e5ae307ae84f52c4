//! The controller as a whole, on the store that forgets what was not synced.

mod failover;
mod follow;
mod formation;
mod levels;
mod process;
mod quorum;
mod scale;
mod suite;
mod voters;

use std::sync::Arc;
use std::time::Instant;

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind, NewTopic, TopicRef};
use millrace_metadata::ids::IncarnationId;
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{Command, ConfigResource, DirId, Reply, features};
use millrace_store::{Kv, KvBatch, MemoryKv, StoreError};
use parking_lot::RwLock;

use crate::compact::RECORDS_MAX;
use crate::{Controller, ControllerOptions, StartError};

fn options() -> ControllerOptions {
    ControllerOptions { seed: 7, ..ControllerOptions::new(1, "memory") }
}

async fn start(kv: &Arc<MemoryKv>) -> Controller {
    Controller::start_on(kv.clone(), options(), RECORDS_MAX).await.unwrap()
}

pub(crate) fn registration(incarnation: u8) -> BrokerRegistration {
    BrokerRegistration {
        id: 1,
        incarnation: IncarnationId([incarnation; 16]),
        endpoints: Vec::new(),
        rack: None,
        dirs: vec![DirId([9; 16])],
        features: features::ranges(features::TABLE),
    }
}

async fn join(controller: &Controller, incarnation: u8) {
    let cluster_id = controller.cluster_id().to_owned();
    let command = Command::RegisterBroker { cluster_id, registration: registration(incarnation), unclean: false };
    let Reply::RegisterBroker(Ok(registered)) = controller.submit(command).await.unwrap() else {
        panic!("not registered")
    };
    let applied = controller.images().borrow().index;
    let beat = millrace_metadata::command::Heartbeat {
        broker: 1,
        broker_epoch: registered.epoch,
        applied,
        want_fence: false,
        want_shutdown: false,
        offline_dirs: Vec::new(),
    };
    let Reply::BrokerHeartbeat(Ok(state)) = controller.submit(Command::BrokerHeartbeat(beat)).await.unwrap() else {
        panic!("no heartbeat")
    };
    assert!(!state.fenced);
}

async fn create(controller: &Controller, names: &[String], partitions: i32) -> bool {
    let topics = names.iter().map(|n| NewTopic::new(n.clone(), partitions, 1)).collect();
    let reply = controller.submit(Command::CreateTopics { topics, validate_only: false }).await;
    matches!(reply, Ok(Reply::CreateTopics(results)) if results.iter().all(|r| r.is_ok()))
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_configs_survive_a_restart() {
    let kv = Arc::new(MemoryKv::new());
    let controller = start(&kv).await;
    join(&controller, 1).await;
    assert!(create(&controller, &["a".into(), "b".into(), "gone".into()], 3).await);
    let change = ConfigChange {
        resource: ConfigResource::topic("a"),
        ops: vec![ConfigOp { key: "retention.ms".into(), op: ConfigOpKind::Set, value: Some("1000".into()) }],
        replace: false,
    };
    let alter = Command::AlterConfigs { changes: vec![change], validate_only: false };
    let Reply::AlterConfigs(results) = controller.submit(alter).await.unwrap() else { panic!() };
    assert_eq!(results[0].1, Ok(()));
    let delete = Command::DeleteTopics { topics: vec![TopicRef::Name("gone".into())] };
    let Reply::DeleteTopics(results) = controller.submit(delete).await.unwrap() else { panic!() };
    assert!(results[0].is_ok());
    let before = controller.images().borrow().clone();
    assert_eq!(before.topics().map(|t| &*t.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(before.partition("a", 2).unwrap().leader, 1);
    controller.shutdown().await;

    let controller = start(&kv).await;
    let after = controller.images().borrow().clone();
    assert!(after.index > before.index && after.term > before.term);
    assert!(after.topics().eq(before.topics()) && after.configs().eq(before.configs()));
    assert_eq!(after.topic_config("a").unwrap()["retention.ms"], "1000");
    // A new incarnation leads again, in a new leader epoch.
    let epoch = after.partition("a", 0).unwrap().leader_epoch;
    join(&controller, 2).await;
    let image = controller.images().borrow().clone();
    let partition = image.partition("a", 0).unwrap();
    assert_eq!((partition.leader, &partition.isr[..]), (1, &[1][..]));
    assert!(partition.leader_epoch > epoch);
    controller.shutdown().await;
}

/// Cuts one controller off from its disk, which the next one then opens.
struct Power {
    kv: Arc<MemoryKv>,
    off: RwLock<bool>,
}

impl Kv for Power {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.kv.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.kv.scan(from, to, visit)
    }

    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError> {
        let off = self.off.read();
        if *off { Err(StoreError::Closed) } else { self.kv.write(batch, durable) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_loses_nothing_acknowledged() {
    for round in 0..20u64 {
        let kv = Arc::new(MemoryKv::new());
        let power = Arc::new(Power { kv: kv.clone(), off: RwLock::new(false) });
        let controller = Controller::start_on(power.clone(), options(), RECORDS_MAX).await.unwrap();
        let controller = Arc::new(controller);
        join(&controller, 1).await;
        let mut acked: Vec<String> = Vec::new();
        let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
        for client in 0..4 {
            let (controller, sender) = (controller.clone(), sender.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    let name = format!("t{client}-{n}");
                    if create(&controller, std::slice::from_ref(&name), 2).await && sender.send(name).is_err() {
                        return;
                    }
                }
            });
        }
        for _ in 0..=round * 5 {
            acked.push(done.recv().await.unwrap());
        }
        // The power goes: what was not synced is gone, and nothing more is written.
        *power.off.write() = true;
        kv.crash();
        while let Ok(name) = done.try_recv() {
            acked.push(name);
        }
        let survivor = start(&kv).await;
        let image = survivor.images().borrow().clone();
        for name in &acked {
            assert_eq!(image.topic(name).map(|t| t.partitions.len()), Some(2), "{name} in round {round}");
        }
        survivor.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_cut_the_log_and_restore_the_image() {
    let kv = Arc::new(MemoryKv::new());
    let controller = Controller::start_on(kv.clone(), options(), 100).await.unwrap();
    join(&controller, 1).await;
    for n in 0..300 {
        assert!(create(&controller, &[format!("t{n}")], 1).await);
    }
    // The log is cut behind the back of the commands: wait until that is done.
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while controller.first_log_index() < 100 {
        assert!(Instant::now() < deadline, "the log was not cut");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let before = controller.images().borrow().clone();
    controller.shutdown().await;
    let controller = start(&kv).await;
    let after = controller.images().borrow().clone();
    assert!(after.topics().eq(before.topics()) && after.brokers().eq(before.brokers()));
    assert_eq!(after.partition_count(), 300);
    assert_eq!(after.features_index, before.features_index);
    assert!(create(&controller, &["later".into()], 1).await);
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_or_node_is_refused() {
    let kv = Arc::new(MemoryKv::new());
    let controller = start(&kv).await;
    let cluster = controller.cluster_id().to_owned();
    controller.shutdown().await;
    let other = ControllerOptions { cluster_id: Some("other".into()), ..options() };
    let refused = Controller::start_on(kv.clone(), other, RECORDS_MAX).await;
    assert!(matches!(refused, Err(StartError::WrongCluster { found, .. }) if found == cluster));
    let other = ControllerOptions { node_id: 2, ..options() };
    let refused = Controller::start_on(kv.clone(), other, RECORDS_MAX).await;
    assert!(matches!(refused, Err(StartError::WrongNode { found: 1, .. })));
    let same = ControllerOptions { cluster_id: Some(cluster), ..options() };
    Controller::start_on(kv, same, RECORDS_MAX).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quorum_is_this_node() {
    let kv = Arc::new(MemoryKv::new());
    let controller = start(&kv).await;
    // What it wrote last may not be agreed yet.
    let settled = |quorum: &crate::QuorumInfo| quorum.voters.iter().all(|v| v.log_end == quorum.high_watermark);
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    let mut quorum = controller.quorum();
    while !settled(&quorum) {
        assert!(Instant::now() < deadline, "{quorum:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        quorum = controller.quorum();
    }
    assert_eq!((quorum.leader, quorum.epoch), (Some(1), 1));
    assert_eq!(quorum.voters.iter().map(|v| v.id).collect::<Vec<_>>(), [1]);
    assert!(quorum.observers.is_empty());
    controller.shutdown().await;
}

/// Prints how long it takes on a real disk; the bound is generous, because other work may share the machine.
#[tokio::test(flavor = "multi_thread")]
async fn starts_fast_on_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    for round in ["fresh", "again", "third"] {
        let begin = Instant::now();
        let controller = Controller::start(ControllerOptions::new(1, dir.path().join("metadata"))).await.unwrap();
        let took = begin.elapsed();
        println!("start, {round}: {took:?}");
        assert!(took.as_secs() < 5);
        controller.shutdown().await;
    }
}
