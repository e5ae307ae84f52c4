//! kill -9 at random moments while idempotent producers and a consumer group are at work: nothing that was
//! acknowledged may be lost, moved, doubled or reordered, and committed offsets may not go back.
//! `MILLRACE_CRASH_ROUNDS` and `MILLRACE_CRASH_SEED` choose length and moments.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_tests::checker::{At, Commit, CommitKind, History, Id, check};
use millrace_tests::harness::{Broker, Peer, Spec};
use millrace_tests::raw::{Conn, FetchPart, records};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

const TOPIC: &str = "crash";
const GROUP: &str = "crash-group";
const PARTITIONS: i32 = 4;
const PRODUCERS: u32 = 3;
/// Records that one producer may have on their way.
const WINDOW: u64 = 2_000;

type Shared = Arc<Mutex<History>>;

struct Acks(Shared);

impl rdkafka::ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<Id>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<Id>) {
        if let Ok(message) = result {
            let at = At { partition: message.partition(), offset: message.offset(), id: *id };
            self.0.lock().unwrap().acknowledged.push(at);
        }
    }
}

fn client(addr: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", addr)
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "100")
        .set("socket.timeout.ms", "10000");
    config
}

/// Sends numbered records until it is told to stop; unacknowledged ones stay unknown.
fn producer(addr: &str, number: u32, shared: Shared, stop: &AtomicBool) {
    let producer: BaseProducer<Acks> = client(addr)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("message.timeout.ms", "120000")
        .set("retry.backoff.ms", "20")
        .create_with_context(Acks(shared.clone()))
        .unwrap();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() as u64 >= WINDOW {
            producer.poll(Duration::from_millis(5));
            continue;
        }
        let id = Id { producer: number, number: next };
        let value = id.to_value();
        let partition = (next % PARTITIONS as u64) as i32;
        let record =
            BaseRecord::<(), [u8], Box<Id>>::with_opaque_to(TOPIC, Box::new(id)).payload(&value).partition(partition);
        // Marked as sent first: a record is never in the log before it is in the history.
        shared.lock().unwrap().sent.insert(id);
        if producer.send(record).is_ok() {
            next += 1;
        }
        if next % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// Reads in a group and commits now and then.
fn consumer(addr: &str, shared: Shared, stop: &AtomicBool) {
    let consumer: BaseConsumer = client(addr)
        .set("group.id", GROUP)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        let id = Id::parse(message.payload().unwrap()).unwrap();
        let at = At { partition: message.partition(), offset: message.offset(), id };
        shared.lock().unwrap().consumed.push(at);
        seen += 1;
        if seen % 200 != 0 {
            continue;
        }
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(TOPIC, message.partition(), rdkafka::Offset::Offset(message.offset() + 1)).unwrap();
        if consumer.commit(&list, CommitMode::Sync).is_ok() {
            let commit =
                Commit { partition: message.partition(), offset: message.offset() + 1, kind: CommitKind::Acknowledged };
            shared.lock().unwrap().commits.push(commit);
        }
    }
}

/// What the group has committed, seen by a client of its own while the group's consumer is between two commits.
fn look_at_commits(port: u16, shared: &Shared) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    // Commits are read under the lock, so that none is acknowledged in between and counted in the wrong order.
    let mut history = shared.lock().unwrap();
    for partition in 0..PARTITIONS {
        let start = Instant::now();
        let offset = loop {
            let answer = Conn::open(port).and_then(|mut c| c.committed(GROUP, TOPIC, partition));
            match answer {
                Ok((0, offset)) => break offset,
                other if start.elapsed() > LIMIT => anyhow::bail!("committed offset: {other:?}"),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        history.commits.push(Commit { partition, offset, kind: CommitKind::Found });
    }
    Ok(())
}

fn read_log(port: u16) -> anyhow::Result<Vec<At>> {
    let mut conn = Conn::open(port)?;
    let mut out = Vec::new();
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        loop {
            let got = conn.fetch(&FetchPart { topic: TOPIC, partition, offset, max_bytes: 4 << 20 }, 500)?;
            anyhow::ensure!(got.error == 0, "fetch at {offset}: error {}", got.error);
            for record in records(&got.records)?.into_iter().filter(|r| r.offset >= offset) {
                let id =
                    Id::parse(&record.value).ok_or_else(|| anyhow::anyhow!("damaged value at {}", record.offset))?;
                out.push(At { partition, offset: record.offset, id });
            }
            let next = out.last().filter(|a| a.partition == partition).map_or(offset, |a| a.offset + 1);
            if next >= got.high_watermark {
                break;
            }
            anyhow::ensure!(next > offset, "no progress at {offset} of {partition}");
            offset = next;
        }
    }
    Ok(out)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_lost() -> anyhow::Result<()> {
    let rounds = number("MILLRACE_CRASH_ROUNDS", 20);
    let seed = number("MILLRACE_CRASH_SEED", 1);
    let mut rng = StdRng::seed_from_u64(seed);
    // A broker that starts on a log that was not closed says so.
    let spec = Spec::new(Peer::from_env())?.set("offsets.topic.num.partitions", "4");
    let mut broker = Some(Broker::start(&spec)?);
    Conn::open(spec.port)?.create_and_wait(TOPIC, PARTITIONS, &[])?;
    let shared: Shared = Arc::default();
    let stop = AtomicBool::new(false);
    let addr = spec.addr();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        for n in 0..PRODUCERS {
            let (addr, shared, stop) = (&addr, shared.clone(), &stop);
            scope.spawn(move || producer(addr, n, shared, stop));
        }
        let (consumer_addr, consumer_shared, consumer_stop) = (&addr, shared.clone(), &stop);
        scope.spawn(move || consumer(consumer_addr, consumer_shared, consumer_stop));
        let result = (|| -> anyhow::Result<()> {
            for round in 0..rounds {
                std::thread::sleep(Duration::from_millis(rng.random_range(20..700)));
                if let Some(running) = broker.take() {
                    running.kill9()?;
                }
                let started = Broker::start(&spec)?;
                let acked = shared.lock().unwrap().acknowledged.len();
                eprintln!("round {round}: usable after {:?}, {acked} acknowledged", started.launch.ready);
                broker = Some(started);
                look_at_commits(spec.port, &shared)?;
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        result
    })?;
    let mut history = shared.lock().unwrap().clone();
    history.log = read_log(spec.port)?;
    assert!(
        history.acknowledged.len() as u64 > rounds * 100,
        "only {} records were acknowledged",
        history.acknowledged.len()
    );
    assert!(history.commits.iter().any(|c| c.kind == CommitKind::Acknowledged), "no commit was acknowledged");
    let violations = check(&history);
    let shown: Vec<String> = violations.iter().take(10).map(ToString::to_string).collect();
    assert!(violations.is_empty(), "seed {seed}: {} violations, {shown:#?}", violations.len());
    eprintln!(
        "{} sent, {} acknowledged, {} read by the group",
        history.sent.len(),
        history.acknowledged.len(),
        history.consumed.len()
    );
    broker.take().map_or(Ok(()), |b| b.stop().map(|_| ()))
}
