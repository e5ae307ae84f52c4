//! The log against a plain model, over a disk that forgets what was not synced.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millrace_log::batch::{BatchView, HeaderFields};
use millrace_log::record::{Record, put_record};
use millrace_log::{
    Compression, DirSetup, LeaderAppend, LogDerive, LogManager, Origin, PartitionKey, PartitionLog, Producer, Wanted,
};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, TopicId};
use millrace_store::{LogStore, MemoryDisk, MemoryStore, Observer, ReadSpec, StoreError};
use proptest::prelude::*;

const KEY: PartitionKey = (TopicId([1; 16]), 0);

struct Nobody;
impl Observer for Nobody {
    fn durable(&self, _: i64) {}
    fn failed(&self, _: &StoreError) {}
}

fn setup(disk: &MemoryDisk) -> (MemoryStore, LogManager) {
    let store = MemoryStore::open_manual(disk, Arc::new(LogDerive)).unwrap();
    let dir = DirSetup { path: "/a".into(), id: DirId([3; 16]), store: Ok(Arc::new(store.clone())) };
    (store, LogManager::open(vec![dir]))
}

fn open(manager: &LogManager) -> PartitionLog {
    let slot = manager.place(&[Wanted { key: KEY, dir: DirId::ZERO, old: false }]).remove(0).unwrap();
    manager.open_log(&slot, Arc::new(TopicConfig::default()), Arc::new(Nobody)).unwrap()
}

fn batch(count: i32, timestamp: i64, producer: Option<(i64, i16, i32)>) -> BytesMut {
    let mut payload = Vec::new();
    for i in 0..count {
        let value = [i as u8; 20];
        let record = Record { timestamp_delta: i64::from(i), offset_delta: i, key: None, value: Some(&value) };
        put_record(&mut payload, record, &[]);
    }
    let (producer_id, producer_epoch, base_sequence) = producer.unwrap_or((-1, -1, -1));
    let max_timestamp = timestamp + i64::from(count) - 1;
    let fields = HeaderFields {
        producer_id,
        producer_epoch,
        base_sequence,
        max_timestamp,
        ..HeaderFields::plain(count, timestamp)
    };
    fields.batch(&payload)
}

fn cx(leader_epoch: i32) -> LeaderAppend {
    LeaderAppend { origin: Origin::Client, api_version: 9, now_ms: 1 << 50, leader_epoch }
}

#[derive(Debug, Clone)]
enum Op {
    /// Records, a timestamp, and perhaps the producer that writes them.
    Append(i32, i64, Option<i64>),
    NewEpoch,
    Commit,
    Ingest,
    /// How far from the end, or from the start, in offsets.
    Truncate(i64),
    LogStart(i64),
    Expire,
    Crash(usize),
    Reopen,
}

fn ops(log_start: bool) -> impl Strategy<Value = Vec<Op>> {
    let append = (1i32..6, 0i64..1000, proptest::option::of(0i64..3)).prop_map(|(n, t, p)| Op::Append(n, t, p));
    let start = if log_start { 1 } else { 0 };
    let op = prop_oneof![
        12 => append,
        1 => Just(Op::NewEpoch),
        3 => Just(Op::Commit),
        2 => Just(Op::Ingest),
        2 => (0i64..12).prop_map(Op::Truncate),
        start => (0i64..12).prop_map(Op::LogStart),
        start => Just(Op::Expire),
        1 => (0usize..4).prop_map(Op::Crash),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..60)
}

/// What a log is: its batches, and where it starts.
#[derive(Default)]
struct Model {
    batches: Vec<Bytes>,
    log_start: i64,
    /// Log starts that a crash may bring back.
    starts: Vec<i64>,
    durable_end: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |b| view(b).last_offset() + 1).max(self.log_start)
    }
    fn readable(&self) -> Vec<Bytes> {
        self.batches.iter().filter(|b| view(b).last_offset() >= self.log_start).cloned().collect()
    }
    /// State that follows from all batches that were ever kept.
    fn producers(&self) -> Vec<(i64, Producer)> {
        let mut state = millrace_log::state::LogState::default();
        self.batches.iter().for_each(|b| state.take(view(b)));
        state.producers.iter().map(|(id, p)| (id, *p)).collect()
    }
}

fn view(bytes: &Bytes) -> BatchView<'_> {
    BatchView::new(bytes).unwrap()
}

fn read_all(log: &PartitionLog) -> Vec<Bytes> {
    let (mut at, mut out) = (log.log_start(), Vec::new());
    loop {
        let chunk = log.read(ReadSpec { from: at, until: i64::MAX, max_bytes: 200, at_least_one: true }).unwrap();
        let Some(last) = chunk.batches.last() else {
            return out;
        };
        at = view(last).last_offset() + 1;
        out.extend(chunk.batches);
    }
}

/// Offsets by timestamp, looked up one record at a time.
fn by_timestamp(model: &Model, target: i64) -> Option<(i64, i64)> {
    for batch in model.readable() {
        let batch = view(&batch);
        for i in 0..i64::from(batch.count()) {
            let (timestamp, offset) = (batch.base_timestamp() + i, batch.base_offset() + i);
            if timestamp >= target && offset >= model.log_start {
                return Some((timestamp, offset));
            }
        }
    }
    None
}

