//! Many connections that are slow, silent, or gone.

use std::time::{Duration, Instant};

use millrace_tests::harness::{Peer, Spec, proc};
use millrace_tests::raw::calls::{FETCH_VERSION, fetch_body};
use millrace_tests::raw::{Batch, Conn, FetchPart, ProducePart, fill, frame, key};

use crate::{KEPT, limited, limited_broker, survives};

#[test]
fn five_thousand_connections() {
    const CONNECTIONS: usize = 5_000;
    const BYTES_EACH: u64 = 20 << 10;
    survives(limited_broker(), |broker| {
        let before = proc::rss_bytes(broker.pid()).unwrap();
        let mut conns: Vec<Conn> = (0..CONNECTIONS).map(|_| Conn::open(broker.port()).unwrap()).collect();
        for conn in &mut conns {
            conn.call(key::API_VERSIONS, 0, &[]).unwrap();
        }
        let each = proc::rss_bytes(broker.pid()).unwrap().saturating_sub(before) / CONNECTIONS as u64;
        assert!(each <= BYTES_EACH, "{each} bytes of resident memory per idle connection");
        for conn in conns.iter_mut().step_by(97) {
            assert_eq!(conn.broker_count().unwrap(), 1);
        }
    });
}

#[test]
fn slow_senders() {
    const CONNECTIONS: usize = 200;
    const LASTS: Duration = Duration::from_secs(8);
    const TICK: Duration = Duration::from_millis(200);
    survives(limited_broker(), |broker| {
        let request = frame(key::METADATA, 1, 1, &0i32.to_be_bytes());
        let mut conns: Vec<Conn> = (0..CONNECTIONS).map(|_| Conn::open(broker.port()).unwrap()).collect();
        let start = Instant::now();
        // One byte of the request at a time on each connection; the last ones complete it.
        let mut sent = 0;
        while start.elapsed() < LASTS && sent < request.len() - 1 {
            for conn in &mut conns {
                conn.send_bytes(&request[sent..=sent]).unwrap();
            }
            sent += 1;
            std::thread::sleep(TICK.min(LASTS.saturating_sub(start.elapsed())));
        }
        for conn in &mut conns {
            conn.send_bytes(&request[sent..]).unwrap();
            assert_eq!(conn.receive().unwrap().0, 1, "a slow request is a request");
        }
    });
}

#[test]
fn connections_without_a_word() {
    const CONNECTIONS: usize = 1_000;
    let spec = Spec::new(Peer::Millrace).unwrap().set("connections.max.idle.ms", "5000");
    survives(limited(spec), |broker| {
        let files = proc::open_files(broker.pid()).unwrap();
        let held: Vec<Conn> = (0..CONNECTIONS).map(|_| Conn::open(broker.port()).unwrap()).collect();
        // Half of them vanish in the middle of a request.
        for mut conn in held.into_iter().step_by(2) {
            conn.send_bytes(&[0, 0, 1, 0, 0, 3]).unwrap();
        }
        let back = || Ok((proc::open_files(broker.pid())? <= files + 5).then_some(()));
        proc::wait_for("the broker to close what is idle", Duration::from_secs(30), back).unwrap();
    });
}

#[test]
fn readers_that_take_nothing() {
    const READERS: usize = 100;
    const BATCHES: usize = 100;
    const ASKED: i32 = 50_000_000;
    survives(limited_broker(), |broker| {
        let mut conn = Conn::open(broker.port()).unwrap();
        conn.create_and_wait("slow", 1, &[("max.message.bytes", "10000000"), KEPT]).unwrap();
        let mut value = vec![0; 1 << 20];
        fill(&mut value, 1);
        let batch = Batch::of_values([value.as_slice()], 1_700_000_000_000).encode();
        for _ in 0..BATCHES {
            let part = ProducePart { topic: "slow", partition: 0, batch: &batch };
            assert_eq!(conn.produce(&part, -1).unwrap().error, 0);
        }
        let part = FetchPart { topic: "slow", partition: 0, offset: 0, max_bytes: ASKED };
        let mut readers: Vec<Conn> = (0..READERS).map(|_| Conn::open(broker.port()).unwrap()).collect();
        for reader in &mut readers {
            reader.send(key::FETCH, FETCH_VERSION, &fetch_body(&part, 1000, 1)).unwrap();
        }
        // Somebody who does read is served, again and again, to the end of the log.
        let end = BATCHES as i64;
        for offset in 0..end {
            let part = FetchPart { offset, max_bytes: 2_000_000, ..part };
            let read = conn.fetch(&part, 1000).unwrap();
            assert_eq!((read.error, read.high_watermark), (0, end));
        }
    });
}
