//! Replica managers on in-memory stores as a cluster in one thread, with a controller of the plainest kind. Every step
//! is made by hand.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_log::PartitionKey;
use millrace_log::batch::{BatchView, HeaderFields};
use millrace_log::record::{Record, put_record};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::record::{BrokerRegistration, PartitionDelta};
use millrace_metadata::{
    ApiError, DirId, ErrorCode, Image, IncarnationId, Nodes, PartitionImage, Record as Fact, TopicId,
};
use millrace_replica::{
    AppendCx, DirSetup, FetchData, FetchSpec, Fetcher, Isolation, LogDerive, Origin, Partition, ReadError, Reader,
    ReplicaFetchPartition, ReplicaFetched, ReplicaFetchedPartition, ReplicaManager, ReplicaOptions,
};
use millrace_store::{LogStore, MemoryDisk, MemoryStore};

pub const TOPIC: TopicId = TopicId([1; 16]);
pub const KEY: PartitionKey = (TOPIC, 0);
/// More than replica.lag.time.max.ms.
pub const LONG_MS: i64 = 40_000;

/// A broker; without a store it is down.
pub struct Node {
    pub id: i32,
    disk: MemoryDisk,
    pub store: Option<MemoryStore>,
    pub manager: Arc<ReplicaManager>,
    epoch: i64,
    /// What the leader knows of the follower's session.
    session: BTreeMap<PartitionKey, ReplicaFetchPartition>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    /// The controller's image.
    pub image: Image,
    pub config: TopicConfig,
    pub now_ms: i64,
}

fn open(id: i32, disk: &MemoryDisk) -> (MemoryStore, Arc<ReplicaManager>) {
    let store = MemoryStore::open_manual(disk, Arc::new(LogDerive)).unwrap();
    let shared: Arc<dyn LogStore> = Arc::new(store.clone());
    let dir = DirSetup { path: format!("/n{id}").into(), id: DirId([id as u8 + 9; 16]), store: Ok(shared) };
    (store, Arc::new(ReplicaManager::start(ReplicaOptions { node_id: id, dirs: vec![dir] })))
}

impl Cluster {
    /// Brokers 1 to `count`, all up, with one partition on each of them, led by the first.
    pub fn new(count: i32, min_insync_replicas: i32) -> Cluster {
        let config = TopicConfig { min_insync_replicas, ..TopicConfig::default() };
        let mut cluster = Cluster { nodes: Vec::new(), image: Image::default(), config, now_ms: 1 << 40 };
        for id in 1..=count {
            let disk = MemoryDisk::new();
            let (store, manager) = open(id, &disk);
            let node = Node { id, disk, store: Some(store), manager, epoch: 0, session: BTreeMap::new() };
            cluster.nodes.push(node);
            cluster.register(id);
        }
        let replicas: Vec<i32> = (1..=count).collect();
        let dirs = vec![DirId::ZERO; replicas.len()];
        cluster.tell(&Fact::Topic { name: "t".into(), id: TOPIC });
        let partition = Box::new(PartitionImage::new(&replicas, &dirs));
        cluster.tell(&Fact::Partition { topic: TOPIC, index: 0, partition });
        cluster.apply_all();
        cluster
    }

    pub fn tell(&mut self, fact: &Fact) {
        self.image.index += 1;
        self.image.apply(fact);
    }

    fn register(&mut self, id: i32) {
        let epoch = self.reregister(id);
        let node = self.node_mut(id);
        node.epoch = epoch;
        node.manager.registered(epoch);
    }

    /// The controller registers a broker, which does not hear of it.
    pub fn reregister(&mut self, id: i32) -> i64 {
        let registration = Box::new(BrokerRegistration {
            id,
            incarnation: IncarnationId([id as u8; 16]),
            endpoints: Vec::new(),
            rack: None,
            dirs: Vec::new(),
            features: Vec::new(),
        });
        let epoch = self.image.index as i64 + 1;
        self.tell(&Fact::RegisterBroker {
            registration,
            epoch,
            fenced: false,
            in_controlled_shutdown: false,
            index: 0,
            shutdown_at: 0,
        });
        epoch
    }

    pub fn node(&self, id: i32) -> &Node {
        &self.nodes[id as usize - 1]
    }

    pub fn node_mut(&mut self, id: i32) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    pub fn is_up(&self, id: i32) -> bool {
        self.node(id).store.is_some()
    }

    pub fn p(&self, id: i32) -> Arc<Partition> {
        self.node(id).manager.partition_by_id(&TOPIC, 0).unwrap()
    }