#[test]
fn records_are_found_by_time_in_compressed_batches() {
    let (_store, manager) = setup(&MemoryDisk::new());
    let log = open(&manager);
    let codecs =
        [Compression::None, Compression::Gzip(-1), Compression::Snappy, Compression::Lz4(9), Compression::Zstd(3)];
    for (i, codec) in (0..).zip(codecs) {
        let mut payload = Vec::new();
        // Timestamps in no order: 100, 300, 200 above the batch's base.
        for (offset_delta, timestamp_delta) in [(0, 100), (1, 300), (2, 200)] {
            put_record(&mut payload, Record { timestamp_delta, offset_delta, key: None, value: Some(b"v") }, &[]);
        }
        let payload = millrace_log::compress::compress(codec, &payload).unwrap();
        let base_timestamp = i * 1000;
        let attributes = i16::from(codec.id());
        let fields =
            HeaderFields { attributes, max_timestamp: base_timestamp + 300, ..HeaderFields::plain(3, base_timestamp) };
        log.append_as_leader(fields.batch(&payload), cx(0)).unwrap();
    }
    for i in 0..5 {
        for (target, want) in [(0, (100, 0)), (100, (100, 0)), (101, (300, 1)), (201, (300, 1))] {
            let found = log.offset_for_timestamp(i * 1000 + target).unwrap().unwrap();
            assert_eq!((found.timestamp, found.offset), (i * 1000 + want.0, i * 3 + want.1));
        }
    }
    assert_eq!(log.offset_for_timestamp(4301).unwrap(), None);
    let top = log.max_timestamp().unwrap().unwrap();
    assert_eq!((top.timestamp, top.offset), (4300, 13));
}

struct World {
    disk: MemoryDisk,
    store: MemoryStore,
    manager: LogManager,
    log: PartitionLog,
    model: Model,
    epoch: i32,
}

impl World {
    fn new() -> World {
        let disk = MemoryDisk::new();
        let (store, manager) = setup(&disk);
        let log = open(&manager);
        World { disk, store, manager, log, model: Model::default(), epoch: 0 }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Append(count, timestamp, producer) => self.append(count, timestamp, producer),
            Op::NewEpoch => self.epoch += 1,
            Op::Commit => {
                self.store.commit();
                self.durable();
            }
            Op::Ingest => {
                self.store.ingest().unwrap();
                self.durable();
            }
            Op::Truncate(back) => {
                let to = (self.model.end() - back).max(self.model.log_start);
                self.log.truncate(to).unwrap();
                if to < self.model.end() {
                    self.model.batches.retain(|b| view(b).last_offset() < to);
                    self.durable();
                }
            }
            Op::LogStart(ahead) => {
                let to = (self.model.log_start + ahead).min(self.model.end());
                self.log.set_log_start(to).unwrap();
                self.model.starts.push(to);
                self.model.log_start = to;
            }
            Op::Expire => {
                self.log.expire_producers(0, i64::MAX).unwrap();
            }
            Op::Crash(keep) => {
                self.store.crash_keeping(keep);
                self.reopen();
            }
            Op::Reopen => {
                self.store.close().unwrap();
                self.durable();
                self.reopen();
            }
        }
    }

    fn append(&mut self, count: i32, timestamp: i64, producer: Option<i64>) {
        let next = producer.map(|id| {
            let known = self.model.producers().into_iter().find(|(known, _)| *known == id);
            (id, 0, known.map_or(0, |(_, p)| p.last_sequence() + 1))
        });
        let appended = self.log.append_as_leader(batch(count, timestamp, next), cx(self.epoch)).unwrap();
        assert_eq!(appended.base_offset, self.model.end());
        let mut bytes = batch(count, timestamp, next);
        millrace_log::batch::patch(&mut bytes, appended.base_offset, self.epoch);
        self.model.batches.push(bytes.freeze());
        if next.is_some() {
            // A resend is recognised and changes nothing.
            let again = self.log.append_as_leader(batch(count, timestamp, next), cx(self.epoch)).unwrap();
            assert_eq!((again.base_offset, again.bytes), (appended.base_offset, 0));
        }
    }

    fn durable(&mut self) {
        self.model.durable_end = self.model.end();
        self.model.starts = vec![self.model.log_start];
    }

    fn reopen(&mut self) {
        (self.store, self.manager) = setup(&self.disk);
        self.log = open(&self.manager);
        let bounds = self.log.bounds();
        assert!(bounds.end >= self.model.durable_end, "a durable batch is gone");
        assert!(self.model.starts.contains(&bounds.log_start) || bounds.log_start == 0, "an unknown log start");
        self.model.log_start = bounds.log_start;
        self.model.batches.retain(|b| view(b).last_offset() < bounds.end);
        assert_eq!(self.model.end(), bounds.end);
        self.durable();
    }

    fn check(&self, producers: bool) {
        let bounds = self.log.bounds();
        assert_eq!((bounds.log_start, self.log.end()), (self.model.log_start, self.model.end()));
        assert_eq!(read_all(&self.log), self.model.readable());
        for target in [0, 300, 700, 1003, 2000] {
            let found = self.log.offset_for_timestamp(target).unwrap().map(|f| (f.timestamp, f.offset));
            assert_eq!(found, by_timestamp(&self.model, target), "timestamp {target}");
        }
        if producers {
            assert_eq!(self.log.producers().unwrap(), self.model.producers());
        }
        for batch in self.model.readable() {
            let batch = view(&batch);
            let offset = batch.base_offset().max(self.model.log_start);
            assert_eq!(self.log.epoch_of(offset).unwrap(), batch.leader_epoch());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_log_without_retention_equals_the_model(ops in ops(false)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
            world.check(true);
        }
    }

    #[test]
    fn a_log_with_retention_equals_the_model(ops in ops(true)) {
        let mut world = World::new();
        for op in &ops {
            // A producer whose batches lie below the log start may be forgotten by a crash, and starts anew then.
            let op = match op {
                Op::Append(n, t, _) => Op::Append(*n, *t, None),
                op => op.clone(),
            };
            world.run(&op);
            world.check(false);
        }
    }
}
