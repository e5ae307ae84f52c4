//! The image: everything the records say, as of one Raft index. Immutable for its readers and cheap to clone; a clone
//! shares all that does not change.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::ids::{DirId, IncarnationId, NO_NODE, NodeId, TopicId};
use crate::record::{
    BrokerRegistration, ConfigResource, ControllerRegistration, Dirs, Endpoint, FeatureRange, Nodes, PartitionDelta,
    Record, ResourceKind,
};

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    pub id: NodeId,
    /// Grows with every incarnation of any broker.
    pub epoch: i64,
    pub incarnation: IncarnationId,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    /// Fenced brokers lead nothing and are in no in-sync set.
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// Directories that are online.
    pub dirs: Vec<DirId>,
    pub features: Vec<FeatureRange>,
    /// Raft index of its registration: the broker knows itself registered once it has applied that much.
    pub registered_at: u64,
    /// Raft index at which its controlled shutdown began and its partitions were handed over; 0 if it did not.
    pub shutdown_at: u64,
}

impl BrokerImage {
    /// May lead partitions and be in sync.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.listener == listener)
    }
}

/// A partition's replicas and their roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionImage {
    /// The first one is the preferred leader.
    pub replicas: Nodes,
    /// Parallel to `replicas`.
    pub dirs: Dirs,
    pub isr: Nodes,
    /// Out of sync, but known to hold everything committed (KIP-966).
    pub elr: Nodes,
    /// Whom to turn to when ISR and ELR are both lost.
    pub last_known_elr: Nodes,
    /// Replicas that a reassignment adds, and takes away.
    pub adding: Nodes,
    pub removing: Nodes,
    /// −1 if there is none.
    pub leader: NodeId,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub recovering: bool,
}

impl PartitionImage {
    /// A new partition whose replicas are all in sync, led by the first one.
    pub fn new(replicas: &[NodeId], dirs: &[DirId]) -> PartitionImage {
        PartitionImage {
            replicas: Nodes::from_slice(replicas),
            dirs: dirs.iter().copied().collect(),
            isr: Nodes::from_slice(replicas),
            leader: replicas.first().copied().unwrap_or(NO_NODE),
            ..PartitionImage::default()
        }
    }

    pub fn has_leader(&self) -> bool {
        self.leader != NO_NODE
    }

    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The directory of the replica on this node.
    pub fn dir_of(&self, node: NodeId) -> Option<DirId> {
        let at = self.replicas.iter().position(|r| *r == node)?;
        self.dirs.get(at).copied()
    }

    /// The partition after this change; see [`PartitionDelta`] for the epochs.
    pub fn change(&mut self, delta: &PartitionDelta) {
        let set = |field: &mut Nodes, value: &Option<Nodes>| {
            if let Some(value) = value {
                *field = value.clone();
            }
        };
        set(&mut self.replicas, &delta.replicas);
        set(&mut self.isr, &delta.isr);
        set(&mut self.elr, &delta.elr);
        set(&mut self.last_known_elr, &delta.last_known_elr);
        set(&mut self.adding, &delta.adding);
        set(&mut self.removing, &delta.removing);
        if let Some(dirs) = &delta.dirs {
            self.dirs = Dirs::from_slice(dirs);
        }
        if let Some(recovering) = delta.recovering {
            self.recovering = recovering;
        }
        if let Some(leader) = delta.leader {
            self.leader = leader;
            self.leader_epoch = self.leader_epoch.wrapping_add(1);
        }
        self.partition_epoch = self.partition_epoch.wrapping_add(1);
    }
}

/// A topic with its partitions; a partition's index is its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub id: TopicId,
    pub partitions: Vec<PartitionImage>,
}

