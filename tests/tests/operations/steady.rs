//! A producer that goes on whatever happens, and a reader that counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use millrace_tests::cluster::Cluster;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

const PAUSE: Duration = Duration::from_millis(2);
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// librdkafka as everybody has it, with errors that show at once.
pub fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("log_level", "0").set("enable.auto.commit", "false");
    config.set("group.id", "unused").set("auto.offset.reset", "error");
    config
}

#[derive(Clone, Default)]
struct Acks(Arc<Mutex<Vec<u64>>>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        if result.is_ok() {
            self.0.lock().unwrap_or_else(|e| e.into_inner()).push(*number);
        }
    }
}

/// Writes numbers, one after the other, until it is stopped.
pub struct Steady {
    stop: Arc<AtomicBool>,
    acks: Acks,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Steady {
    pub fn start(cluster: &Cluster, topic: &str) -> anyhow::Result<Steady> {
        let (stop, acks) = (Arc::new(AtomicBool::new(false)), Acks::default());
        let producer: BaseProducer<Acks> = client(cluster)
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .create_with_context(acks.clone())
            .context("producer")?;
        let (stopped, topic) = (stop.clone(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let mut number = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                let (key, value) = (number.to_be_bytes(), number.to_string());
                let record = BaseRecord::with_opaque_to(&topic, Box::new(number)).key(&key).payload(&value);
                // A full queue is sent again after the poll.
                number += u64::from(producer.send(record).is_ok());
                producer.poll(PAUSE);
            }
            producer.flush(FLUSH_LIMIT).context("what was sent is not known to have arrived")
        });
        Ok(Steady { stop, acks, thread })
    }

    pub fn acknowledged(&self) -> usize {
        self.acks.0.lock().unwrap_or_else(|e| e.into_inner()).len()
    }

    /// Waits until so many more were acknowledged.
    pub fn go_on(&self, cluster: &mut Cluster, more: usize) -> anyhow::Result<()> {
        let target = self.acknowledged() + more;
        cluster.wait("acknowledged records", super::LIMIT, |_| Ok((self.acknowledged() >= target).then_some(())))
    }

    /// Ends, reads everything, and checks that each acknowledged number is there exactly once. Returns how many.
    pub fn check(self, cluster: &Cluster, topic: &str) -> anyhow::Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        let found = read_all(cluster, topic)?;
        let acknowledged = self.acks.0.lock().unwrap_or_else(|e| e.into_inner());
        let lost: Vec<u64> = acknowledged.iter().filter(|n| !found.contains_key(n)).copied().collect();
        let twice: Vec<u64> = found.iter().filter(|(_, count)| **count > 1).map(|(n, _)| *n).collect();
        anyhow::ensure!(
            lost.is_empty() && twice.is_empty(),
            "of {} acknowledged: lost {lost:?}, twice {twice:?}",
            acknowledged.len()
        );
        Ok(acknowledged.len())
    }
}

/// Every number in a topic, and how often.
fn read_all(cluster: &Cluster, topic: &str) -> anyhow::Result<BTreeMap<u64, usize>> {
    let consumer: BaseConsumer = client(cluster).create()?;
    let views = cluster.leaders(topic)?;
    let (mut list, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
    for view in &views {
        list.add_partition_offset(topic, view.index, Offset::Beginning)?;
        let (_, end) = consumer.fetch_watermarks(topic, view.index, super::LIMIT)?;
        ends.insert(view.index, end);
    }
    consumer.assign(&list)?;
    let (mut found, deadline) = (BTreeMap::new(), Instant::now() + super::LIMIT);
    ends.retain(|_, end| *end > 0);
    while !ends.is_empty() {
        anyhow::ensure!(Instant::now() < deadline, "partitions not read to the end: {ends:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let number = std::str::from_utf8(message.payload().context("no value")?)?.parse()?;
        *found.entry(number).or_insert(0) += 1;
        if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            ends.remove(&message.partition());
        }
    }
    Ok(found)
}
