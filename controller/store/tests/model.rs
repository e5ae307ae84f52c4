//! Random histories with crashes, against a plain model, on both stores.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use millrace_store::*;
use proptest::prelude::*;

const LOGS: u64 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Log, gap before it, records, bytes.
    Append(u64, i64, i64, usize),
    /// Per mille of the way from the start to the end.
    Truncate(u64, i64),
    LogStart(u64, i64),
    JumpStart(u64, i64),
    Delete(u64),
    SetClass(u64, usize),
    Sync,
    Ingest,
    Reclaim,
    Read(u64, i64, usize),
    Crash,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let log = 0..LOGS;
    prop_oneof![
        12 => (log.clone(), prop_oneof![5 => Just(0i64), 1 => 1..50i64], 1..20i64, 8..30_000usize)
            .prop_map(|(l, g, n, s)| Step::Append(l, g, n, s)),
        2 => (log.clone(), 0..1_100i64).prop_map(|(l, p)| Step::Truncate(l, p)),
        2 => (log.clone(), 0..1_000i64).prop_map(|(l, p)| Step::LogStart(l, p)),
        1 => (log.clone(), 1..100i64).prop_map(|(l, n)| Step::JumpStart(l, n)),
        1 => log.clone().prop_map(Step::Delete),
        1 => (log.clone(), 0..7usize).prop_map(|(l, c)| Step::SetClass(l, c)),
        2 => Just(Step::Sync),
        2 => Just(Step::Ingest),
        2 => Just(Step::Reclaim),
        3 => (log, 0..1_100i64, 1..100_000usize).prop_map(|(l, p, n)| Step::Read(l, p, n)),
        2 => Just(Step::Crash),
        1 => Just(Step::Close),
    ]
}

/// What a log must contain.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    log_start: i64,
    end: i64,
    batches: Vec<(i64, i64, usize)>,
    /// One for each change since, so that a crash may fall anywhere between the last sync and the end.
    version: u64,
}

impl Model {
    fn live(&self) -> impl Iterator<Item = &(i64, i64, usize)> {
        self.batches.iter().filter(|(_, last, _)| *last >= self.log_start)
    }

    fn offset(&self, per_mille: i64) -> i64 {
        self.log_start + (self.end - self.log_start) * per_mille / 1_000
    }
}

/// The histories of all logs that a crash may fall back to, oldest first: states after each change since the last
/// sync.
struct World {
    logs: BTreeMap<u64, Model>,
    since_sync: Vec<BTreeMap<u64, Model>>,
}

impl World {
    fn changed(&mut self) {
        self.since_sync.push(self.logs.clone());
    }

    fn synced(&mut self) {
        self.since_sync = vec![self.logs.clone()];
    }
}

fn observed(store: &dyn LogStore, id: u64) -> Model {
    let log = store.open(id, DAY, Watch::new()).unwrap();
    let bounds = log.bounds();
    let index = log.index(0, usize::MAX).unwrap();
    let chunk = log.read(spec(0, i64::MAX)).unwrap();
    assert_eq!(index.len(), chunk.batches.len());
    for (meta, bytes) in index.iter().zip(&chunk.batches) {
        let count = meta.last_offset - meta.base_offset + 1;
        assert_eq!(*bytes, batch(meta.base_offset, count, meta.size as usize).bytes);
        assert_eq!(*meta, batch(meta.base_offset, count, meta.size as usize).meta());
    }
    assert_eq!(bounds.bytes, index.iter().map(|m| u64::from(m.size)).sum::<u64>(), "bytes of log {id}");
    assert_eq!(bounds.end, bounds.durable_end);
    let extents = log.extents(0, usize::MAX).unwrap();
    let covered =
        |m: &BatchMeta| extents.iter().any(|e| e.first_offset <= m.base_offset && m.last_offset <= e.last_offset);
    assert!(index.iter().all(covered), "{extents:?} cover {index:?}");
    assert!(extents.windows(2).all(|w| w[0].last_offset < w[1].first_offset));
    Model {
        log_start: bounds.log_start,
        end: bounds.end,
        batches: index.iter().map(|m| (m.base_offset, m.last_offset, m.size as usize)).collect(),
        version: 0,
    }
}

fn visible(model: &Model) -> Model {
    Model { batches: model.live().copied().collect(), version: 0, ..model.clone() }
}

