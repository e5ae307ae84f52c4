//! The truth as it can be known from outside of all nodes at once, and what contradicts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_log::BatchView;
use millrace_log::record::Records;
use millrace_metadata::{DirId, Image, NodeId, PartitionImage};
use millrace_replica::Partition;
use millrace_store::ReadSpec;

use crate::calls::{Rec, Tp};
use crate::clients::is_idempotent;
use crate::node::Node;
use crate::rules::{self, Election};

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub text: String,
}

impl Violation {
    pub fn new(rule: &'static str, text: String) -> Violation {
        Violation { rule, text }
    }
}

type Checked = Result<(), Violation>;

/// A replica's log as it was seen last.
#[derive(Debug, Default)]
struct Shadow {
    boot: u32,
    recs: Vec<Rec>,
    /// What lies before it was deleted; `recs` has what was committed there.
    log_start: usize,
    durable: usize,
    high_watermark: usize,
    leader_epoch: i32,
    /// So many of the committed records are known to be in `recs`.
    matched: usize,
}

/// What is known of a partition.
#[derive(Debug, Default)]
pub struct Truth {
    /// Records below the highest high watermark that any leader ever had.
    pub committed: Vec<Rec>,
    /// By epoch and offset, whatever any replica held.
    written: BTreeMap<(i32, usize), u64>,
    leaders: BTreeMap<i32, NodeId>,
    /// An unclean election happened: records may be lost.
    pub lenient: bool,
}

#[derive(Debug, Default)]
pub struct Checker {
    replicas: BTreeMap<(NodeId, Tp), Shadow>,
    pub truths: BTreeMap<Tp, Truth>,
    /// Brokers whose disk was lost and replaced by this one, until they say so.
    wiped: BTreeMap<NodeId, DirId>,
    disks_lost: bool,
    /// The newest agreed image.
    image: Arc<Image>,
    pub acknowledged: u64,
    pub read: u64,
    pub elections: u64,
}

impl Checker {
    /// An image that a node made by itself equals the agreed one.
    pub fn same_image(&self, id: NodeId, own: &Image, agreed: Option<&Arc<Image>>) -> Checked {
        match agreed {
            Some(agreed) if **agreed == *own => Ok(()),
            _ => Err(Violation::new("images are equal", format!("broker {id} at {}", own.index))),
        }
    }

    /// The controllers agreed on the next image.
    pub fn agreed(&mut self, was: &Arc<Image>, is: &Arc<Image>) -> Checked {
        self.image = is.clone();
        self.wiped.retain(|id, dir| !is.broker(*id).is_some_and(|b| b.dirs.contains(dir)));
        for topic in is.topics_by_id() {
            let before = was.topic_by_id(&topic.id);
            if before.is_some_and(|b| Arc::ptr_eq(b, topic)) {
                continue;
            }
            for (index, now) in topic.partitions.iter().enumerate() {
                rules::partition(is, topic, index)?;
                let tp = (topic.id, index as i32);
                if let Some(then) = before.and_then(|b| b.partitions.get(index)) {
                    rules::epochs(then, now)?;
                    self.elections += u64::from(then.leader != now.leader);
                    if rules::election((was, is), &topic.name, (then, now))? == Election::Unclean {
                        self.truths.entry(tp).or_default().lenient = true;
                    }
                }
                self.eligible(tp, now)?;
            }
        }
        Ok(())
    }

    /// Whoever may become leader without loss holds everything committed, durably.
    fn eligible(&mut self, tp: Tp, partition: &PartitionImage) -> Checked {
        let truth = self.truths.entry(tp).or_default();
        if truth.lenient {
            return Ok(());
        }
        for member in partition.isr.iter().chain(&partition.elr).filter(|m| !self.wiped.contains_key(m)) {
            let shadow = self.replicas.entry((*member, tp)).or_default();
            let committed = truth.committed.len();
            if shadow.durable < committed {
                let text = format!(
                    "{tp:?}: {committed} are committed, {member} holds {} durably; {partition:?}",
                    shadow.durable
                );
                return Err(Violation::new("in-sync and eligible replicas hold what is committed", text));
            }
            if let Some(at) = (shadow.matched..committed).find(|at| shadow.recs[*at] != truth.committed[*at]) {
                let text = format!(
                    "{tp:?} at {at}: committed {:?}, {member} holds {:?}",
                    truth.committed[at], shadow.recs[at]
                );
                return Err(Violation::new("logs match below the high watermark", text));
            }
            shadow.matched = committed;
        }
        Ok(())
    }

