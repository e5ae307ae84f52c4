//! A whole broker that leads, and a second one that consists of its partitions and its fetchers only.

use std::time::Duration;

use millrace_log::batch::HeaderFields;
use millrace_log::record::{Record, put_record};
use millrace_metadata::command::{Heartbeat, NewTopic};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::record::{BrokerRegistration, Endpoint};
use millrace_metadata::{Command, DirId, IncarnationId, PartitionImage, Record as Fact, Reply, TopicId};
use millrace_replica::{AppendCx, DirSetup, LogDerive, Origin, Partition, ReplicaOptions};
use millrace_store::{MemoryDisk, MemoryStore};
use tokio::task::JoinHandle;

use super::*;
use crate::config::{LiveConfig, Settings};
use crate::run::logging::Loggers;
use crate::run::start::{Running, start};

const FOLLOWER: NodeId = 2;
const LONG: Duration = Duration::from_secs(30);
/// Of a leader that misses its follower soon, and of one that waits for it, however slow the machine is.
const SHORT_LAG: Duration = Duration::from_millis(600);
const TOPIC: &str = "t";

struct Pair {
    running: Running,
    broker: Arc<Broker>,
    follower: Replication,
    _dir: tempfile::TempDir,
    _following: JoinHandle<()>,
}

async fn pair(partitions: i32, lag: Duration) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let overrides = [
        format!("log.dirs={}", dir.path().display()),
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        "broker.session.timeout.ms=600000".to_owned(),
        format!("replica.lag.time.max.ms={}", lag.as_millis()),
    ];
    let settings = Settings::gather(None, std::iter::empty(), &overrides).unwrap();
    let live = Arc::new(LiveConfig::new(settings).unwrap());
    let running = start(live, None, Arc::new(Loggers::default())).await.unwrap();
    let broker = running.broker().clone();
    let epoch = join(&broker).await;
    let (follower, following) = second(&broker, epoch);
    let mut topic = NewTopic::new(TOPIC, -1, -1);
    topic.assignments = (0..partitions).map(|index| (index, vec![broker.node_id, FOLLOWER])).collect();
    let command = Command::CreateTopics { topics: vec![topic], validate_only: false };
    let created = broker.submit_and_serve(command).await.unwrap();
    assert!(matches!(&created, Reply::CreateTopics(all) if all[0].is_ok()), "{created:?}");
    Pair { running, broker, follower, _dir: dir, _following: following }
}

/// Registers the second broker; it never has to say again that it lives.
async fn join(broker: &Broker) -> i64 {
    let endpoint =
        Endpoint { listener: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 1, security_protocol: 0 };
    let registration = BrokerRegistration {
        id: FOLLOWER,
        incarnation: IncarnationId::from_random([9; 16]),
        endpoints: vec![endpoint],
        rack: None,
        dirs: vec![DirId([9; 16])],
        features: broker.image().broker(broker.node_id).unwrap().features.clone(),
    };
    let cluster_id = broker.cluster_id.clone();
    let command = Command::RegisterBroker { cluster_id, registration, unclean: false };
    let Reply::RegisterBroker(Ok(registered)) = broker.submit_and_serve(command).await.unwrap() else {
        panic!("not registered");
    };
    let heartbeat = Heartbeat {
        broker: FOLLOWER,
        broker_epoch: registered.epoch,
        applied: u64::MAX,
        want_fence: false,
        want_shutdown: false,
        offline_dirs: Vec::new(),
    };
    broker.submit_and_serve(Command::BrokerHeartbeat(heartbeat)).await.unwrap();
    assert!(!broker.image().broker(FOLLOWER).unwrap().fenced);
    registered.epoch
}

/// The second broker's partitions, which follow the same metadata.
fn second(broker: &Broker, epoch: i64) -> (Replication, JoinHandle<()>) {
    let store = MemoryStore::open(&MemoryDisk::new(), Arc::new(LogDerive)).unwrap();
    let dir = DirSetup { path: "/second".into(), id: DirId([9; 16]), store: Ok(Arc::new(store)) };
    let replicas = Arc::new(ReplicaManager::start(ReplicaOptions { node_id: FOLLOWER, dirs: vec![dir] }));
    configure(&replicas, &broker.config.current());
    replicas.registered(epoch);
    let follower = Replication {
        node_id: FOLLOWER,
        replicas: replicas.clone(),
        epoch: watch::channel(epoch).1,
        meters: Arc::default(),
        throttles: Arc::default(),
        suspects: Arc::default(),
        ..Replication::of(broker)
    };
    let mut images = broker.controller.images();
    let following = tokio::spawn(async move {
        loop {
            let image = images.borrow_and_update().clone();
            let replicas = replicas.clone();
            let apply = move || replicas.apply(&image, &|_| Arc::new(TopicConfig::default()));
            tokio::task::spawn_blocking(apply).await.unwrap();
            if images.changed().await.is_err() {
                return;
            }
        }
    });
    (follower, following)
}

impl Pair {
    fn leader(&self, index: i32) -> Arc<Partition> {
        self.broker.replicas.partition(TOPIC, index).unwrap()
    }

