//! Open loop: requests leave at a fixed rate whether or not answers come, and time counts from the schedule.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Options;
use super::load::{Route, histogram, ready_batch};
use crate::raw::calls::{PRODUCE_VERSION, produce_answer, produce_body};
use crate::raw::{Conn, ProducePart, frame, key};

const VALUE: usize = 100;
const TIMEOUT_MS: i32 = 60_000;

pub struct Answered {
    pub acked_per_second: f64,
    /// Microseconds from the scheduled time to the answer.
    pub acks: Histogram<u64>,
}

/// Sends `rate` records per second for `length`, one record of 100 bytes per request.
pub fn open_loop(
    routes: &[Route],
    topic: &str,
    rate: u32,
    length: Duration,
    options: &Options,
) -> anyhow::Result<Answered> {
    let encoded = ready_batch(VALUE, VALUE);
    let connections = routes.len() as u32;
    let gap = Duration::from_secs(1) * connections / rate;
    let count = (length.as_secs_f64() / gap.as_secs_f64()) as u32;
    let origin = Instant::now() + Duration::from_millis(100);
    let parts: Vec<anyhow::Result<(Histogram<u64>, Instant)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = routes
            .iter()
            .zip(0..)
            .map(|(route, n)| {
                let encoded = &encoded;
                // Connections take turns, so that requests do not leave in bursts.
                let start = origin + gap * n / connections;
                scope.spawn(move || {
                    options.pin_client();
                    one_connection(route, topic, encoded, &Schedule { start, gap, count })
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| anyhow::bail!("a connection panicked"))).collect()
    });
    let mut acks = histogram()?;
    let mut end = origin;
    for part in parts {
        let (h, last) = part?;
        acks.add(h)?;
        end = end.max(last);
    }
    let acked_per_second = acks.len() as f64 / (end - origin).as_secs_f64();
    Ok(Answered { acked_per_second, acks })
}

struct Schedule {
    start: Instant,
    gap: Duration,
    count: u32,
}

fn one_connection(
    route: &Route,
    topic: &str,
    encoded: &[u8],
    schedule: &Schedule,
) -> anyhow::Result<(Histogram<u64>, Instant)> {
    let mut conn = Conn::connect(route.addr)?;
    let sender = conn.stream().try_clone()?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(sender, route, &Record { topic, encoded }, schedule));
        let mut acks = histogram()?;
        let mut answer = Vec::new();
        for i in 0..schedule.count {
            conn.receive_into(&mut answer)?;
            let result = produce_answer(&answer)?;
            anyhow::ensure!(result.error == 0, "produce: error {}", result.error);
            let due = schedule.start + schedule.gap * i;
            acks.saturating_record(due.elapsed().as_micros() as u64);
        }
        sending.join().unwrap_or_else(|_| anyhow::bail!("the sender panicked"))?;
        Ok((acks, Instant::now()))
    })
}

struct Record<'a> {
    topic: &'a str,
    encoded: &'a [u8],
}

fn send_all(mut stream: TcpStream, route: &Route, record: &Record<'_>, schedule: &Schedule) -> anyhow::Result<()> {
    use std::io::Write;
    let frames = route.partitions.iter().map(|partition| {
        let part = ProducePart { topic: record.topic, partition: *partition, batch: record.encoded };
        frame(key::PRODUCE, PRODUCE_VERSION, 0, &produce_body(&part, -1, TIMEOUT_MS))
    });
    let frames: Vec<Vec<u8>> = frames.collect();
    for i in 0..schedule.count {
        let due = schedule.start + schedule.gap * i;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        stream.write_all(&frames[i as usize % frames.len()])?;
    }
    Ok(())
}
