//! Whatever is acknowledged survives: random steps of a small cluster, with crashes that forget what was not synced,
//! brokers that hear of the metadata late, and answers that get lost.
#![allow(clippy::unwrap_used)]

mod cluster;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use cluster::*;
use futures::FutureExt;
use millrace_metadata::record::PartitionDelta;
use millrace_replica::CommitError;
use proptest::prelude::*;

const NODES: i32 = 3;
const TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy)]
enum Step {
    Append(i32),
    Commit(i32),
    Fetch(i32),
    FetchLost(i32),
    Apply(i32),
    Isr(i32),
    IsrUnknown(i32),
    Tick(i32),
    Late,
    Kill(i32),
    Restart(i32),
    /// The controller gives the leadership to the next replica in sync.
    Move,
    Bump,
    Ingest(i32),
    Note(i32),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..=NODES;
    prop_oneof![
        6 => node.clone().prop_map(Step::Append),
        6 => node.clone().prop_map(Step::Commit),
        8 => node.clone().prop_map(Step::Fetch),
        1 => node.clone().prop_map(Step::FetchLost),
        4 => node.clone().prop_map(Step::Apply),
        3 => node.clone().prop_map(Step::Isr),
        1 => node.clone().prop_map(Step::IsrUnknown),
        1 => node.clone().prop_map(Step::Tick),
        1 => Just(Step::Late),
        1 => node.clone().prop_map(Step::Kill),
        2 => node.clone().prop_map(Step::Restart),
        1 => Just(Step::Move),
        1 => Just(Step::Bump),
        1 => node.clone().prop_map(Step::Ingest),
        1 => node.prop_map(Step::Note),
    ]
}

type Ack = Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send>>;

struct Run {
    cluster: Cluster,
    next_value: i64,
    waiting: Vec<(i64, i64, Ack)>,
    /// Value by offset.
    acknowledged: BTreeMap<i64, i64>,
}

impl Run {
    fn step(&mut self, step: Step) {
        let c = &mut self.cluster;
        match step {
            Step::Append(id) if c.is_up(id) => {
                self.next_value += 1;
                if let Some(offset) = c.append(id, self.next_value, -1) {
                    let ack = Box::pin(c.p(id).committed(offset, TIMEOUT));
                    self.waiting.push((offset, self.next_value, ack));
                }
            }
            Step::Commit(id) => c.commit(id),
            Step::Fetch(id) => c.fetch(id, true),
            Step::FetchLost(id) => c.fetch(id, false),
            Step::Apply(id) => c.apply(id),
            Step::Isr(id) => c.isr_round(id),
            Step::IsrUnknown(id) if c.is_up(id) => {
                let manager = c.node(id).manager.clone();
                let sent = manager.isr_changes(c.now_ms);
                manager.isr_answered(sent, None);
            }
            Step::Tick(id) if c.is_up(id) => c.node(id).manager.tick(c.now_ms),
            Step::Late => c.now_ms += LONG_MS,
            Step::Kill(id) if c.is_up(id) => c.kill(id),
            Step::Restart(id) if !c.is_up(id) => c.restart(id),
            Step::Move => {
                let now = c.state();
                let live = |id: &&i32| **id != now.leader && c.is_up(**id);
                if let Some(leader) = now.isr.iter().find(live).copied() {
                    c.change(PartitionDelta { leader: Some(leader), ..PartitionDelta::default() });
                }
            }
            Step::Bump => {
                let leader = c.state().leader;
                if leader > 0 {
                    c.change(PartitionDelta { leader: Some(leader), ..PartitionDelta::default() });
                }
            }
            Step::Ingest(id) if c.is_up(id) => c.node(id).store.as_ref().unwrap().ingest().unwrap(),
            Step::Note(id) if c.is_up(id) => {
                c.node(id).manager.checkpoint_high_watermarks();
            }
            _ => {}
        }
    }

    fn collect(&mut self) {
        let mut left = Vec::new();
        for (offset, value, mut ack) in std::mem::take(&mut self.waiting) {
            match ack.as_mut().now_or_never() {
                Some(Ok(())) => {
                    let other = self.acknowledged.insert(offset, value);
                    assert!(other.is_none(), "two records acknowledged at {offset}");
                }
                Some(Err(_)) => {}
                None => left.push((offset, value, ack)),
            }
        }
        self.waiting = left;
    }
}

fn run(min_insync_replicas: i32, steps: &[Step]) {
    let mut run = Run {
        cluster: Cluster::new(NODES, min_insync_replicas),
        next_value: 1 << 20,
        waiting: Vec::new(),
        acknowledged: BTreeMap::new(),
    };
    for step in steps {
        run.step(*step);
        run.collect();
    }
    run.cluster.settle();
    run.collect();
    let c = &run.cluster;
    let leader = c.state().leader;
    assert_eq!(c.state().isr.len(), NODES as usize, "all are in sync in the end");
    let kept = c.contents(leader);
    for (offset, value) in &run.acknowledged {
        let found = kept.iter().find(|entry| entry.0 == *offset).map(|entry| entry.1);
        assert_eq!(found, Some(*value), "acknowledged at {offset}");
    }
    for id in 1..=NODES {
        assert_eq!(c.contents(id), kept, "broker {id} has what the leader has");
        assert_eq!(c.p(id).high_watermark(), c.p(leader).log_end_offset());
    }
    assert!(kept.windows(2).all(|pair| pair[0].2 <= pair[1].2), "leader epochs rise: {kept:?}");
}

proptest! {
    #[test]
    fn acknowledged_records_survive(min in 1..=2i32, steps in proptest::collection::vec(step(), 20..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { run(min, &steps) });
    }
}

/// Broker 2 led without writing anything, and its empty log must not hold that against batches of earlier epochs.
#[tokio::test(start_paused = true)]
async fn an_empty_log_takes_batches_of_epochs_before_those_it_led() {
    use Step::*;
    let begin = [Move, Move, Move, Apply(2), Append(1), Apply(1), Commit(1), FetchLost(1), Append(1), Append(1)];
    let end = [Move, Append(1), Append(1), Append(1), Bump, Append(1), Append(3), Commit(1), Append(3), Append(1)];
    run(1, &[begin, end].concat());
}