    pub fn state(&self) -> PartitionImage {
        self.image.topic_by_id(&TOPIC).unwrap().partition(0).unwrap().clone()
    }

    /// The broker hears of the controller's image.
    pub fn apply(&self, id: i32) {
        let config = Arc::new(self.config.clone());
        if self.is_up(id) {
            self.node(id).manager.apply(&Arc::new(self.image.clone()), &|_| config.clone());
        }
    }

    pub fn apply_all(&self) {
        self.nodes.iter().for_each(|node| self.apply(node.id));
    }

    pub fn change(&mut self, delta: PartitionDelta) {
        self.tell(&Fact::PartitionChange { topic: TOPIC, index: 0, delta: Box::new(delta) });
    }

    fn fence(&mut self, id: i32, fenced: bool) {
        let epoch = self.node(id).epoch;
        let (fenced, in_controlled_shutdown, dirs) = (Some(fenced), None, None);
        self.tell(&Fact::BrokerChange { id, epoch, fenced, in_controlled_shutdown, dirs });
    }

    /// Leads with the first live replica of the in-sync set, without those in `leaving`; the set never becomes empty.
    pub fn elect(&mut self, leaving: &[i32]) {
        let now = self.state();
        let mut isr: Nodes = now.isr.iter().filter(|id| !leaving.contains(id)).copied().collect();
        if isr.is_empty() {
            isr = now.isr.clone();
        }
        let live =
            |id: &&i32| isr.contains(id) && !leaving.contains(id) && self.image.broker(**id).unwrap().is_active();
        let leader = now.replicas.iter().find(live).copied().unwrap_or(-1);
        let stays = leader == now.leader && isr == now.isr;
        let leader = (leader != now.leader).then_some(leader);
        if !stays || leader.is_some() {
            self.change(PartitionDelta { isr: Some(isr), leader, ..PartitionDelta::default() });
        }
    }

    /// The process dies and forgets what was not synced; the controller notices at once, the other brokers do not.
    pub fn kill(&mut self, id: i32) {
        self.node_mut(id).store.take().unwrap().crash();
        self.fence(id, true);
        self.elect(&[id]);
    }

    /// The process starts again.
    pub fn reopen(&mut self, id: i32) {
        let node = self.node_mut(id);
        if let Some(store) = node.store.take() {
            store.crash();
        }
        let (store, manager) = open(id, &node.disk);
        (node.store, node.manager) = (Some(store), manager);
        node.session.clear();
    }

    /// The process starts again and registers.
    pub fn restart(&mut self, id: i32) {
        self.reopen(id);
        self.register(id);
        self.elect(&[]);
        self.apply(id);
    }

    pub fn commit(&self, id: i32) {
        self.node(id).store.iter().for_each(MemoryStore::commit);
    }

    pub fn append(&self, id: i32, value: i64, acks: i16) -> Option<i64> {
        let cx = AppendCx { acks, origin: Origin::Client, api_version: 9, now_ms: value };
        self.p(id).append_as_leader(batch(1, value), cx).ok().map(|appended| appended.last_offset)
    }

    /// One round of all fetchers of a follower that have something to ask. `deliver`: the answer arrives.
    pub fn fetch(&mut self, id: i32, deliver: bool) {
        if !self.is_up(id) {
            return;
        }
        let fetchers: Vec<Arc<Fetcher>> = self.node(id).manager.fetchers().all();
        for fetcher in fetchers {
            self.now_ms += 1;
            let (now_ms, leader) = (self.now_ms, fetcher.leader());
            if !fetcher.is_synced() {
                assert!(fetcher.request(now_ms, false).is_none());
                continue;
            }
            if !self.is_up(leader) {
                if fetcher.request(now_ms, false).is_some() {
                    fetcher.failed(now_ms);
                }
                continue;
            }
            let Some(request) = fetcher.request(now_ms, !deliver) else {
                continue;
            };
            let node = self.node_mut(id);
            node.session.retain(|key, _| !request.forgotten.contains(key));
            for partition in request.partitions {
                node.session.insert((partition.topic_id, partition.index), partition);
            }
            let partitions = self.answers(id, leader);
            match deliver {
                true => fetcher.response(now_ms, ReplicaFetched { partitions }),
                false => fetcher.failed(now_ms),
            }
        }
    }

