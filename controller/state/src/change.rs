//! How a partition changes when its replicas come and go: completion of reassignments, ELR, election, epochs
//! (`PartitionChangeBuilder`, KIP-966).

use millrace_metadata::record::{Dirs, Nodes, PartitionDelta};
use millrace_metadata::{DirId, Image, NO_NODE, NodeId, PartitionImage, Record, TopicImage};

use crate::Defaults;
use crate::draft::{min_isr, unclean_allowed};
use crate::features::elr_enabled;
use crate::placement::default_dir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Election {
    /// The first replica if it can, else as `Online`.
    Preferred,
    /// The present leader if it can, else the first replica that holds everything committed.
    Online,
    /// As `Online`, else any active replica, with the loss that this means.
    Unclean,
}

/// A change under construction: what the partition shall be, from which the rest follows.
pub(crate) struct Change<'a> {
    image: &'a Image,
    topic: &'a TopicImage,
    index: i32,
    partition: &'a PartitionImage,
    min_isr: usize,
    elr_enabled: bool,
    election: Election,
    isr: Nodes,
    replicas: Nodes,
    adding: Nodes,
    removing: Nodes,
    elr: Nodes,
    recovering: bool,
    dirs: Vec<(NodeId, DirId)>,
    /// A replica that may have lost what it held in sync.
    unclean_shutdown: Option<NodeId>,
    /// A replica whose disk is gone.
    lost: Option<NodeId>,
}

struct Elected {
    node: NodeId,
    unclean: bool,
}

