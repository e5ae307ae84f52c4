//! Members of the group: they read what they are assigned and commit it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::Cx;
use super::load::Finish;
use super::readers::id_of;
use crate::checker::{At, Commit, CommitKind, History, Read};

const PAUSE: Duration = Duration::from_millis(20);
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// A member leaves after this many commits and joins again.
const STAY: u64 = 40;

/// Counts assignments: what is read after one is a session of its own.
struct Assignments {
    cx: Arc<Cx>,
    session: AtomicU64,
}

impl ClientContext for Assignments {}

impl ConsumerContext for Assignments {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, what: &Rebalance<'_>) {
        let session = self.cx.session();
        self.session.store(session, Ordering::Relaxed);
        let what = match what {
            Rebalance::Assign(list) => format!("assigned {:?}", partitions(list)),
            Rebalance::Revoke(list) => format!("revoked {:?}", partitions(list)),
            Rebalance::Error(error) => error.to_string(),
        };
        self.cx.note(format!("the group's session {session}: {what}"));
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

/// One member; with churn it leaves now and then, so that the others take its partitions over.
pub fn member(cx: &Arc<Cx>, n: u32) -> History {
    let mut history = History::default();
    let mut finish = Finish::default();
    while !done(cx, &mut finish) {
        if let Err(e) = stay(cx, n, &mut history, &mut finish) {
            cx.complain(format!("a member of the group: {e:#}"));
            std::thread::sleep(PAUSE);
        }
    }
    history
}

fn done(cx: &Cx, finish: &mut Finish) -> bool {
    let at = cx.group_at.lock().unwrap_or_else(|e| e.into_inner()).clone();
    finish.reached(cx, "the group", &at)
}

fn join(cx: &Arc<Cx>) -> anyhow::Result<BaseConsumer<Assignments>> {
    let mut config = cx.client();
    config.set("group.id", &cx.load.group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500").set("fetch.wait.max.ms", "100");
    config.set("fetch.error.backoff.ms", "20");
    let context = Assignments { cx: cx.clone(), session: AtomicU64::new(cx.session()) };
    let consumer: BaseConsumer<Assignments> = config.create_with_context(context)?;
    consumer.subscribe(&[&cx.load.topic])?;
    Ok(consumer)
}

fn stay(cx: &Arc<Cx>, n: u32, history: &mut History, finish: &mut Finish) -> anyhow::Result<()> {
    let consumer = join(cx)?;
    let (mut commits, mut committed) = (0, Instant::now());
    let mut pending: Option<(u64, At)> = None;
    // The last offset by session and partition, for the reader of a failure.
    let mut places: HashMap<(u64, i32), i64> = HashMap::new();
    while !done(cx, finish) {
        if cx.load.churn && commits > STAY * u64::from(n + 1) {
            break;
        }
        if let Some(Ok(message)) = consumer.poll(PAUSE) {
            let id = id_of(message.payload().unwrap_or_default());
            let at = At { partition: message.partition(), offset: message.offset(), id };
            let session = consumer.context().session.load(Ordering::Relaxed);
            if let Some(before) =
                places.insert((session, at.partition), at.offset).filter(|before| before + 1 != at.offset)
            {
                cx.note(format!("session {session} read {at:?} after offset {before}"));
            }
            history.reads.push(Read { session, at, epoch: None });
            cx.group_at.lock().unwrap_or_else(|e| e.into_inner())[at.partition as usize] = at.offset;
            pending = Some((session, at));
        }
        // What an earlier assignment read is not committed in a later one.
        let session = consumer.context().session.load(Ordering::Relaxed);
        pending = pending.filter(|(then, _)| *then == session);
        if let Some((_, at)) = pending.filter(|_| committed.elapsed() > COMMIT_EVERY) {
            history.commits.push(commit(cx, &consumer, at)?);
            cx.commits.fetch_add(1, Ordering::Relaxed);
            (pending, committed) = (None, Instant::now());
            commits += 1;
        }
    }
    Ok(())
}

fn commit(cx: &Cx, consumer: &BaseConsumer<Assignments>, at: At) -> anyhow::Result<Commit> {
    let (partition, offset) = (at.partition, at.offset + 1);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&cx.load.topic, partition, Offset::Offset(offset))?;
    let begun = cx.now();
    let kind = match consumer.commit(&list, CommitMode::Sync) {
        Ok(()) => CommitKind::Acknowledged,
        Err(_) => CommitKind::Unknown,
    };
    Ok(Commit { partition, offset, kind, begun, ended: cx.now() })
}