impl TopicImage {
    pub fn partition(&self, index: i32) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// Key to value, sorted.
pub type ConfigMap = BTreeMap<String, String>;

/// The cluster as of one Raft index. All iteration is sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Raft index and term of the last applied entry.
    pub index: u64,
    pub term: u64,
    /// Empty until the first record.
    pub cluster_id: Arc<str>,
    /// Finalised feature levels.
    pub features: BTreeMap<String, i16>,
    /// Raft index at which a feature last changed: what clients know as the finalised features' epoch.
    pub features_index: u64,
    pub next_producer_id: i64,
    /// The largest epoch that any broker ever had.
    pub last_broker_epoch: i64,
    brokers: BTreeMap<NodeId, Arc<BrokerImage>>,
    controllers: BTreeMap<NodeId, Arc<ControllerRegistration>>,
    topics: RedBlackTreeMapSync<TopicId, Arc<TopicImage>>,
    names: RedBlackTreeMapSync<Arc<str>, TopicId>,
    configs: RedBlackTreeMapSync<ConfigResource, Arc<ConfigMap>>,
    partition_count: usize,
}

impl Image {
    /// Nothing yet, as of this index and term: what a snapshot's records are applied to.
    pub fn at(index: u64, term: u64) -> Image {
        Image { index, term, ..Image::default() }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(id)
    }

    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    pub fn topic_name(&self, id: &TopicId) -> Option<&str> {
        self.topics.get(id).map(|t| &*t.name)
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// Topics whose name is `from` or later, sorted by name.
    pub fn topics_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.names.range::<str, _>((Bound::Included(from), Bound::Unbounded)).filter_map(|(_, id)| self.topics.get(id))
    }

    /// All topics, sorted by id.
    pub fn topics_by_id(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    pub fn topic_count(&self) -> usize {
        self.topics.size()
    }

    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub fn partition(&self, topic: &str, index: i32) -> Option<&PartitionImage> {
        self.topic(topic)?.partition(index)
    }

    pub fn broker(&self, id: NodeId) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, fenced ones too, sorted by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values()
    }