impl<'a> Change<'a> {
    pub fn new(image: &'a Image, (topic, index): (&'a TopicImage, i32), defaults: &Defaults) -> Option<Change<'a>> {
        let partition = topic.partition(index)?;
        let election = if unclean_allowed(image, topic, defaults) { Election::Unclean } else { Election::Online };
        Some(Change {
            image,
            topic,
            index,
            partition,
            min_isr: min_isr(image, (topic, partition), defaults),
            elr_enabled: elr_enabled(image),
            election,
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            adding: partition.adding.clone(),
            removing: partition.removing.clone(),
            elr: partition.elr.clone(),
            recovering: partition.recovering,
            dirs: Vec::new(),
            unclean_shutdown: None,
            lost: None,
        })
    }

    pub fn election(mut self, election: Election) -> Self {
        self.election = election;
        self
    }

    pub fn isr(mut self, isr: Nodes) -> Self {
        self.isr = isr;
        self
    }

    pub fn without(mut self, node: NodeId) -> Self {
        self.isr.retain(|r| *r != node);
        self
    }

    pub fn unclean_shutdown(mut self, node: NodeId) -> Self {
        self.unclean_shutdown = Some(node);
        self.elr.retain(|r| *r != node);
        self.without(node)
    }

    /// What the replica held is gone with its directory: nobody may wait for it, or turn to it as the last leader
    /// while another replica still has something.
    pub fn lost(mut self, node: NodeId) -> Self {
        self.lost = Some(node).filter(|_| self.replicas.len() > 1);
        self.unclean_shutdown(node)
    }

    pub fn assignment(mut self, replicas: Nodes, adding: Nodes, removing: Nodes) -> Self {
        (self.replicas, self.adding, self.removing) = (replicas, adding, removing);
        self
    }

    pub fn recovering(mut self, recovering: bool) -> Self {
        self.recovering = recovering;
        self
    }

    pub fn dir(mut self, node: NodeId, dir: DirId) -> Self {
        self.dirs.push((node, dir));
        self
    }

    /// The record, or `None` if nothing changes.
    pub fn build(mut self) -> Option<Record> {
        let mut delta = PartitionDelta::default();
        self.complete_reassignment();
        self.fill_elr();
        self.elect(&mut delta);
        // A leader that keeps leading learns by a new epoch that replicas left the assignment.
        let removed = !self.partition.replicas.iter().all(|r| self.replicas.contains(r));
        if delta.leader.is_none() && removed {
            delta.leader = Some(self.partition.leader);
        }
        // An unclean leader starts a history of its own: nobody else is eligible any more. And one that came from the
        // eligible ones may be enough in sync by itself, when the minimum was lowered while there was no leader.
        if delta.isr.is_some() || !self.elr_enabled || self.isr.len() >= self.min_isr {
            self.elr.clear();
        }
        if self.elr != self.partition.elr {
            delta.elr = Some(self.elr.clone());
        }
        let may_be_empty = self.elr_enabled || !self.isr.is_empty();
        if delta.isr.is_none() && may_be_empty && self.isr != self.partition.isr {
            delta.isr = Some(self.isr.clone());
        }
        self.remember_last_leader(&mut delta);
        self.set_assignment(&mut delta);
        if delta.recovering.is_none() && self.recovering != self.partition.recovering {
            delta.recovering = Some(self.recovering);
        }
        if delta.is_empty() {
            return None;
        }
        Some(Record::PartitionChange { topic: self.topic.id, index: self.index, delta: Box::new(delta) })
    }

    fn complete_reassignment(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let keep = |nodes: &Nodes| -> Nodes { nodes.iter().copied().filter(|r| !self.removing.contains(r)).collect() };
        let (isr, replicas) = (keep(&self.isr), keep(&self.replicas));
        if isr.is_empty() || replicas.is_empty() || !replicas.iter().all(|r| isr.contains(r)) {
            return;
        }
        (self.isr, self.replicas) = (isr, replicas);
        self.adding.clear();
        self.removing.clear();
    }

    /// Who leaves the in-sync set when that falls below the minimum still holds everything committed, because the
    /// high watermark stands still from then on.
    fn fill_elr(&mut self) {
        if !self.elr_enabled {
            return;
        }
        if self.isr.len() >= self.min_isr {
            self.elr.clear();
            return;
        }
        let mut elr = self.elr.clone();
        for replica in &self.partition.isr {
            if !elr.contains(replica) {
                elr.push(*replica);
            }
        }
        elr.retain(|r| !self.isr.contains(r) && self.unclean_shutdown != Some(*r) && self.replicas.contains(r));
        self.elr = elr;
    }

    /// The node could lead if the choice of who holds everything were not a question.
    pub fn acceptable(&self, node: NodeId) -> bool {
        let Some(broker) = self.image.broker(node).filter(|b| b.is_active()) else {
            return false;
        };
        let given = self.dirs.iter().find(|(n, _)| *n == node).map(|(_, dir)| *dir);
        let dir = given.or_else(|| self.partition.dir_of(node)).unwrap_or(DirId::UNASSIGNED);
        dir == DirId::UNASSIGNED || broker.dirs.contains(&dir)
    }

    fn can_lead(&self, node: NodeId) -> bool {
        let holds_all = self.isr.contains(&node) || (self.isr.is_empty() && self.elr.contains(&node));
        holds_all && self.acceptable(node)
    }

    fn choose(&self) -> Elected {
        let clean = |node| Elected { node, unclean: false };
        let preferred = self.replicas.first().copied().unwrap_or(NO_NODE);
        if self.election == Election::Preferred && self.can_lead(preferred) {
            return clean(preferred);
        }
        if self.can_lead(self.partition.leader) {
            return clean(self.partition.leader);
        }
        if let Some(node) = self.replicas.iter().find(|r| self.can_lead(**r)) {
            return clean(*node);
        }
        // With nobody left who is known to hold everything, the leader of the last in-sync set holds the most.
        if let [last] = self.partition.last_known_elr[..]
            && self.elr_enabled
            && self.isr.is_empty()
            && self.elr.is_empty()
            && self.lost != Some(last)
            && self.replicas.contains(&last)
            && self.acceptable(last)
        {
            return Elected { node: last, unclean: true };
        }
        if self.election == Election::Unclean
            && let Some(node) = self.replicas.iter().find(|r| self.acceptable(**r))
        {
            return Elected { node: *node, unclean: true };
        }
        clean(NO_NODE)
    }

    fn elect(&mut self, delta: &mut PartitionDelta) {
        let elected = self.choose();
        if elected.node == self.partition.leader {
            return;
        }
        if self.elr.contains(&elected.node) {
            self.isr = Nodes::from_slice(&[elected.node]);
            self.elr.retain(|r| *r != elected.node);
        }
        delta.leader = Some(elected.node);
        if elected.unclean {
            delta.isr = Some(Nodes::from_slice(&[elected.node]));
            if !self.partition.recovering {
                delta.recovering = Some(true);
            }
        }
    }

    fn remember_last_leader(&self, delta: &mut PartitionDelta) {
        if !self.elr_enabled {
            return;
        }
        let known = &self.partition.last_known_elr;
        let leader = self.partition.leader;
        let emptied = delta.isr.as_ref().is_some_and(|isr| isr.is_empty());
        if emptied && leader != NO_NODE && known[..] != [leader] {
            delta.last_known_elr = Some(Nodes::from_slice(&[leader]));
        } else if !known.is_empty()
            && (delta.leader.unwrap_or(leader) != NO_NODE || self.lost.is_some_and(|node| known.contains(&node)))
        {
            delta.last_known_elr = Some(Nodes::new());
        }
    }

    fn set_assignment(&self, delta: &mut PartitionDelta) {
        let dir = |node: &NodeId| {
            let given = self.dirs.iter().find(|(n, _)| n == node).map(|(_, dir)| *dir);
            given.or_else(|| self.partition.dir_of(*node)).unwrap_or_else(|| default_dir(self.image, *node))
        };
        let dirs: Dirs = self.replicas.iter().map(dir).collect();
        delta.dirs = (dirs != self.partition.dirs).then(|| dirs.into_vec().into());
        let changed = |new: &Nodes, old: &Nodes| (new != old).then(|| new.clone());
        delta.replicas = changed(&self.replicas, &self.partition.replicas);
        delta.adding = changed(&self.adding, &self.partition.adding);
        delta.removing = changed(&self.removing, &self.partition.removing);
    }
}
