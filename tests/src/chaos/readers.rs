//! Readers that choose their partitions themselves.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::Cx;
use super::load::Finish;
use crate::checker::{At, History, Id, Read};
use crate::raw::{Conn, FetchPart, records};

const PAUSE: Duration = Duration::from_millis(20);

/// Our own bytes: keeps its place over every change of the leader, so that one session lasts the whole run.
pub fn plain(cx: &Arc<Cx>, _: u32) -> History {
    let mut history = History::default();
    let session = cx.session();
    let mut at = vec![-1i64; cx.load.partitions as usize];
    let mut conns: Vec<Option<Conn>> = at.iter().map(|_| None).collect();
    let (mut finish, mut turn) = (Finish::default(), 0);
    while !finish.reached(cx, "the plain reader", &at) {
        for partition in 0..cx.load.partitions {
            let index = partition as usize;
            turn += 1;
            if conns[index].is_none() {
                conns[index] = cx.leader(partition, turn).and_then(|(leader, _)| cx.connect(leader).ok());
            }
            let Some(conn) = &mut conns[index] else {
                continue;
            };
            match fetch(cx, conn, partition, at[index] + 1) {
                Ok(found) => {
                    for (at_record, epoch) in found {
                        at[index] = at_record.offset;
                        history.reads.push(Read { session, at: at_record, epoch: Some(epoch) });
                    }
                }
                Err(_) => conns[index] = None,
            }
        }
        std::thread::sleep(PAUSE);
    }
    history
}

fn fetch(cx: &Cx, conn: &mut Conn, partition: i32, offset: i64) -> anyhow::Result<Vec<(At, i32)>> {
    const MAX_BYTES: i32 = 1 << 20;
    const WAIT_MS: i32 = 20;
    let part = FetchPart { topic: &cx.load.topic, partition, offset, max_bytes: MAX_BYTES };
    let got = conn.fetch(&part, WAIT_MS)?;
    anyhow::ensure!(got.error == 0, "error {}", got.error);
    let found = records(&got.records)?.into_iter().filter(|r| r.offset >= offset);
    Ok(found.map(|r| (At { partition, offset: r.offset, id: id_of(&r.value) }, r.epoch)).collect())
}

/// Who sent a value; a value that nobody can have sent belongs to nobody.
pub fn id_of(value: &[u8]) -> Id {
    Id::parse(value).unwrap_or(Id { producer: u32::MAX, number: u64::MAX })
}

/// librdkafka with an assignment by hand.
pub fn assigned(cx: &Arc<Cx>, _: u32) -> History {
    let mut history = History::default();
    if let Err(e) = assigned_to_all(cx, &mut history) {
        cx.complain(format!("the reader by assignment: {e:#}"));
    }
    history
}

fn assigned_to_all(cx: &Arc<Cx>, history: &mut History) -> anyhow::Result<()> {
    let mut config = cx.client();
    // A position that is out of range would be an error of the cluster: it must show.
    config.set("group.id", "unused").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    let consumer: BaseConsumer = config.set("fetch.wait.max.ms", "100").set("fetch.error.backoff.ms", "20").create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..cx.load.partitions {
        list.add_partition_offset(&cx.load.topic, partition, Offset::Offset(0))?;
    }
    consumer.assign(&list)?;
    let session = cx.session();
    let mut at = vec![-1i64; cx.load.partitions as usize];
    let mut finish = Finish::default();
    while !finish.reached(cx, "the reader by assignment", &at) {
        match consumer.poll(PAUSE) {
            Some(Ok(message)) => {
                let id = id_of(message.payload().unwrap_or_default());
                let place = At { partition: message.partition(), offset: message.offset(), id };
                at[place.partition as usize] = place.offset;
                history.reads.push(Read { session, at: place, epoch: None });
            }
            Some(Err(e)) if e.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::AutoOffsetReset) => {
                cx.complain(format!("the reader by assignment was told that its position is out of range: {e}"));
            }
            _ => {}
        }
    }
    Ok(())
}