/// After a crash: the logs are in one of the states since the last sync, all in the same one.
fn check_after_crash(s: &dyn Subject, world: &mut World) {
    let seen: BTreeMap<u64, Model> = (0..LOGS).map(|id| (id, observed(s.store(), id))).collect();
    let same = |state: &&BTreeMap<u64, Model>| {
        (0..LOGS).all(|id| visible(&state.get(&id).cloned().unwrap_or_default()) == seen[&id])
    };
    let state = world.since_sync.iter().rev().find(same).cloned();
    let Some(state) = state else {
        panic!("after the crash {seen:?}\nis none of {:?}", world.since_sync);
    };
    world.logs = state;
    world.synced();
}

fn run(s: &mut dyn Subject, steps: &[Step]) {
    let mut world = World { logs: BTreeMap::new(), since_sync: vec![BTreeMap::new()] };
    let mut handles: BTreeMap<u64, Arc<dyn Plog>> = BTreeMap::new();
    for step in steps {
        for id in 0..LOGS {
            handles.entry(id).or_insert_with(|| s.store().open(id, DAY, Watch::new()).unwrap());
        }
        match step {
            Step::Append(id, gap, count, size) => {
                let model = world.logs.entry(*id).or_default();
                let base = model.end + gap;
                handles[id].append(batch(base, *count, *size)).unwrap();
                model.batches.push((base, base + count - 1, *size));
                model.end = base + count;
                world.changed();
            }
            Step::Truncate(id, per_mille) => {
                let model = world.logs.entry(*id).or_default();
                let to = model.offset(*per_mille);
                handles[id].truncate(to).unwrap();
                if to >= model.end {
                    continue;
                }
                let kept = model.batches.partition_point(|(_, last, _)| *last < to);
                let removed = model.batches.get(kept).map_or(to, |(base, _, _)| (*base).min(to));
                model.batches.truncate(kept);
                model.end = removed.min(model.end).max(model.log_start);
                world.synced();
            }
            Step::LogStart(id, per_mille) => {
                let model = world.logs.entry(*id).or_default();
                model.log_start = model.offset(*per_mille);
                handles[id].set_log_start(model.log_start).unwrap();
                world.changed();
            }
            Step::JumpStart(id, by) => {
                let model = world.logs.entry(*id).or_default();
                model.log_start = model.end + by;
                model.end = model.log_start;
                handles[id].set_log_start(model.log_start).unwrap();
                world.changed();
            }
            Step::Delete(id) => {
                handles.remove(id).unwrap().delete().unwrap();
                world.logs.remove(id);
                world.changed();
            }
            Step::SetClass(id, class) => handles[id].set_class(RetentionClass::ALL[*class]),
            Step::Sync => {
                s.store().sync().unwrap();
                world.synced();
            }
            Step::Ingest => {
                s.ingest();
                world.synced();
            }
            Step::Reclaim => s.store().reclaim().unwrap(),
            Step::Read(id, per_mille, max_bytes) => {
                let model = world.logs.entry(*id).or_default();
                let from = model.offset(*per_mille);
                let chunk = handles[id]
                    .read(ReadSpec { from, until: i64::MAX, max_bytes: *max_bytes, at_least_one: true })
                    .unwrap();
                let mut left = *max_bytes as i64;
                let want = model.live().filter(|(_, last, _)| *last >= from).enumerate().take_while(|(i, b)| {
                    left -= b.2 as i64;
                    *i == 0 || left >= 0
                });
                let want: Vec<_> = want.map(|(_, b)| (b.0, b.2)).collect();
                let got: Vec<_> = chunk.batches.iter().map(|b| (b.len() >= 8).then(|| base_of(b))).collect();
                assert_eq!(got.len(), want.len(), "{model:?} from {from}");
                for (got, (base, size)) in got.iter().zip(want) {
                    assert_eq!(*got, (size >= 8).then_some(base));
                }
            }
            Step::Crash => {
                handles.clear();
                s.crash();
                s.reopen();
                check_after_crash(s, &mut world);
            }
            Step::Close => {
                handles.clear();
                s.close();
                world.synced();
                s.reopen();
                check_after_crash(s, &mut world);
            }
        }
    }
    handles.clear();
    s.store().sync().unwrap();
    world.synced();
    for _ in 0..2 {
        check_after_crash(s, &mut world);
        s.ingest();
        s.store().reclaim().unwrap();
        check_after_crash(s, &mut world);
        s.crash();
        s.reopen();
    }
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(150))]
    #[test]
    fn twin_follows_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(&mut Twin::new(), &steps);
    }
}

proptest! {
    #![proptest_config(cases(40))]
    #[test]
    fn store_follows_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(&mut Real::new(), &steps);
    }
}
