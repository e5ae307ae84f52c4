//! The light client: ready-made Produce requests and a Fetch reader that looks at batch headers only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

use super::{Options, RECORD};
use crate::raw::calls::{
    FETCH_VERSION, PRODUCE_VERSION, fetch_answer, fetch_body, produce_many_answer, produce_many_body,
};
use crate::raw::{Batch, Conn, FetchPart, fill, frame, key};

pub const CONNECTIONS: usize = 4;
pub const IN_FLIGHT: usize = 5;
pub const PARTITIONS: i32 = 6;
const PRODUCE_TIMEOUT_MS: i32 = 60_000;
/// Where the correlation id stands in a frame.
const CORRELATION_AT: usize = 8;

/// What one load did.
pub struct Produced {
    pub values: u64,
    pub wall: Duration,
    /// Microseconds from sending a request to its answer.
    pub acks: Histogram<u64>,
}

pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    const DIGITS: u8 = 3;
    const LONGEST_MICROS: u64 = 600_000_000;
    Ok(Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)?)
}

/// A batch of about `bytes` bytes of values that do not compress.
pub fn ready_batch(bytes: usize, record: usize) -> Vec<u8> {
    let mut value = vec![0u8; record];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let values: Vec<Vec<u8>> = (0..(bytes / record).max(1) as u64)
        .map(|i| {
            fill(&mut value, i + 1);
            value.clone()
        })
        .collect();
    Batch::of_values(values.iter().map(Vec::as_slice), now).encode()
}

/// One load: batches of `batch` bytes of values into all partitions of `topic` until `total` bytes are acknowledged.
pub struct Load<'a> {
    pub port: u16,
    pub topic: &'a str,
    pub partitions: i32,
    pub batch: usize,
    /// Partitions in one request, each with one batch, as a client that has records for many sends them.
    pub per_request: usize,
    pub total: u64,
}

pub fn produce(load: &Load<'_>, options: &Options) -> anyhow::Result<Produced> {
    let encoded = ready_batch(load.batch, RECORD);
    let values = (load.batch / RECORD).max(1) * RECORD * load.per_request;
    let requests = (load.total / values as u64).max(1);
    let start = Instant::now();
    let parts: Vec<anyhow::Result<Histogram<u64>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|n| {
                let encoded = &encoded;
                scope.spawn(move || {
                    options.pin_client();
                    let share = requests / CONNECTIONS as u64 + u64::from((n as u64) < requests % CONNECTIONS as u64);
                    connection(load, encoded, n as i32, share)
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| anyhow::bail!("a connection panicked"))).collect()
    });
    let wall = start.elapsed();
    let mut acks = histogram()?;
    for part in parts {
        acks.add(part?)?;
    }
    Ok(Produced { values: requests * values as u64, wall, acks })
}

/// Keeps a window of requests in flight on one connection; each goes to the next partition.
fn connection(load: &Load<'_>, encoded: &[u8], first: i32, share: u64) -> anyhow::Result<Histogram<u64>> {
    let mut conn = Conn::open(load.port)?;
    // One request serves all partitions: their indices are patched into it.
    let (body, places) = produce_many_body(load.topic, load.per_request, encoded, PRODUCE_TIMEOUT_MS);
    let mut request = frame(key::PRODUCE, PRODUCE_VERSION, 0, &body);
    let body_at = request.len() - body.len();
    let mut acks = histogram()?;
    let mut sent = VecDeque::with_capacity(IN_FLIGHT);
    let mut answer = Vec::new();
    // Together the connections pass over all partitions.
    let step = CONNECTIONS as i32;
    let mut partition = first % load.partitions;
    let mut started = 0;
    while started < share || !sent.is_empty() {
        if started < share && sent.len() < IN_FLIGHT {
            request[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&(started as i32).to_be_bytes());
            for place in &places {
                request[body_at + place..body_at + place + 4].copy_from_slice(&partition.to_be_bytes());
                partition = (partition + step) % load.partitions;
            }
            sent.push_back(Instant::now());
            conn.send_bytes(&request)?;
            started += 1;
        } else {
            conn.receive_into(&mut answer)?;
            let error = produce_many_answer(&answer)?;
            anyhow::ensure!(error == 0, "produce: error {error}");
            let at = sent.pop_front().context("an answer without a request")?;
            acks.saturating_record(at.elapsed().as_micros() as u64);
        }
    }
    Ok(acks)
}

/// What one reading did.
pub struct Consumed {
    /// Bytes of batches, which are the values and about one percent of framing.
    pub bytes: u64,
    pub wall: Duration,
}

/// Reads partitions from their start to their end.
pub fn consume(port: u16, topic: &str, partitions: i32, options: &Options) -> anyhow::Result<Consumed> {
    const READERS: i32 = 3;
    let start = Instant::now();
    let parts: Vec<anyhow::Result<u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..READERS.min(partitions))
            .map(|n| {
                scope.spawn(move || {
                    options.pin_client();
                    let mut conn = Conn::open(port)?;
                    let mut bytes = 0;
                    for partition in (n..partitions).step_by(READERS as usize) {
                        bytes += read_partition(&mut conn, topic, partition)?;
                    }
                    Ok(bytes)
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| anyhow::bail!("a reader panicked"))).collect()
    });
    let mut bytes = 0;
    for part in parts {
        bytes += part?;
    }
    Ok(Consumed { bytes, wall: start.elapsed() })
}

fn read_partition(conn: &mut Conn, topic: &str, partition: i32) -> anyhow::Result<u64> {
    const MAX_BYTES: i32 = 4 << 20;
    let mut answer = Vec::with_capacity(MAX_BYTES as usize * 2);
    let (mut offset, mut bytes) = (0, 0);
    loop {
        let part = FetchPart { topic, partition, offset, max_bytes: MAX_BYTES };
        conn.send(key::FETCH, FETCH_VERSION, &fetch_body(&part, 1000, 1))?;
        conn.receive_into(&mut answer)?;
        let (error, high_watermark, records) = fetch_answer(&answer)?;
        anyhow::ensure!(error == 0, "fetch {topic}-{partition} at {offset}: error {error}");
        let (next, whole) = next_offset(records, offset);
        bytes += whole;
        offset = next;
        if offset >= high_watermark {
            return Ok(bytes);
        }
        anyhow::ensure!(whole > 0, "no batch at {offset} of {topic}-{partition}, high watermark {high_watermark}");
    }
}

/// The offset after the whole batches in `records`, and their bytes.
pub fn next_offset(records: &[u8], from: i64) -> (i64, u64) {
    const PREFIX: usize = 12;
    const LAST_DELTA_AT: usize = 23;
    let (mut at, mut next) = (0, from);
    while let Some(head) = records.get(at..at + LAST_DELTA_AT + 4) {
        let size = PREFIX + be32(&head[8..12]) as usize;
        if records.len() - at < size {
            break;
        }
        let base = i64::from_be_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
        next = base + i64::from(be32(&head[LAST_DELTA_AT..])) + 1;
        at += size;
    }
    (next, at as u64)
}

fn be32(b: &[u8]) -> i32 {
    i32::from_be_bytes([b[0], b[1], b[2], b[3]])
}
