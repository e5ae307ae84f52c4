//! A decision is an input and a list: images go in, records and answers come out.

mod brokers;
mod configs;
mod levels;
mod model;
mod partitions;
mod topics;

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind, Heartbeat, NewTopic};
use millrace_metadata::features::{Feature, TABLE, ranges, too_early};
use millrace_metadata::ids::IncarnationId;
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{ApiError, Command, DirId, ErrorCode, Image, NodeId, PartitionImage, Record, Reply};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::{Cx, Defaults, Member, Sessions, bootstrap, decide};

/// A cluster in memory: decides and applies.
pub(crate) struct Cluster {
    pub image: Image,
    pub defaults: Defaults,
    pub sessions: Sessions,
    pub now_ms: i64,
    pub rng: StdRng,
    /// The controllers.
    pub quorum: Vec<Member>,
    /// All that was agreed since the log was last emptied.
    pub log: Vec<Record>,
}

impl Cluster {
    pub fn empty() -> Cluster {
        Cluster::founded(TABLE)
    }

    /// One that began at the default levels of this table.
    pub fn founded(table: &[Feature]) -> Cluster {
        let mut image = Image::at(1, 1);
        bootstrap("cluster", table, None).iter().for_each(|r| image.apply(r));
        Cluster {
            image,
            defaults: Defaults::default(),
            sessions: Sessions::new(9000),
            now_ms: 1_000_000,
            rng: StdRng::seed_from_u64(3),
            quorum: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Brokers 1 to `n`, unfenced, without racks.
    pub fn of(n: NodeId) -> Cluster {
        let mut cluster = Cluster::empty();
        (1..=n).for_each(|id| cluster.join(id, None));
        cluster
    }

    pub fn decide(&mut self, command: &Command) -> (Vec<Record>, Reply) {
        let Cluster { image, defaults, sessions, now_ms, rng, quorum, .. } = self;
        decide(image, command, &mut Cx { now_ms: *now_ms, rng, defaults, sessions, quorum })
    }

    /// Decides and applies as the next entry.
    pub fn run(&mut self, command: &Command) -> Reply {
        let (records, reply) = self.decide(command);
        self.agree(records);
        reply
    }

    /// Applies the records as the next entry.
    pub fn agree(&mut self, records: Vec<Record>) {
        assert_eq!(too_early(&self.image.features, &records), None, "{records:?}");
        if !records.is_empty() {
            self.image.index += 1;
            records.iter().for_each(|r| self.image.apply(r));
            self.log.extend(records);
        }
    }

    pub fn register(&mut self, registration: BrokerRegistration, unclean: bool) -> Result<i64, ApiError> {
        let command = Command::RegisterBroker { cluster_id: "cluster".into(), registration, unclean };
        let Reply::RegisterBroker(result) = self.run(&command) else { panic!("wrong reply") };
        result.map(|r| r.epoch)
    }

    pub fn join(&mut self, id: NodeId, rack: Option<&str>) {
        let registration = BrokerRegistration { rack: rack.map(str::to_owned), ..registration(id, 1) };
        self.register(registration, false).unwrap();
        self.beat(id, |_| {});
    }

    pub fn epoch(&self, id: NodeId) -> i64 {
        self.image.broker(id).unwrap().epoch
    }

    pub fn beat(&mut self, id: NodeId, change: impl FnOnce(&mut Heartbeat)) -> Reply {
        let mut beat = Heartbeat {
            broker: id,
            broker_epoch: self.epoch(id),
            applied: self.image.index,
            want_fence: false,
            want_shutdown: false,
            offline_dirs: Vec::new(),
        };
        change(&mut beat);
        self.run(&Command::BrokerHeartbeat(beat))
    }

    pub fn fence(&mut self, id: NodeId) {
        let broker_epoch = self.epoch(id);
        self.run(&Command::FenceBroker { broker: id, broker_epoch });
    }

    pub fn create(&mut self, topic: NewTopic) -> Result<millrace_metadata::command::CreatedTopic, ApiError> {
        let Reply::CreateTopics(mut results) =
            self.run(&Command::CreateTopics { topics: vec![topic], validate_only: false })
        else {
            panic!("wrong reply")
        };
        results.remove(0).map_err(|(_, e)| e)
    }

    pub fn assigned(&mut self, name: &str, replicas: &[NodeId]) {
        let topic = NewTopic { assignments: vec![(0, replicas.to_vec())], ..NewTopic::new(name, -1, -1) };
        self.create(topic).unwrap();
    }

    pub fn set(&mut self, topic: &str, key: &str, value: &str) {
        let op = ConfigOp { key: key.into(), op: ConfigOpKind::Set, value: Some(value.into()) };
        let resource = millrace_metadata::ConfigResource::topic(topic);
        let changes = vec![ConfigChange { resource, ops: vec![op], replace: false }];
        let Reply::AlterConfigs(results) = self.run(&Command::AlterConfigs { changes, validate_only: false }) else {
            panic!("wrong reply")
        };
        results[0].1.clone().unwrap();
    }

    pub fn partition(&self, topic: &str) -> &PartitionImage {
        self.image.partition(topic, 0).unwrap()
    }
}

pub(crate) fn registration(id: NodeId, incarnation: u8) -> BrokerRegistration {
    let mut dir = [1; 16];
    dir[0] = id as u8;
    BrokerRegistration {
        id,
        incarnation: IncarnationId([incarnation; 16]),
        endpoints: Vec::new(),
        rack: None,
        dirs: vec![DirId(dir)],
        features: ranges(TABLE),
    }
}

pub(crate) fn code<T>(result: Result<T, ApiError>) -> Option<ErrorCode> {
    result.err().map(|e| e.code)
}
