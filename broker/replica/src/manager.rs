//! All partitions of a broker, kept in step with the metadata.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_log::{DirSetup, LogDir, LogManager, PartitionKey, Slot, Wanted};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, Image, NodeId, PartitionImage, ResourceKind, TopicId, TopicImage, diff};
use millrace_store::StoreError;
use parking_lot::{Mutex, RwLock};

use crate::dirs::Moves;
use crate::error::PartitionError;
use crate::fetchers::Fetchers;
use crate::partition::{OpenLog, Partition, PartitionState};
use crate::progress::{Progress, Reporter};
use crate::shared::Shared;

/// How a [`ReplicaManager`] starts.
pub struct ReplicaOptions {
    pub node_id: NodeId,
    /// The log directories with their opened stores, which must derive rows by [`millrace_log::LogDerive`].
    pub dirs: Vec<DirSetup>,
}

/// All replicas on this broker.
pub struct ReplicaManager {
    node_id: NodeId,
    shared: Arc<Shared>,
    fetchers: Fetchers,
    table: RwLock<Table>,
    /// The image that was applied last; its lock keeps calls of `apply` apart.
    applied: Mutex<Option<Arc<Image>>>,
    /// Leaderships in that image that were not taken up, as they seemed to be meant for an earlier run.
    held_back: AtomicBool,
    moves: Moves,
}

#[derive(Default)]
struct Table {
    ids: BTreeMap<TopicId, Replicas>,
    names: BTreeMap<Arc<str>, TopicId>,
}

/// Replicas of one topic; a partition without one is not here.
struct Replicas {
    name: Arc<str>,
    partitions: BTreeMap<i32, Replica>,
    /// Partitions of the topic, here or not.
    count: usize,
}

#[derive(Clone)]
enum Replica {
    Online(Arc<Partition>),
    /// Boxed, as there is one entry for every partition and an error is rare.
    Offline(Box<StoreError>),
}

/// Gives the settings of a topic.
pub type Configs<'a> = &'a dyn Fn(&str) -> Arc<TopicConfig>;

impl ReplicaManager {
    /// Takes stock of the directories; partitions appear with the first [`ReplicaManager::apply`]. Waits for the disk.
    pub fn start(options: ReplicaOptions) -> ReplicaManager {
        let shared = Shared::new(options.node_id, LogManager::open(options.dirs));
        ReplicaManager {
            node_id: options.node_id,
            fetchers: Fetchers::new(shared.clone()),
            shared,
            table: RwLock::default(),
            applied: Mutex::new(None),
            held_back: AtomicBool::new(false),
            moves: Moves::default(),
        }
    }

    pub fn dirs(&self) -> &[Arc<LogDir>] {
        self.logs().dirs()
    }

    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Those that fetch from the leaders of what is followed here.
    pub fn fetchers(&self) -> &Fetchers {
        &self.fetchers
    }

    pub(crate) fn shared_state(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn moves(&self) -> &Moves {
        &self.moves
    }

    pub(crate) fn logs(&self) -> &LogManager {
        &self.shared.logs
    }

    /// A partition by topic name.
    pub fn partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, PartitionError> {
        let table = self.table.read();
        let replicas = table.names.get(topic).and_then(|id| table.ids.get(id));
        find(replicas, index)
    }

    /// A partition by topic id.
    pub fn partition_by_id(&self, topic: &TopicId, index: i32) -> Result<Arc<Partition>, PartitionError> {
        find(self.table.read().ids.get(topic), index)
    }

    /// All partitions that are online, sorted by topic id and index.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        let table = self.table.read();
        let replicas = table.ids.values().flat_map(|t| t.partitions.values());
        replicas.filter_map(|replica| replica.online().cloned()).collect()
    }

    /// Brings the replicas in step with the metadata: makes and opens logs, deletes those of partitions that are gone
    /// or went elsewhere, follows leaders and settings. Idempotent; to be called from one task, where it may wait for
    /// the disk. The first call also deletes what belongs to no partition of `image`.
    pub fn apply(&self, image: &Arc<Image>, configs: Configs<'_>) {
        let mut applied = self.applied.lock();
        let brokers_changed = self.shared.set_brokers(image);
        let empty = Arc::new(Image::default());
        let first = applied.is_none();
        let before = applied.clone().unwrap_or(empty);
        let changes = diff::topics(&before, image);
        for id in &changes.removed {
            self.remove_topic(id);
        }
        let (created, changed) = (changes.created.iter(), changes.changed.iter().map(|(_, now)| now));
        let topics: Vec<&Arc<TopicImage>> = created.chain(changed).collect();
        if first {
            let keep = |key: PartitionKey| {
                let topic = image.topic_by_id(&key.0);
                topic.and_then(|t| t.partition(key.1)).is_some_and(|p| self.hosts(p))
            };
            self.logs().remove_strays(&keep);
        }
        for topic in &topics {
            self.remove_moved_away(topic);
        }
        self.open_missing(&topics, first, configs);
        // A new min.insync.replicas counts together with the in-sync set that it was decided with, never with an older one.
        let reconfigured = self.follow_configs(&before, image, configs);
        for topic in &topics {
            self.follow(topic);
        }
        reconfigured.iter().for_each(|partition| partition.reconfigured());
        self.take_up_held_back(image);
        if brokers_changed {
            // A replica may be in sync as soon as its broker is known to be back.
            self.review_replicas();
        }
        *applied = Some(image.clone());
    }

