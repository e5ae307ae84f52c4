//! What holds for every image, and from one image to the next.

use std::collections::BTreeSet;

use millrace_metadata::config::parse_bool;
use millrace_metadata::{DirId, Image, NO_NODE, NodeId, PartitionImage, TopicImage};

use crate::check::Violation;

/// Whether the topic's records may be lost by an unclean election.
pub fn unclean_allowed(image: &Image, topic: &str) -> bool {
    let set = image.topic_config(topic).and_then(|c| c.get("unclean.leader.election.enable"));
    set.and_then(|v| parse_bool(v)).unwrap_or(false)
}

/// Sets, leader and broker states of one partition fit together.
pub fn partition(image: &Image, topic: &TopicImage, index: usize) -> Result<(), Violation> {
    let p = &topic.partitions[index];
    let fail = |rule: &'static str| Err(Violation::new(rule, format!("{}-{index}: {p:?}", topic.name)));
    let distinct = |nodes: &[NodeId]| nodes.iter().collect::<BTreeSet<_>>().len() == nodes.len();
    if !distinct(&p.replicas) || !distinct(&p.isr) || !distinct(&p.elr) {
        return fail("a set holds nobody twice");
    }
    if p.replicas.is_empty() || p.dirs.len() != p.replicas.len() {
        return fail("every replica has a directory");
    }
    if !p.isr.iter().all(|r| p.replicas.contains(r)) {
        return fail("in-sync replicas are replicas");
    }
    if !p.elr.iter().all(|r| p.replicas.contains(r) && !p.isr.contains(r)) {
        return fail("eligible replicas are replicas that are not in sync");
    }
    if !p.adding.iter().chain(&p.removing).all(|r| p.replicas.contains(r)) {
        return fail("who is added or removed is a replica");
    }
    if p.leader != NO_NODE && !p.isr.contains(&p.leader) {
        return fail("the leader is in sync");
    }
    if p.leader != NO_NODE && !image.broker(p.leader).is_some_and(|b| b.is_active()) {
        return fail("the leader is active");
    }
    if !p.isr.iter().all(|r| image.broker(*r).is_some_and(|b| !b.fenced)) {
        return fail("nobody fenced is in sync");
    }
    // A broker that got a new disk leads again once it has said where the replica is.
    let has_disk = |id: &NodeId| {
        let dir = p.dir_of(*id).unwrap_or(DirId::UNASSIGNED);
        image.broker(*id).is_some_and(|b| dir == DirId::UNASSIGNED || b.dirs.contains(&dir))
    };
    if p.isr.iter().any(has_disk) && p.leader == NO_NODE {
        return fail("while somebody is in sync, somebody leads");
    }
    Ok(())
}

/// Epochs only grow, and a new leader has a new one.
pub fn epochs(was: &PartitionImage, is: &PartitionImage) -> Result<(), Violation> {
    let grown = is.leader_epoch >= was.leader_epoch && is.partition_epoch >= was.partition_epoch;
    let changed = was == is || is.partition_epoch > was.partition_epoch;
    if !grown || !changed || (is.leader != was.leader && is.leader_epoch == was.leader_epoch) {
        return Err(Violation::new("epochs grow", format!("{was:?} → {is:?}")));
    }
    Ok(())
}

/// How a leader came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// It holds everything committed.
    Clean,
    /// It may lack committed records, and that was allowed.
    Unclean,
}

/// Whether what is committed may be lost by this change.
pub fn election(
    images: (&Image, &Image),
    name: &str,
    change: (&PartitionImage, &PartitionImage),
) -> Result<Election, Violation> {
    let (was, is) = change;
    let allowed = unclean_allowed(images.0, name) || unclean_allowed(images.1, name);
    let given_up = was.is_reassigning() && !is.is_reassigning() && !is.isr.iter().all(|r| was.isr.contains(r));
    if allowed && given_up {
        return Ok(Election::Unclean);
    }
    // A replica that joins and thereby completes a reassignment may lead at once.
    let completed = was.is_reassigning() && !is.is_reassigning();
    let next = is.leader;
    let holds = |set: &[NodeId]| set.contains(&next);
    if completed || next == was.leader || next == NO_NODE || holds(&was.isr) || holds(&was.elr) {
        return Ok(Election::Clean);
    }
    if allowed || was.last_known_elr[..] == [next] {
        return Ok(Election::Unclean);
    }
    Err(Violation::new("no unclean election unless it is allowed", format!("{name}: {was:?} → {is:?}")))
}