    /// Brokers that are not fenced, sorted by id.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values().filter(|b| !b.fenced)
    }

    /// What the controller with this id told when it registered.
    pub fn controller(&self, id: NodeId) -> Option<&Arc<ControllerRegistration>> {
        self.controllers.get(&id)
    }

    /// All controllers that registered, sorted by id.
    pub fn controllers(&self) -> impl Iterator<Item = &Arc<ControllerRegistration>> {
        self.controllers.values()
    }

    /// The level that the feature is finalised at; 0 if it is off.
    pub fn level(&self, feature: &str) -> i16 {
        self.features.get(feature).copied().unwrap_or(0)
    }

    /// What was set for the resource; nothing of its defaults.
    pub fn config(&self, resource: &ConfigResource) -> Option<&Arc<ConfigMap>> {
        self.configs.get(resource)
    }

    pub fn topic_config(&self, name: &str) -> Option<&Arc<ConfigMap>> {
        self.config(&ConfigResource::topic(name))
    }

    /// Dynamic configuration of one broker (not the cluster-wide one).
    pub fn broker_config(&self, id: NodeId) -> Option<&Arc<ConfigMap>> {
        self.config(&ConfigResource::new(ResourceKind::Broker, id.to_string()))
    }

    /// Cluster-wide dynamic broker configuration.
    pub fn cluster_config(&self) -> Option<&Arc<ConfigMap>> {
        self.config(&ConfigResource::new(ResourceKind::Broker, ""))
    }

    /// Resources that have a configuration, sorted.
    pub fn configs(&self) -> impl Iterator<Item = (&ConfigResource, &Arc<ConfigMap>)> {
        self.configs.iter()
    }

    /// Takes one fact in. Total: a record that refers to something unknown changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::ClusterId { id } => self.cluster_id = Arc::from(id.as_str()),
            Record::RegisterBroker { registration, epoch, fenced, in_controlled_shutdown, index, shutdown_at } => {
                let at = if *index == 0 { self.index } else { *index };
                let broker = register(registration, *epoch, (*fenced, *in_controlled_shutdown), (at, *shutdown_at));
                self.last_broker_epoch = self.last_broker_epoch.max(*epoch);
                self.brokers.insert(broker.id, Arc::new(broker));
            }
            Record::BrokerChange { id, epoch, fenced, in_controlled_shutdown, dirs } => {
                if let Some(broker) = self.brokers.get_mut(id).filter(|b| b.epoch == *epoch) {
                    let broker = Arc::make_mut(broker);
                    broker.fenced = fenced.unwrap_or(broker.fenced);
                    if *in_controlled_shutdown == Some(true) && !broker.in_controlled_shutdown {
                        broker.shutdown_at = self.index;
                    }
                    broker.in_controlled_shutdown = in_controlled_shutdown.unwrap_or(broker.in_controlled_shutdown);
                    if let Some(dirs) = dirs {
                        broker.dirs = dirs.clone();
                    }
                }
            }
            Record::UnregisterBroker { id, epoch } => {
                if self.brokers.get(id).is_some_and(|b| b.epoch == *epoch) {
                    self.brokers.remove(id);
                }
            }
            Record::Topic { name, id } => self.add_topic(name, *id),
            Record::Partition { topic, index, partition } => self.add_partition(topic, *index, partition),
            Record::PartitionChange { topic, index, delta } => {
                if let Some(topic) = self.topics.get_mut(topic)
                    && topic.partition(*index).is_some()
                {
                    Arc::make_mut(topic).partitions[*index as usize].change(delta);
                }
            }
            Record::RemoveTopic { id } => self.remove_topic(id),
            Record::Config(c) => self.set_config(&c.resource, &c.key, c.value.as_deref()),
            Record::FeatureLevel { name, level } => {
                self.features_index = self.features_index.max(self.index);
                if *level == 0 {
                    self.features.remove(name);
                } else {
                    self.features.insert(name.clone(), *level);
                }
            }
            Record::ProducerIds { next, .. } => self.next_producer_id = self.next_producer_id.max(*next),
            Record::Counters { last_broker_epoch, features_index } => {
                self.last_broker_epoch = self.last_broker_epoch.max(*last_broker_epoch);
                self.features_index = *features_index;
            }
            Record::RegisterController(registration) => {
                self.controllers.insert(registration.id, Arc::new((**registration).clone()));
            }
        }
    }

    fn add_topic(&mut self, name: &str, id: TopicId) {
        if self.names.contains_key(name) || self.topics.contains_key(&id) {
            return;
        }
        let name: Arc<str> = Arc::from(name);
        self.names.insert_mut(name.clone(), id);
        self.topics.insert_mut(id, Arc::new(TopicImage { name, id, partitions: Vec::new() }));
    }

    fn add_partition(&mut self, topic: &TopicId, index: i32, partition: &PartitionImage) {
        if let Some(topic) = self.topics.get_mut(topic)
            && usize::try_from(index) == Ok(topic.partitions.len())
        {
            Arc::make_mut(topic).partitions.push(partition.clone());
            self.partition_count += 1;
        }
    }

    fn remove_topic(&mut self, id: &TopicId) {
        if let Some(topic) = self.topics.get(id).cloned() {
            self.partition_count -= topic.partitions.len();
            self.topics.remove_mut(id);
            self.names.remove_mut(&*topic.name);
            self.configs.remove_mut(&ConfigResource::topic(&*topic.name));
        }
    }

    fn set_config(&mut self, resource: &ConfigResource, key: &str, value: Option<&str>) {
        let mut map = self.configs.get(resource).map_or_else(ConfigMap::new, |m| (**m).clone());
        match value {
            Some(value) => map.insert(key.to_owned(), value.to_owned()),
            None => map.remove(key),
        };
        if map.is_empty() {
            self.configs.remove_mut(resource);
        } else {
            self.configs.insert_mut(resource.clone(), Arc::new(map));
        }
    }
}

fn register(r: &BrokerRegistration, epoch: i64, state: (bool, bool), at: (u64, u64)) -> BrokerImage {
    BrokerImage {
        id: r.id,
        epoch,
        incarnation: r.incarnation,
        endpoints: r.endpoints.clone(),
        rack: r.rack.clone(),
        fenced: state.0,
        in_controlled_shutdown: state.1,
        dirs: r.dirs.clone(),
        features: r.features.clone(),
        registered_at: at.0,
        shutdown_at: at.1,
    }
}