    fn answers(&self, id: i32, leader: i32) -> Vec<ReplicaFetchedPartition> {
        let node = self.node(id);
        let asks = node.session.values();
        asks.map(|ask| {
            let found = self.node(leader).manager.partition_by_id(&ask.topic_id, ask.index);
            let reader =
                Reader::Replica { id, broker_epoch: node.epoch, log_start: ask.log_start, now_ms: self.now_ms };
            let spec = FetchSpec {
                reader,
                offset: ask.offset,
                max_bytes: 300,
                at_least_one: true,
                isolation: Isolation::LogEnd,
                current_leader_epoch: ask.leader_epoch,
                last_fetched_epoch: ask.last_fetched_epoch,
            };
            answer(ask, found.map_err(|_| ReadError::NotLeader).and_then(|p| p.read_now(spec)))
        })
        .collect()
    }

    /// A leader's proposals reach the controller, and the answers come back.
    pub fn isr_round(&mut self, id: i32) {
        if !self.is_up(id) {
            return;
        }
        let manager = self.node(id).manager.clone();
        let changes = manager.isr_changes(self.now_ms);
        let mut answers = Vec::new();
        for change in &changes {
            let now = self.state();
            let known = |(id, epoch): &(i32, i64)| {
                self.image.broker(*id).is_some_and(|b| b.is_active() && (*epoch == -1 || *epoch == b.epoch))
            };
            let result = if (change.leader_epoch, now.leader) != (now.leader_epoch, id) {
                Err(ErrorCode::FencedLeaderEpoch)
            } else if change.partition_epoch != now.partition_epoch {
                Err(ErrorCode::InvalidUpdateVersion)
            } else if !change.isr.iter().all(known) {
                Err(ErrorCode::IneligibleReplica)
            } else {
                let isr = change.isr.iter().map(|(id, _)| *id).collect();
                self.change(PartitionDelta { isr: Some(isr), ..PartitionDelta::default() });
                let now = self.state();
                Ok(millrace_metadata::command::IsrState {
                    leader: now.leader,
                    leader_epoch: now.leader_epoch,
                    isr: now.isr,
                    recovering: false,
                    partition_epoch: now.partition_epoch,
                })
            };
            answers.push(((change.topic, change.partition), result.map_err(ApiError::from)));
        }
        manager.isr_answered(changes, Some(answers));
    }

    /// Everybody is up and hears everything until nothing moves any more.
    pub fn settle(&mut self) {
        let ids: Vec<i32> = self.nodes.iter().map(|node| node.id).collect();
        for id in &ids {
            if !self.is_up(*id) {
                self.restart(*id);
            }
        }
        for _ in 0..200 {
            self.now_ms += 100;
            self.apply_all();
            for id in &ids {
                self.commit(*id);
                self.fetch(*id, true);
                self.commit(*id);
                self.isr_round(*id);
            }
        }
        self.apply_all();
    }

    /// Value and leader epoch of every offset of a replica.
    pub fn contents(&self, id: i32) -> Vec<(i64, i64, i32)> {
        let partition = self.p(id);
        let until = partition.log_end_offset();
        let mut from = partition.log_start_offset();
        let mut out = Vec::new();
        while from < until {
            let spec = millrace_store::ReadSpec { from, until, max_bytes: 1 << 20, at_least_one: true };
            for bytes in partition.log().read(spec).unwrap().batches {
                let view = BatchView::new(&bytes).unwrap();
                out.push((view.base_offset(), view.max_timestamp(), view.leader_epoch()));
                from = view.last_offset() + 1;
            }
        }
        out
    }
}

fn answer(ask: &ReplicaFetchPartition, result: Result<FetchData, ReadError>) -> ReplicaFetchedPartition {
    let mut out = ReplicaFetchedPartition {
        topic_id: ask.topic_id,
        index: ask.index,
        error: ErrorCode::None,
        high_watermark: -1,
        log_start: -1,
        diverging: None,
        records: Bytes::new(),
    };
    match result {
        Ok(data) => {
            let mut records = BytesMut::new();
            data.batches.iter().for_each(|batch| records.put_slice(batch));
            out.records = records.freeze();
            (out.high_watermark, out.log_start) = (data.high_watermark, data.log_start_offset);
            out.diverging = data.diverging;
        }
        Err(ReadError::OutOfRange { log_start, .. }) => {
            (out.error, out.log_start) = (ErrorCode::OffsetOutOfRange, log_start);
        }
        Err(_) => out.error = ErrorCode::NotLeaderOrFollower,
    }
    out
}

/// One batch of `count` records that says `value` as its time.
pub fn batch(count: i32, value: i64) -> BytesMut {
    let mut payload = Vec::new();
    for i in 0..count {
        let record = Record { timestamp_delta: 0, offset_delta: i, key: None, value: Some(&[1; 20]) };
        put_record(&mut payload, record, &[]);
    }
    HeaderFields::plain(count, value).batch(&payload)
}
