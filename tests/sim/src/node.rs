//! A broker: what survives its process, and the process with its replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_groups::TOPIC;
use millrace_log::{DirSetup, LogDerive};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::ids::IncarnationId;
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{DirId, Image, NodeId, features};
use millrace_replica::{CommitError, ReplicaManager, ReplicaOptions, ReplicationSettings};
use millrace_state::Defaults;
use millrace_store::{LogStore, MemoryDisk, MemoryStore};

use crate::calls::{CallId, SessionId, Tp};
use crate::fetches::Session;
use crate::groups::Groups;

/// The machine.
pub struct Node {
    pub id: NodeId,
    pub disk: MemoryDisk,
    /// Counts the disks.
    pub disks: u8,
    /// Counts the processes.
    pub boot: u32,
    pub process: Option<Process>,
    /// Until then the process stands still, µs.
    pub paused_until: u64,
    /// Metadata arrives so much later than usual, µs.
    pub lag_us: u64,
    /// A sync takes so long, µs; 0: as usual.
    pub sync_us: u64,
    /// It shall stay down.
    pub held_down: bool,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Registering,
    /// Registered with this epoch.
    Registered(i64),
}

/// A produce request that waits for the high watermark.
pub struct Wait {
    pub call: CallId,
    pub tp: Tp,
    pub base: i64,
    pub last: i64,
    pub done: BoxFuture<'static, Result<(), CommitError>>,
}

/// A fetch that waits for more.
pub struct Parked {
    pub call: CallId,
    pub follower: NodeId,
    pub broker_epoch: i64,
    pub fetcher: usize,
    pub until: u64,
}

pub struct Process {
    pub store: MemoryStore,
    pub manager: Arc<ReplicaManager>,
    pub groups: Groups,
    /// The metadata as this broker has it.
    pub image: Arc<Image>,
    pub phase: Phase,
    pub stopping: bool,
    pub sync_scheduled: bool,
    pub waits: Vec<Wait>,
    pub parked: Vec<Parked>,
    /// AlterPartition is under way.
    pub isr_call: Option<CallId>,
    pub isr_pause_until: u64,
    /// Fetch sessions of followers, by broker and fetcher.
    pub sessions: BTreeMap<(NodeId, usize), Session>,
    /// Sessions of the own fetchers.
    pub own_sessions: BTreeMap<(NodeId, usize), SessionId>,
    /// The fetch that each fetcher has under way.
    pub fetches: BTreeMap<(NodeId, usize), CallId>,
    pub beat_call: Option<CallId>,
}

impl Node {
    pub fn new(id: NodeId) -> Node {
        Node {
            id,
            disk: MemoryDisk::new(),
            disks: 0,
            boot: 0,
            process: None,
            paused_until: 0,
            lag_us: 0,
            sync_us: 0,
            held_down: false,
        }
    }

    pub fn dir_id(&self) -> DirId {
        let mut id = [9; 16];
        (id[0], id[1]) = (self.id as u8, self.disks);
        DirId(id)
    }

    /// Starts a process on the disk.
    pub fn start(&mut self, settings: ReplicationSettings) {
        self.boot += 1;
        let store = MemoryStore::open_manual(&self.disk, Arc::new(LogDerive));
        let store = store.expect("nobody else has the disk");
        let dir = DirSetup {
            path: format!("/{}", self.id).into(),
            id: self.dir_id(),
            store: Ok(Arc::new(store.clone()) as Arc<dyn LogStore>),
        };
        let manager = Arc::new(ReplicaManager::start(ReplicaOptions { node_id: self.id, dirs: vec![dir] }));
        manager.set_replication(settings);
        self.process = Some(Process {
            store,
            groups: Groups::start(manager.clone()),
            manager,
            image: Arc::new(Image::default()),
            phase: Phase::Registering,
            stopping: false,
            sync_scheduled: false,
            waits: Vec::new(),
            parked: Vec::new(),
            isr_call: None,
            isr_pause_until: 0,
            sessions: BTreeMap::new(),
            own_sessions: BTreeMap::new(),
            fetches: BTreeMap::new(),
            beat_call: None,
        });
    }

    pub fn registration(&self) -> BrokerRegistration {
        let mut incarnation = [self.id as u8; 16];
        incarnation[..4].copy_from_slice(&self.boot.to_be_bytes());
        BrokerRegistration {
            id: self.id,
            incarnation: IncarnationId(incarnation),
            endpoints: Vec::new(),
            rack: None,
            dirs: vec![self.dir_id()],
            features: features::ranges(features::TABLE),
        }
    }
}

impl Process {
    /// Brings the replicas in step with this image.
    pub fn apply(&mut self, image: Arc<Image>) {
        let defaults = Defaults::default();
        let config = |name: &str| {
            let set = image.topic_config(name);
            let config = set.map_or_else(TopicConfig::default, |map| TopicConfig::resolve(&**map, &defaults.topic));
            Arc::new(config)
        };
        self.manager.apply(&image, &config);
        let partitions = image.topic(TOPIC).map_or(0, |topic| topic.partitions.len());
        self.groups.follow(&self.manager, partitions as i32);
        self.image = image;
    }
}
