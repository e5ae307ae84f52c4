//! Producers that note the outcome of every send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::Cx;
use crate::checker::{History, Id, Outcome, Send};
use crate::raw::{Batch, Conn, ProducePart};

/// Records that one producer may have on their way.
const WINDOW: i32 = 1_000;
/// Longer than any fault, so that a record is given up only when something is wrong.
const MESSAGE_LIMIT: &str = "150000";
const FLUSH_LIMIT: Duration = Duration::from_secs(160);
const PAUSE: Duration = Duration::from_millis(20);
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// The sends of one client, in order of their numbers.
type Sends = Arc<Mutex<Vec<Send>>>;

struct Acks {
    cx: Arc<Cx>,
    sends: Sends,
    fatal: AtomicBool,
}

impl rdkafka::ClientContext for Acks {
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fatal.store(true, Ordering::Relaxed);
            self.cx.complain(format!("fatal error of an idempotent producer: {reason}"));
        }
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        match result {
            Ok(message) => {
                let outcome = Outcome::Acknowledged { offset: message.offset(), at: self.cx.now() };
                self.sends.lock().unwrap_or_else(|e| e.into_inner())[*index].outcome = outcome;
                self.cx.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // It stays unknown: librdkafka does not say whether it was ever sent.
            Err((error, message)) => {
                if !self.fatal.load(Ordering::Relaxed) {
                    let partition = message.partition();
                    self.cx.complain(format!("a record of partition {partition} was given up: {error}"));
                }
            }
        }
    }
}

/// librdkafka's idempotent producer. After a fatal error another client goes on under another number.
pub fn idempotent(cx: &Arc<Cx>, _: u32) -> History {
    let mut history = History::default();
    while !cx.stop_producing.load(Ordering::Relaxed) {
        let sends = Sends::default();
        if let Err(e) = one_client(cx, &sends) {
            cx.complain(format!("idempotent producer: {e:#}"));
        }
        history.sends.append(&mut sends.lock().unwrap_or_else(|e| e.into_inner()));
    }
    history
}

fn one_client(cx: &Arc<Cx>, sends: &Sends) -> anyhow::Result<()> {
    let acks = Acks { cx: cx.clone(), sends: sends.clone(), fatal: AtomicBool::new(false) };
    let mut config = cx.client();
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "2");
    let producer: BaseProducer<Acks> = config.set("message.timeout.ms", MESSAGE_LIMIT).create_with_context(acks)?;
    let fatal = || producer.context().fatal.load(Ordering::Relaxed);
    let (number, burst) = (cx.number(), (cx.load.rate * PAUSE.as_millis() as u32 / 1_000).max(1));
    let mut next = 0;
    while !cx.stop_producing.load(Ordering::Relaxed) && !fatal() {
        for _ in 0..burst {
            if producer.in_flight_count() >= WINDOW {
                break;
            }
            next = send_one(cx, &producer, sends, Id { producer: number, number: next });
        }
        producer.poll(PAUSE);
    }
    if !fatal() {
        producer.flush(FLUSH_LIMIT)?;
    }
    Ok(())
}

/// Hands one record over; returns the number of the next.
fn send_one(cx: &Cx, producer: &BaseProducer<Acks>, sends: &Sends, id: Id) -> u64 {
    let partition = (id.number % cx.load.partitions as u64) as i32;
    let value = id.to_value();
    let index = id.number as usize;
    let record = BaseRecord::<(), [u8], Box<usize>>::with_opaque_to(&cx.load.topic, Box::new(index));
    // Noted first: a record is never in the log before it is in the history.
    let send = Send { id, partition, begun: cx.now(), outcome: Outcome::Unknown, resent: true };
    sends.lock().unwrap_or_else(|e| e.into_inner()).push(send);
    if producer.send(record.payload(&value).partition(partition)).is_ok() {
        return id.number + 1;
    }
    // The queue is full: nothing was handed over.
    sends.lock().unwrap_or_else(|e| e.into_inner()).pop();
    id.number
}

/// Sends each value once, one at a time, to the leader; after an unknown outcome it goes on under another number.
pub fn single(cx: &Arc<Cx>, n: u32) -> History {
    let mut history = History::default();
    let mut id = Id { producer: cx.number(), number: 0 };
    let partition = n as i32 % cx.load.partitions;
    let mut turn = n as usize;
    while !cx.stop_producing.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        turn += 1;
        let Some((leader, _)) = cx.leader(partition, turn) else {
            continue;
        };
        let Ok(mut conn) = cx.connect(leader) else {
            continue;
        };
        while !cx.stop_producing.load(Ordering::Relaxed) {
            let begun = cx.now();
            let outcome = send_once(cx, &mut conn, partition, id);
            history.sends.push(Send { id, partition, begun, outcome, resent: false });
            id.number += 1;
            match outcome {
                Outcome::Acknowledged { .. } => {
                    cx.acknowledged.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                }
                Outcome::Failed => break,
                Outcome::Unknown => {
                    id = Id { producer: cx.number(), number: 0 };
                    break;
                }
            }
        }
    }
    history
}

fn send_once(cx: &Cx, conn: &mut Conn, partition: i32, id: Id) -> Outcome {
    const STAMP: i64 = 1_700_000_000_000;
    let batch = Batch::of_values([id.to_value().as_slice()], STAMP).encode();
    let part = ProducePart { topic: &cx.load.topic, partition, batch: &batch };
    match conn.produce(&part, -1) {
        Ok(answer) if answer.error == 0 => Outcome::Acknowledged { offset: answer.base_offset, at: cx.now() },
        Ok(answer) if answer.error == NOT_ENOUGH_REPLICAS => Outcome::Failed,
        _ => Outcome::Unknown,
    }
}