    /// Looks at all replicas of a broker after something happened there.
    pub fn look(&mut self, node: &Node) -> Checked {
        let Some(process) = &node.process else {
            return Ok(());
        };
        if process.image.index == 0 {
            return Ok(());
        }
        let hosted = |tp: &Tp| {
            let partition = process.image.topic_by_id(&tp.0).and_then(|t| t.partition(tp.1));
            partition.is_some_and(|p| p.replicas.contains(&node.id))
        };
        self.replicas.retain(|(id, tp), _| *id != node.id || hosted(tp));
        for partition in process.manager.partitions() {
            self.look_at(node, &partition)?;
        }
        Ok(())
    }

    fn look_at(&mut self, node: &Node, partition: &Partition) -> Checked {
        let tp = (partition.topic_id(), partition.index());
        let truth = self.truths.entry(tp).or_default();
        let shadow = self.replicas.entry((node.id, tp)).or_default();
        let at = |rule, text: String| Err(Violation::new(rule, format!("{tp:?} on {}: {text}", node.id)));
        let bounds = partition.log().bounds();
        let (end, durable) = (bounds.end as usize, bounds.durable_end as usize);
        if shadow.boot != node.boot {
            // A log that was begun anew at its leader's start holds nothing before that.
            let held = shadow.durable > shadow.log_start;
            if end < shadow.durable && held && !truth.lenient {
                return at("what was durable survives", format!("{} were durable, {end} are left", shadow.durable));
            }
            let kept = std::mem::take(&mut shadow.recs);
            *shadow = Shadow { boot: node.boot, leader_epoch: -1, ..Shadow::default() };
            read_on(partition, shadow, end, truth).or_else(|text| at("logs can be read", text))?;
            let start = bounds.log_start as usize;
            if shadow.recs.iter().zip(&kept).skip(start).any(|(now, then)| now != then) {
                return at("what was durable survives", "records differ after the start".to_owned());
            }
        }
        if end < shadow.recs.len() {
            if end < shadow.matched.min(truth.committed.len()) && !truth.lenient {
                let eligible = self.image.topic_by_id(&tp.0).and_then(|t| t.partition(tp.1));
                if eligible.is_some_and(|p| p.isr.contains(&node.id) || p.elr.contains(&node.id)) {
                    let text = format!("truncated to {end}, {} are committed", truth.committed.len());
                    return at("nothing committed is truncated", text);
                }
            }
            shadow.recs.truncate(end);
            shadow.matched = shadow.matched.min(end);
        }
        read_on(partition, shadow, end, truth).or_else(|text| at("logs match by epoch", text))?;
        shadow.durable = durable;
        self.watermark(node, partition, tp)?;
        if let Some(now) = self.image.topic_by_id(&tp.0).and_then(|t| t.partition(tp.1)).cloned() {
            self.eligible(tp, &now)?;
        }
        Ok(())
    }

    fn watermark(&mut self, node: &Node, partition: &Partition, tp: Tp) -> Checked {
        let truth = self.truths.entry(tp).or_default();
        let shadow = self.replicas.entry((node.id, tp)).or_default();
        let at = |rule, text: String| Err(Violation::new(rule, format!("{tp:?} on {}: {text}", node.id)));
        let (leads, epoch) = (partition.is_leader(), partition.leader_epoch());
        let high_watermark = partition.high_watermark() as usize;
        if leads && *truth.leaders.entry(epoch).or_insert(node.id) != node.id {
            return at("one leader per epoch", format!("epoch {epoch} is led by {:?} too", truth.leaders[&epoch]));
        }
        if leads && shadow.leader_epoch == epoch && high_watermark < shadow.high_watermark {
            let text = format!("fell from {} to {high_watermark} in epoch {epoch}", shadow.high_watermark);
            return at("the high watermark of an epoch never falls", text);
        }
        (shadow.leader_epoch, shadow.high_watermark) = (epoch, high_watermark);
        if high_watermark > shadow.recs.len() {
            let text = format!("high watermark {high_watermark}, {} records", shadow.recs.len());
            return at("the high watermark is in the log", text);
        }
        if truth.lenient {
            return Ok(());
        }
        if leads && high_watermark > shadow.durable {
            return at("what is committed is durable", format!("{high_watermark} > {}", shadow.durable));
        }
        if leads && high_watermark > truth.committed.len() {
            let from = truth.committed.len();
            truth.committed.extend_from_slice(&shadow.recs[from..high_watermark]);
        }
        if high_watermark > truth.committed.len() {
            let text = format!("high watermark {high_watermark}, only {} are committed", truth.committed.len());
            return at("a follower's high watermark is not ahead", text);
        }
        if let Some(i) = (shadow.matched..high_watermark).find(|i| shadow.recs[*i] != truth.committed[*i]) {
            let text = format!("at {i}: {:?}, committed is {:?}", shadow.recs[i], truth.committed[i]);
            return at("logs match below the high watermark", text);
        }
        shadow.matched = shadow.matched.max(high_watermark);
        Ok(())
    }