    fn hosts(&self, partition: &PartitionImage) -> bool {
        partition.replicas.contains(&self.node_id)
    }

    fn remove_topic(&self, id: &TopicId) {
        let removed = {
            let mut table = self.table.write();
            let removed = table.ids.remove(id);
            if let Some(replicas) = &removed
                && table.names.get(&replicas.name) == Some(id)
            {
                table.names.remove(&replicas.name);
            }
            removed
        };
        for (index, replica) in removed.into_iter().flat_map(|r| r.partitions) {
            self.drop_replica(id, index, &replica);
        }
    }

    fn drop_replica(&self, id: &TopicId, index: i32, replica: &Replica) {
        self.fetchers.stop(&(*id, index));
        if let Replica::Online(partition) = replica {
            partition.close();
        }
        self.logs().remove((*id, index));
    }

    /// Drops the replicas that a reassignment took from this broker.
    fn remove_moved_away(&self, topic: &TopicImage) {
        let gone: Vec<(i32, Replica)> = {
            let mut table = self.table.write();
            let Some(replicas) = table.ids.get_mut(&topic.id) else {
                return;
            };
            let away = |index: &i32| !topic.partition(*index).is_some_and(|p| self.hosts(p));
            replicas.partitions.extract_if(.., |index, _| away(index)).collect()
        };
        for (index, replica) in gone {
            self.drop_replica(&topic.id, index, &replica);
        }
    }

    /// Opens, and makes if need be, the logs of replicas that are not open yet.
    fn open_missing(&self, topics: &[&Arc<TopicImage>], first: bool, configs: Configs<'_>) {
        let mut wanted = Vec::new();
        let mut of = Vec::new();
        for topic in topics {
            for (index, partition) in (0i32..).zip(&topic.partitions) {
                let known = self.partition_by_id(&topic.id, index);
                if self.hosts(partition) && known.is_err() {
                    let dir = partition.dir_of(self.node_id).unwrap_or(DirId::ZERO);
                    let old = first || matches!(known, Err(PartitionError::Offline(_)));
                    wanted.push(Wanted { key: (topic.id, index), dir, old });
                    of.push(*topic);
                }
            }
        }
        let slots = self.logs().place(&wanted);
        let mut config: Option<(TopicId, Arc<TopicConfig>)> = None;
        for ((want, topic), slot) in wanted.iter().zip(of).zip(slots) {
            let config = match &config {
                Some((id, config)) if *id == topic.id => config.clone(),
                _ => config.insert((topic.id, configs(&topic.name))).1.clone(),
            };
            let replica = match slot.and_then(|slot| self.open(topic, want.key.1, &slot, config)) {
                Ok(partition) => Replica::Online(partition),
                Err(error) => {
                    tracing::error!(topic = %topic.name, partition = want.key.1, %error, "the partition's log is not available");
                    Replica::Offline(Box::new(error))
                }
            };
            self.table.write().insert(topic, want.key.1, replica);
        }
        let mut table = self.table.write();
        for topic in topics {
            table.topic(topic);
        }
    }

    fn open(
        &self,
        topic: &TopicImage,
        index: i32,
        slot: &Slot,
        config: Arc<TopicConfig>,
    ) -> Result<Arc<Partition>, StoreError> {
        let progress = Arc::new(Progress::default());
        let reporter = Reporter::new(progress.clone(), slot.dir.clone(), true);
        let log = Arc::new(self.logs().open_log(slot, config, reporter.clone())?);
        let bounds = log.bounds();
        progress.durable(bounds.durable_end);
        let replicas = topic.partition(index).map_or(0, |partition| partition.replicas.len());
        let noted = if replicas > 1 { log.noted_high_watermark()? } else { None };
        progress.recall(noted.unwrap_or(0).clamp(bounds.log_start, bounds.durable_end.max(bounds.log_start)));
        let open = OpenLog { log, progress, reporter, shared: self.shared.clone() };
        Ok(Arc::new(Partition::new(topic.name.clone(), topic.id, index, open)))
    }

    /// This broker is registered with `epoch`. It leads only what the metadata gives to that registration: an earlier
    /// run may have handed out offsets that this one does not have. May wait for the disk.
    pub fn registered(&self, epoch: i64) {
        self.shared.registered(epoch);
        let applied = self.applied.lock();
        if let Some(image) = &*applied {
            self.take_up_held_back(image);
        }
    }

