//! An ordinary client that works while others misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millrace_tests::raw::{Batch, Conn, FetchPart, ProducePart};

use crate::KEPT;

/// Pause between two round trips.
const PACE: Duration = Duration::from_millis(10);
/// Round trips that are made even if the others are done sooner: fewer say nothing about what is usual.
const AT_LEAST: usize = 20;
/// Most of the round trips (append with fsync, then read) are at most this slow.
const USUAL: Duration = Duration::from_millis(400);
const TOPIC: &str = "bystander";
const PARTITION: i32 = 0;

pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    /// Starts to produce one record after the other and to read each back.
    pub fn start(port: u16) -> Bystander {
        let mut conn = Conn::open(port).unwrap();
        conn.create_and_wait(TOPIC, 1, &[KEPT]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Relaxed) || took.len() < AT_LEAST {
                let start = Instant::now();
                round_trip(&mut conn, took.len() as i64);
                took.push(start.elapsed());
                std::thread::sleep(PACE);
            }
            took
        });
        Bystander { stop, thread }
    }

    /// Stops; fails if a round trip failed or the slow ones are more than one in twenty.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().expect("the bystander was disturbed");
        took.sort();
        let usual = took[took.len() * 95 / 100];
        assert!(usual < USUAL, "19 of 20 round trips of another client took up to {usual:?} ({} in all)", took.len());
    }
}

/// Appends one record and reads it back at the offset that was acknowledged.
fn round_trip(conn: &mut Conn, expected: i64) {
    let value = expected.to_be_bytes();
    let batch = Batch::of_values([value.as_slice()], 1_700_000_000_000).encode();
    let part = ProducePart { topic: TOPIC, partition: PARTITION, batch: &batch };
    let done = conn.produce(&part, -1).unwrap();
    assert_eq!((done.error, done.base_offset), (0, expected), "a record of another client");
    let part = FetchPart { topic: TOPIC, partition: PARTITION, offset: expected, max_bytes: 1 << 20 };
    let read = conn.fetch(&part, 1000).unwrap();
    assert_eq!(read.error, 0);
    assert!(read.records.windows(value.len()).any(|w| w == value), "the record at {expected} was not read back");
}