    /// A process is about to die: what was not durable counts for nothing.
    pub fn died(&mut self, node: &Node) {
        for ((id, _), shadow) in &mut self.replicas {
            if *id == node.id {
                shadow.recs.truncate(shadow.durable);
                shadow.matched = shadow.matched.min(shadow.durable);
            }
        }
    }

    /// A broker lost its disk and gets an empty one. What nobody else is known to hold may be lost with it.
    pub fn wiped(&mut self, id: NodeId, dir: DirId) {
        self.wiped.insert(id, dir);
        self.disks_lost = true;
        self.replicas.retain(|(node, _), _| *node != id);
        for topic in self.image.topics_by_id() {
            for (index, p) in (0..).zip(&topic.partitions) {
                let held = p.isr.iter().chain(&p.elr).any(|m| !self.wiped.contains_key(m));
                if !held && p.replicas.contains(&id) {
                    self.truths.entry((topic.id, index)).or_default().lenient = true;
                }
            }
        }
    }

    /// A producer was told that its records are committed.
    pub fn acknowledged(&mut self, tp: Tp, base: i64, values: &[u64]) -> Checked {
        self.acknowledged += values.len() as u64;
        let truth = self.truths.entry(tp).or_default();
        if truth.lenient {
            return Ok(());
        }
        for (offset, value) in (base as usize..).zip(values) {
            let found = truth.committed.get(offset);
            if found.is_none_or(|r| r.value != *value) {
                let text = format!("{tp:?}: {value:x} at {offset} was acknowledged, committed is {found:?}");
                return Err(Violation::new("what is acknowledged is committed", text));
            }
        }
        Ok(())
    }

    /// A consumer was given records.
    pub fn consumed(&mut self, tp: Tp, records: &[(i64, Rec)]) -> Checked {
        self.read += records.len() as u64;
        let truth = self.truths.entry(tp).or_default();
        if truth.lenient {
            return Ok(());
        }
        for (offset, rec) in records {
            let found = truth.committed.get(*offset as usize);
            if found != Some(rec) {
                let text = format!("{tp:?}: read {rec:?} at {offset}, committed is {found:?}");
                return Err(Violation::new("what is read never changes", text));
            }
        }
        Ok(())
    }

    pub fn is_lenient(&self, tp: &Tp) -> bool {
        self.truths.get(tp).is_some_and(|t| t.lenient)
    }