    /// Takes up leaderships that turn out to be meant for this run after all.
    fn take_up_held_back(&self, image: &Image) {
        if self.held_back.load(Ordering::Acquire) && self.shared.may_lead() {
            self.held_back.store(false, Ordering::Release);
            image.topics_by_id().for_each(|topic| self.follow(topic));
        }
    }

    fn follow(&self, topic: &TopicImage) {
        let partitions: Vec<Arc<Partition>> = {
            let table = self.table.read();
            let replicas = table.ids.get(&topic.id).into_iter().flat_map(|replicas| replicas.partitions.values());
            replicas.filter_map(|replica| replica.online().cloned()).collect()
        };
        let mine = self.shared.may_lead();
        for partition in partitions {
            let Some(image) = topic.partition(partition.index()) else {
                continue;
            };
            if image.leader == self.node_id && !mine {
                // Meant for an earlier run of this broker: the controller takes it back when it hears of this one.
                self.held_back.store(true, Ordering::Release);
                continue;
            }
            partition.apply(PartitionState::of(image));
            self.fetchers.update(&partition);
        }
    }

    /// Hands new settings to the logs of the topics that they may concern; the partitions that they do.
    fn follow_configs(&self, before: &Image, image: &Image, configs: Configs<'_>) -> Vec<Arc<Partition>> {
        let (was, is) = (before, image);
        let defaults = same(was.cluster_config(), is.cluster_config())
            && same(was.broker_config(self.node_id), is.broker_config(self.node_id));
        let table = self.table.read();
        let mut changed = Vec::new();
        if !defaults {
            table.ids.values().for_each(|replicas| replicas.configure(configs, &mut changed));
            return changed;
        }
        for name in changed_topic_configs(was, is) {
            if let Some(replicas) = table.names.get(name).and_then(|id| table.ids.get(id)) {
                replicas.configure(configs, &mut changed);
            }
        }
        changed
    }

    /// Makes everything durable, leaves the clean-shutdown marks and closes the stores; waits for the disk.
    pub fn close(&self) -> Result<(), StoreError> {
        self.checkpoint_high_watermarks();
        for partition in self.partitions() {
            self.fetchers.stop(&partition.key());
            partition.close();
        }
        self.logs().close()
    }
}

impl Replica {
    fn online(&self) -> Option<&Arc<Partition>> {
        match self {
            Replica::Online(partition) => Some(partition),
            Replica::Offline(_) => None,
        }
    }
}

impl Replicas {
    fn configure(&self, configs: Configs<'_>, changed: &mut Vec<Arc<Partition>>) {
        let config = configs(&self.name);
        for partition in self.partitions.values().filter_map(Replica::online) {
            if *partition.log().config() != *config {
                partition.log().set_config(config.clone());
                changed.push(partition.clone());
            }
        }
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Topics whose own settings differ, found by comparing pointers.
fn changed_topic_configs<'a>(before: &'a Image, now: &'a Image) -> Vec<&'a str> {
    let mut changed = Vec::new();
    let topics = |image: &'a Image| image.configs().filter(|(r, _)| r.kind == ResourceKind::Topic).peekable();
    let (mut was, mut is) = (topics(before), topics(now));
    loop {
        let name = match (was.peek(), is.peek()) {
            (None, None) => return changed,
            (Some((w, old)), Some((i, new))) if w == i => {
                let name = (!Arc::ptr_eq(old, new)).then_some(w.name.as_str());
                was.next();
                is.next();
                name
            }
            (Some((w, _)), i) if i.as_ref().is_none_or(|(i, _)| w < i) => was.next().map(|(w, _)| w.name.as_str()),
            _ => is.next().map(|(i, _)| i.name.as_str()),
        };
        changed.extend(name);
    }
}

impl Table {
    fn topic(&mut self, topic: &TopicImage) -> &mut Replicas {
        self.names.insert(topic.name.clone(), topic.id);
        let replicas = self.ids.entry(topic.id).or_insert_with(|| Replicas {
            name: topic.name.clone(),
            partitions: BTreeMap::new(),
            count: 0,
        });
        replicas.count = topic.partitions.len();
        replicas
    }

    fn insert(&mut self, topic: &TopicImage, index: i32, replica: Replica) {
        self.topic(topic).partitions.insert(index, replica);
    }
}

fn find(replicas: Option<&Replicas>, index: i32) -> Result<Arc<Partition>, PartitionError> {
    let replicas = replicas.ok_or(PartitionError::Unknown)?;
    match replicas.partitions.get(&index) {
        Some(Replica::Online(partition)) => Ok(partition.clone()),
        Some(Replica::Offline(error)) => Err(PartitionError::Offline((**error).clone())),
        None if usize::try_from(index).is_ok_and(|i| i < replicas.count) => Err(PartitionError::NotHere),
        None => Err(PartitionError::Unknown),
    }
}
