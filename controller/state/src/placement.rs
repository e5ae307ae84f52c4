//! Which brokers get the replicas of new partitions: leaders and replicas evenly over brokers, replicas of one
//! partition over racks.

use std::collections::BTreeMap;

use millrace_metadata::{DirId, Image, NodeId, PartitionImage};
use rand::RngCore;

#[derive(Debug, Clone)]
struct Load {
    id: NodeId,
    active: bool,
    /// Index of the rack; brokers without one share a rack of their own kind, as in Kafka.
    rack: usize,
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
        let mut brokers: Vec<Load> = image
            .brokers()
            .map(|b| Load { id: b.id, active: b.is_active(), rack: racks[&b.rack.as_deref()], leaders: 0, replicas: 0 })
            .collect();
        // One broker has no choice to make.
        if brokers.len() > 1 {
            let at: BTreeMap<NodeId, usize> = brokers.iter().enumerate().map(|(i, b)| (b.id, i)).collect();
            for partition in image.topics_by_id().flat_map(|t| &t.partitions) {
                for replica in &partition.replicas {
                    if let Some(at) = at.get(replica) {
                        brokers[*at].replicas += 1;
                    }
                }
                if let Some(at) = partition.replicas.first().and_then(|preferred| at.get(preferred)) {
                    brokers[*at].leaders += 1;
                }
            }
        }
        Loads { brokers, racks: racks.len() }
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
                    let leaders = if leading { b.leaders } else { 0 };
                    (leading && !b.active, on_rack[b.rack], !b.active, leaders, b.replicas)
                });
            if let Some(best) = best {
                on_rack[self.brokers[best].rack] += 1;
                self.brokers[best].replicas += 1;
                self.brokers[best].leaders += u32::from(leading);
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
