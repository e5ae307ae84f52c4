//! KIP-392: consumers read from the replica in their rack.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_tests::bench::load::ready_batch;
use millrace_tests::cluster::{Cluster, NewTopic, Plan};
use millrace_tests::harness::Peer;
use millrace_tests::raw::ProducePart;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::{LIMIT, TOPIC, alone, steady};

const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
const LEADER: i32 = 1;
const NEAR: i32 = 3;
const BATCHES: i64 = 50;

/// The broker that librdkafka says it fetches the partition from.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Option<i32>>>);

impl ClientContext for Source {
    fn stats(&self, statistics: Statistics) {
        let partition = statistics.topics.get(TOPIC).and_then(|topic| topic.partitions.get(&0).cloned());
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = partition.map(|partition| partition.broker);
    }
}

impl ConsumerContext for Source {}

fn produce(cluster: &Cluster, leader: i32) -> anyhow::Result<()> {
    let (mut conn, batch) = (cluster.connect(leader)?, ready_batch(100, 100));
    for _ in 0..BATCHES {
        let done = conn.produce(&ProducePart { topic: TOPIC, partition: 0, batch: &batch }, -1)?;
        anyhow::ensure!(done.error == 0, "produce: error {}", done.error);
    }
    Ok(())
}

/// Reads until the offset, and until the partition is read from `broker`.
fn read(consumer: &BaseConsumer<Source>, next: &mut i64, end: i64, broker: i32) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    let source = || *consumer.context().0.lock().unwrap_or_else(|e| e.into_inner());
    while *next < end || source() != Some(broker) {
        anyhow::ensure!(Instant::now() < deadline, "at {next} of {end}, read from {:?}", source());
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                assert_eq!(message.offset(), *next);
                *next += 1;
            }
            // That is how librdkafka tells that a broker is gone.
            Some(Err(e)) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure) => {}
            Some(Err(e)) => return Err(e.into()),
            None => {}
        }
    }
    Ok(())
}

#[test]
fn a_consumer_reads_in_its_rack_and_elsewhere_when_that_fails() -> anyhow::Result<()> {
    let _alone = alone();
    let plan = (1..=3)
        .fold(Plan::combined(Peer::from_env(), 3), |plan, id| plan.set_on(id, "broker.rack", &format!("rack-{id}")));
    let mut cluster = Cluster::start(&plan.set("replica.selector.class", RACK_AWARE))?;
    let assignment = vec![vec![LEADER, 2, NEAR]];
    cluster.create(&NewTopic { name: TOPIC, partitions: 1, replicas: 3, assignment, configs: Vec::new() })?;
    produce(&cluster, LEADER)?;
    let mut config = steady::client(&cluster);
    config.set("client.rack", format!("rack-{NEAR}")).set("statistics.interval.ms", "100");
    // How long the consumer stays with a replica before it asks the leader again.
    config.set("topic.metadata.refresh.interval.ms", "1000");
    let consumer: BaseConsumer<Source> = config.create_with_context(Source::default())?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut next = 0;
    read(&consumer, &mut next, BATCHES, NEAR)?;
    produce(&cluster, LEADER)?;
    read(&consumer, &mut next, 2 * BATCHES, NEAR)?;
    // The replica in the rack is gone: the leader serves.
    cluster.kill9(NEAR)?;
    produce(&cluster, LEADER)?;
    read(&consumer, &mut next, 3 * BATCHES, LEADER)?;
    // It is back and in sync: the leader sends the consumer there again.
    cluster.start_node(NEAR)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    produce(&cluster, LEADER)?;
    read(&consumer, &mut next, 4 * BATCHES, NEAR)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}