    /// Appends, and returns one past the last offset.
    fn produce(&self, index: i32, bytes: usize) -> i64 {
        let mut payload = Vec::new();
        let value = vec![7; bytes];
        put_record(&mut payload, Record { timestamp_delta: 0, offset_delta: 0, key: None, value: Some(&value) }, &[]);
        let batch = HeaderFields::plain(1, 1_000).batch(&payload);
        let cx = AppendCx { acks: -1, origin: Origin::Client, api_version: 9, now_ms: 1_000 };
        self.leader(index).append_as_leader(batch, cx).unwrap().last_offset + 1
    }

    async fn committed(&self, index: i32, end: i64) {
        self.leader(index).committed(end - 1, LONG).await.unwrap();
    }

    async fn in_sync(&self, replicas: usize) {
        let mut images = self.broker.images.clone();
        let full = |image: &Arc<Image>| {
            image.topic(TOPIC).is_some_and(|topic| topic.partitions.iter().all(|p| p.isr.len() == replicas))
        };
        tokio::time::timeout(LONG, images.wait_for(full)).await.unwrap().unwrap();
    }

    async fn stop(self) {
        drop((self.follower, self.broker));
        self.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_acknowledged_when_the_follower_has_them() {
    let pair = pair(3, LONG).await;
    let waiting = pair.produce(0, 1_000);
    let early = pair.leader(0).committed(waiting - 1, Duration::from_millis(50)).await;
    assert!(early.is_err(), "nobody else has it");
    let fetching = tokio::spawn(pair.follower.clone().run());
    pair.committed(0, waiting).await;
    for round in 0..20 {
        let end = pair.produce(round % 3, 5_000);
        pair.committed(round % 3, end).await;
    }
    for index in 0..3 {
        let follower = pair.follower.replicas.partition(TOPIC, index).unwrap();
        assert_eq!(follower.durable_end_offset(), pair.leader(index).log_end_offset());
    }
    assert!(pair.follower.meters.bytes_in() > 100_000);
    assert_eq!(pair.broker.meters.bytes_out(), pair.follower.meters.bytes_in());
    fetching.abort();
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_follower_leaves_the_in_sync_set_and_comes_back() {
    let pair = pair(2, SHORT_LAG).await;
    let fetching = tokio::spawn(pair.follower.clone().run());
    let end = pair.produce(0, 100);
    pair.committed(0, end).await;
    fetching.abort();
    // A task that is being ended may still fetch once: the follower is silent when it lacks something.
    let mut ends = (0, 0);
    let silent = async {
        loop {
            ends = (pair.produce(0, 100), pair.produce(1, 100));
            let lag = Duration::from_secs(2);
            if tokio::time::timeout(lag, pair.in_sync(1)).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, silent).await.unwrap();
    pair.committed(0, ends.0).await;
    pair.committed(1, ends.1).await;
    let fetching = tokio::spawn(pair.follower.clone().run());
    pair.in_sync(2).await;
    let end = pair.produce(0, 100);
    pair.committed(0, end).await;
    fetching.abort();
    pair.stop().await;
}

/// Resolves when every fetcher has tried its leader, which has no address, and pauses.
async fn all_tried(replicas: &ReplicaManager, count: usize) {
    let mut tried = BTreeSet::new();
    let tries = async {
        while tried.len() < count {
            let all = replicas.fetchers().all();
            tried.extend(all.iter().filter(|f| f.wake_at().is_some()).map(|f| f.leader()));
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, tries).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_leader_is_asked_whichever_comes_first() {
    let pair = pair(1, LONG).await;
    let store = MemoryStore::open(&MemoryDisk::new(), Arc::new(LogDerive)).unwrap();
    let dir = DirSetup { path: "/third".into(), id: DirId([8; 16]), store: Ok(Arc::new(store)) };
    let replicas = Arc::new(ReplicaManager::start(ReplicaOptions { node_id: FOLLOWER, dirs: vec![dir] }));
    let topic = TopicId([1; 16]);
    let mut image = Image::at(1, 1);
    image.apply(&Fact::Topic { name: TOPIC.to_owned(), id: topic });
    let images = watch::channel(Arc::new(image.clone()));
    let third = Replication { replicas: replicas.clone(), images: images.1, ..pair.follower.clone() };
    let fetching = tokio::spawn(third.run());
    for (index, leader) in (0..).zip([7, 5, 6]) {
        let partition = PartitionImage::new(&[leader, FOLLOWER], &[DirId::ZERO; 2]);
        image.apply(&Fact::Partition { topic, index, partition: Box::new(partition) });
        replicas.apply(&Arc::new(image.clone()), &|_| Arc::new(TopicConfig::default()));
        all_tried(&replicas, index as usize + 1).await;
    }
    fetching.abort();
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_backlog_is_fetched_in_bounded_answers() {
    let pair = pair(4, LONG).await;
    for _ in 0..30 {
        for index in 0..4 {
            pair.produce(index, 500_000);
        }
    }
    let fetching = tokio::spawn(pair.follower.clone().run());
    for index in 0..4 {
        pair.committed(index, 30).await;
    }
    fetching.abort();
    pair.stop().await;
}
