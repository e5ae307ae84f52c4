//! Mistakes that the checks must find: each is made in the simulation's own layer, around correct code.

use millrace_metadata::record::{Nodes, PartitionDelta};
use millrace_metadata::{Command, Image, Record};
use rand::Rng;
use rand::rngs::StdRng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A follower says that it has what is only in its memory.
    CountsUnsynced,
    /// A follower cuts its log to its high watermark when the leader changes.
    TruncatesToWatermark,
    /// Followers do not say what epoch they are at, so that logs that differ are not found out.
    NoEpochs,
    /// The controller takes in-sync sets of leaders that are not leaders any more.
    StaleLeaders,
    /// Anybody is elected when nobody leads.
    ElectsAnybody,
    /// A leader acknowledges what it has itself.
    AcknowledgesEarly,
    /// A broker misses a record.
    DropsRecord,
    /// A crash takes the whole disk, and nobody says so.
    LosesDisk,
    /// Eligible replicas are forgotten, and the first replica is put in sync.
    ForgetsEligible,
}

pub const ALL: [Mutation; 9] = [
    Mutation::CountsUnsynced,
    Mutation::TruncatesToWatermark,
    Mutation::NoEpochs,
    Mutation::StaleLeaders,
    Mutation::ElectsAnybody,
    Mutation::AcknowledgesEarly,
    Mutation::DropsRecord,
    Mutation::LosesDisk,
    Mutation::ForgetsEligible,
];

impl Mutation {
    /// A command as the controller understands it.
    pub fn command(self, command: Command, image: &Image) -> Command {
        let Command::AlterPartition { mut broker, mut broker_epoch, mut changes } = command else {
            return command;
        };
        for change in &mut changes {
            let known = image.topic_by_id(&change.topic).and_then(|t| t.partition(change.partition));
            if let Some(known) = known.filter(|k| self == Mutation::StaleLeaders && k.has_leader()) {
                (change.leader_epoch, change.partition_epoch) = (known.leader_epoch, known.partition_epoch);
                broker = known.leader;
                if !change.isr.iter().any(|(id, _)| *id == broker) {
                    change.isr.push((broker, -1));
                }
                change.isr.iter_mut().for_each(|(_, epoch)| *epoch = -1);
                broker_epoch = image.broker(broker).map_or(broker_epoch, |b| b.epoch);
            }
        }
        Command::AlterPartition { broker, broker_epoch, changes }
    }

    /// What a mistaken controller decides by itself.
    pub fn own(self, image: &Image, rng: &mut StdRng) -> Vec<Record> {
        let mut records = Vec::new();
        for topic in image.topics_by_id() {
            for (index, p) in (0..).zip(&topic.partitions) {
                let active = |id: &&i32| image.broker(**id).is_some_and(|b| b.is_active());
                let delta = match self {
                    Mutation::ElectsAnybody if !p.has_leader() => p.replicas.iter().find(active).map(|id| {
                        let isr = Some(Nodes::from_slice(&[*id]));
                        PartitionDelta { leader: Some(*id), isr, ..PartitionDelta::default() }
                    }),
                    Mutation::ForgetsEligible if p.has_leader() && rng.random_bool(0.02) => {
                        let mut isr = p.isr.clone();
                        isr.extend(p.replicas.iter().filter(active).filter(|r| !p.isr.contains(r)).copied());
                        let isr = (isr != p.isr).then_some(isr);
                        isr.map(|isr| PartitionDelta {
                            isr: Some(isr),
                            elr: Some(Nodes::new()),
                            ..PartitionDelta::default()
                        })
                    }
                    _ => None,
                };
                let change = |delta| Record::PartitionChange { topic: topic.id, index, delta: Box::new(delta) };
                records.extend(delta.map(change));
            }
        }
        records
    }
}