    /// At the end, when nothing goes wrong any more: all replicas are in sync and equal, and nothing is there twice.
    pub fn whole(&self, nodes: &[Node]) -> Checked {
        for topic in self.image.topics_by_id() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let tp = (topic.id, index as i32);
                self.settled(nodes, tp, partition)?;
                self.sequences(&tp)?;
            }
        }
        Ok(())
    }

    fn settled(&self, nodes: &[Node], tp: Tp, partition: &PartitionImage) -> Checked {
        let fail = |text: String| Err(Violation::new("everything becomes whole again", format!("{tp:?}: {text}")));
        let lost = partition.isr.is_empty() && partition.elr.is_empty();
        if lost && (self.is_lenient(&tp) || self.disks_lost) {
            // Nobody is left who may lead unless somebody asks for it.
            return Ok(());
        }
        let all_in_sync = partition.replicas.iter().all(|r| partition.isr.contains(r));
        if !partition.has_leader() || !all_in_sync || !partition.elr.is_empty() || partition.is_reassigning() {
            return fail(format!("{partition:?}"));
        }
        let end = self.replicas.get(&(partition.leader, tp)).map_or(0, |s| s.recs.len());
        for id in &partition.replicas {
            let Some(process) = &nodes[*id as usize - 1].process else {
                return fail(format!("broker {id} is down"));
            };
            let Ok(replica) = process.manager.partition_by_id(&tp.0, tp.1) else {
                return fail(format!("broker {id} has no replica"));
            };
            if replica.is_leader() != (*id == partition.leader) || replica.leader_epoch() != partition.leader_epoch {
                return fail(format!("broker {id} is at epoch {}", replica.leader_epoch()));
            }
            let shadow = self.replicas.get(&(*id, tp));
            let (len, high_watermark) = (shadow.map_or(0, |s| s.recs.len()), replica.high_watermark() as usize);
            if len != end || high_watermark != end {
                return fail(format!("broker {id} has {len} of {end} records, high watermark {high_watermark}"));
            }
        }
        Ok(())
    }

    /// An idempotent producer's records are there once and in order.
    fn sequences(&self, tp: &Tp) -> Checked {
        let Some(truth) = self.truths.get(tp).filter(|t| !t.lenient) else {
            return Ok(());
        };
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (offset, rec) in truth.committed.iter().enumerate().filter(|(_, r)| is_idempotent(r.value)) {
            let before = last.insert(rec.value >> 32, rec.value);
            if before.is_some_and(|b| b >= rec.value) {
                let text = format!("{tp:?}: {:x} at {offset} follows on {before:x?}", rec.value);
                return Err(Violation::new("an idempotent producer's records are there once and in order", text));
            }
        }
        Ok(())
    }
}

/// Takes in what was appended since.
fn read_on(partition: &Partition, shadow: &mut Shadow, end: usize, truth: &mut Truth) -> Result<(), String> {
    let log_start = partition.log().bounds().log_start as usize;
    // What was deleted on purpose counts as what it was; a replica that was behind that begins anew there.
    for at in shadow.log_start..log_start {
        let gone = truth.committed.get(at).copied().unwrap_or(Rec { epoch: -1, value: 0 });
        match shadow.recs.get_mut(at) {
            Some(rec) => *rec = gone,
            None => shadow.recs.push(gone),
        }
    }
    shadow.log_start = log_start;
    while shadow.recs.len() < end {
        let from = shadow.recs.len();
        let spec = ReadSpec { from: from as i64, until: i64::MAX, max_bytes: 1 << 20, at_least_one: true };
        let chunk = partition.log().read(spec).map_err(|e| e.to_string())?;
        for batch in &chunk.batches {
            for (offset, rec) in records(batch)? {
                if (offset as usize) < shadow.recs.len() {
                    continue;
                }
                if offset as usize != shadow.recs.len() {
                    return Err(format!("offset {offset} follows on {}", shadow.recs.len()));
                }
                if shadow.recs.last().is_some_and(|r| r.epoch > rec.epoch) {
                    return Err(format!("epoch {} at {offset} follows on a larger one", rec.epoch));
                }
                let known = *truth.written.entry((rec.epoch, offset as usize)).or_insert(rec.value);
                if known != rec.value && !truth.lenient {
                    return Err(format!("{rec:?} at {offset}, another replica has value {known:x} in that epoch"));
                }
                shadow.recs.push(rec);
            }
        }
        if shadow.recs.len() == from {
            return Err(format!("nothing can be read at {from} of {end}"));
        }
    }
    Ok(())
}

/// Offset and content of each record of a batch.
pub fn records(batch: &[u8]) -> Result<Vec<(i64, Rec)>, String> {
    let view = BatchView::new(batch).ok_or("not a batch")?;
    let mut out = Vec::new();
    for record in Records::new(view.payload(), view.count()) {
        let record = record.map_err(|e| format!("{e:?}"))?;
        let value = match (record.key, record.value) {
            (None, Some(value)) if value.len() == 8 => value.iter().fold(0, |v, b| v << 8 | u64::from(*b)),
            (key, value) => fingerprint(key, value),
        };
        out.push((view.base_offset() + i64::from(record.offset_delta), Rec { epoch: view.leader_epoch(), value }));
    }
    Ok(out)
}

/// Stands for a record that is not a client's of the simulation (FNV-1a; the top bit is clear).
fn fingerprint(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let bytes = key.unwrap_or(b"-").iter().chain([&0]).chain(value.unwrap_or(b"-"));
    bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)) & (u64::MAX >> 1)
}
