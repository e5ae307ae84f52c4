//! The light client: ready-made Produce requests and a Fetch reader that looks at batch headers only.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// One connection of a load, and the partitions that it writes to, in turn and again.
#[derive(Clone, Debug)]
pub struct Route {
    pub addr: SocketAddr,
    pub partitions: Vec<i32>,
}

impl Route {
    /// [`CONNECTIONS`] connections to one broker that leads everything; together they pass over all partitions.
    pub fn to_one(port: u16, partitions: i32) -> Vec<Route> {
        let step = CONNECTIONS as i32;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        (0..step)
            .map(|first| Route { addr, partitions: (0..partitions).map(|n| (first + n * step) % partitions).collect() })
            .collect()
    }
}

/// One load: batches of `batch` bytes of values over all routes until `total` bytes are acknowledged.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub routes: &'a [Route],
    pub topic: &'a str,
    pub batch: usize,
    /// Partitions in one request, each with one batch, as a client that has records for many sends them.
    pub per_request: usize,
    pub total: u64,
    /// Ends the load early.
    pub stop: Option<&'a AtomicBool>,
}

impl Load<'_> {
    fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

pub fn produce(load: &Load<'_>, options: &Options) -> anyhow::Result<Produced> {
    let encoded = ready_batch(load.batch, RECORD);
    let values = ((load.batch / RECORD).max(1) * RECORD * load.per_request) as u64;
    let requests = (load.total / values).max(1);
    let count = load.routes.len() as u64;
    let start = Instant::now();
    let parts: Vec<anyhow::Result<Histogram<u64>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = load
            .routes
            .iter()
            .zip(0..)
            .map(|(route, n)| {
                let encoded = &encoded;
                scope.spawn(move || {
                    options.pin_client();
                    connection(load, route, encoded, requests / count + u64::from(n < requests % count))
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
    Ok(Produced { values: acks.len() * values, wall, acks })
}

/// Keeps a window of requests in flight on one connection; each goes to the next partition of its route.
fn connection(load: &Load<'_>, route: &Route, encoded: &[u8], share: u64) -> anyhow::Result<Histogram<u64>> {
    let mut conn = Conn::connect(route.addr)?;
    // One request serves all partitions: their indices are patched into it.
    let (body, places) = produce_many_body(load.topic, load.per_request, encoded, PRODUCE_TIMEOUT_MS);
    let mut request = frame(key::PRODUCE, PRODUCE_VERSION, 0, &body);
    let body_at = request.len() - body.len();
    let mut acks = histogram()?;
    let mut sent = VecDeque::with_capacity(IN_FLIGHT);
    let mut answer = Vec::new();
    let mut partitions = route.partitions.iter().cycle();
    let mut started = 0;
    loop {
        let more = started < share && !load.stopped();
        if more && sent.len() < IN_FLIGHT {
            request[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&(started as i32).to_be_bytes());
            for place in &places {
                let partition = partitions.next().context("a route without partitions")?;
                request[body_at + place..body_at + place + 4].copy_from_slice(&partition.to_be_bytes());
            }
            sent.push_back(Instant::now());
            conn.send_bytes(&request)?;
            started += 1;
        } else if let Some(at) = sent.pop_front() {
            conn.receive_into(&mut answer)?;
            let error = produce_many_answer(&answer)?;
            anyhow::ensure!(error == 0, "produce: error {error}");
            acks.saturating_record(at.elapsed().as_micros() as u64);
        } else {
            return Ok(acks);
        }
    }
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
