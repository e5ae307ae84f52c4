//! Which brokers get the replicas of new partitions: replicas of one partition over racks, then leaders and replicas of
//! one topic evenly over brokers, then those of all topics. Kafka (`StripedReplicaPlacer`) reaches the first two by
//! dealing brokers out in turn; here they are counted, so that topics of one partition are spread as well, and a broker
//! that is new does not get every partition of the next topic.

use std::collections::BTreeMap;

use millrace_metadata::{BrokerImage, DirId, Image, NodeId, PartitionImage};
use rand::RngCore;

#[derive(Debug, Clone)]
struct Load {
    id: NodeId,
    active: bool,
    /// Index of the rack; brokers without one share a rack of their own kind, as in Kafka.
    rack: usize,
    all: Held,
    /// Of the topic that is being placed.
    topic: Held,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    leaders: u32,
    replicas: u32,
}

/// What every broker holds already.
#[derive(Debug, Clone)]
pub(crate) struct Loads {
    brokers: Vec<Load>,
    racks: usize,
}

impl Loads {
    pub fn of(image: &Image) -> Loads {
        let mut racks: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for broker in image.brokers() {
            let next = racks.len();
            racks.entry(broker.rack.as_deref()).or_insert(next);
        }
        let load = |b: &BrokerImage| Load {
            id: b.id,
            active: b.is_active(),
            rack: racks[&b.rack.as_deref()],
            all: Held::default(),
            topic: Held::default(),
        };
        let mut loads = Loads { brokers: image.brokers().map(|b| load(b)).collect(), racks: racks.len() };
        // One broker has no choice to make.
        if loads.brokers.len() > 1 {
            image.topics_by_id().flat_map(|t| &t.partitions).for_each(|p| loads.count(p, |load| &mut load.all));
        }
        loads
    }

    /// Another topic is placed, which has these partitions already.
    pub fn begin_topic(&mut self, partitions: &[PartitionImage]) {
        self.brokers.iter_mut().for_each(|b| b.topic = Held::default());
        partitions.iter().for_each(|p| self.count(p, |load| &mut load.topic));
    }

    fn count(&mut self, partition: &PartitionImage, held: impl Fn(&mut Load) -> &mut Held) {
        for (place, replica) in partition.replicas.iter().enumerate() {
            // Sorted by id.
            if let Ok(at) = self.brokers.binary_search_by_key(replica, |b| b.id) {
                let held = held(&mut self.brokers[at]);
                held.replicas += 1;
                held.leaders += u32::from(place == 0);
            }
        }
    }

    /// Replicas of one new partition, the preferred leader first, counted as placed. The error says why not.
    pub fn place(&mut self, factor: i16, rng: &mut dyn RngCore) -> Result<Vec<NodeId>, String> {
        let wanted = usize::try_from(factor).unwrap_or(0);
        if wanted > self.brokers.len() {
            return Err(format!("only {} broker(s) are registered.", self.brokers.len()));
        }
        if !self.brokers.iter().any(|b| b.active) {
            return Err("all brokers are fenced or shutting down.".to_owned());
        }
        let mut on_rack = vec![0u32; self.racks];
        let mut chosen: Vec<usize> = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            let leading = chosen.is_empty();
            let start = rng.next_u32() as usize % self.brokers.len();
            let best = (0..self.brokers.len())
                .map(|i| (start + i) % self.brokers.len())
                .filter(|i| !chosen.contains(i))
                // A fenced broker is the last resort, and never the leader while another one is active.
                .min_by_key(|i| {
                    let b = &self.brokers[*i];
                    let leaders = |held: Held| if leading { held.leaders } else { 0 };
                    let even = (leaders(b.topic), b.topic.replicas, leaders(b.all), b.all.replicas);
                    (leading && !b.active, on_rack[b.rack], !b.active, even)
                });
            if let Some(best) = best {
                let broker = &mut self.brokers[best];
                on_rack[broker.rack] += 1;
                for held in [&mut broker.all, &mut broker.topic] {
                    held.replicas += 1;
                    held.leaders += u32::from(leading);
                }
                chosen.push(best);
            }
        }
        Ok(chosen.into_iter().map(|i| self.brokers[i].id).collect())
    }
}

/// Where a new replica goes: the broker's directory if it has only one, else the broker decides (KIP-858).
pub(crate) fn default_dir(image: &Image, broker: NodeId) -> DirId {
    match image.broker(broker).map(|b| &b.dirs[..]) {
        Some([only]) => *only,
        _ => DirId::UNASSIGNED,
    }
}

/// A new partition on these brokers: in sync are those that are active. `None` if none is.
pub(crate) fn new_partition(image: &Image, replicas: &[NodeId]) -> Option<PartitionImage> {
    let dirs: Vec<DirId> = replicas.iter().map(|r| default_dir(image, *r)).collect();
    let mut partition = PartitionImage::new(replicas, &dirs);
    partition.isr.retain(|r| image.broker(*r).is_some_and(|b| b.is_active()));
    partition.leader = *partition.isr.first()?;
    Some(partition)
}
