//! Frames that lie about their size, end early or announce more than they hold.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use millrace_tests::raw::{Batch, Conn, ProducePart, Writer, calls, frame, key};

use crate::{limited_broker, survives};

/// A broken connection is closed, or its request answered, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// APIs whose request starts with an array or holds one near its start, with a version of each kind of encoding.
const APIS: [(i16, [i16; 2]); 16] = [
    (0, [3, 9]),
    (1, [4, 12]),
    (2, [1, 6]),
    (3, [0, 9]),
    (8, [2, 8]),
    (9, [1, 8]),
    (11, [0, 6]),
    (13, [3, 4]),
    (15, [0, 5]),
    (19, [2, 5]),
    (20, [1, 4]),
    (32, [1, 4]),
    (35, [1, 2]),
    (37, [0, 2]),
    (44, [0, 1]),
    (75, [0, 0]),
];

/// Waits until the broker has closed the connection or sent something; false if it did neither.
fn reacts(conn: &Conn) -> bool {
    conn.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [0u8; 1];
    match conn.stream().read(&mut byte) {
        // Nothing read means closed, a byte is an answer: both are reactions.
        Ok(n) => n <= byte.len(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Waits until the broker has closed the connection without an answer.
fn closes(conn: &Conn) -> bool {
    conn.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [0u8; 1];
    match conn.stream().read(&mut byte) {
        Ok(n) => n == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn impossible_lengths_close_the_connection() {
    survives(limited_broker(), |broker| {
        for length in [-1, i32::MIN, 0, 1, 3, 7, i32::MAX, (100 << 20) + 1] {
            let mut conn = Conn::open(broker.port()).unwrap();
            conn.send_bytes(&length.to_be_bytes()).unwrap();
            // Enough for the short lengths; what is left over must not be taken for a request.
            let _ = conn.send_bytes(&[0; 8]);
            assert!(closes(&conn), "a frame of {length} bytes was not refused");
        }
    });
}

#[test]
fn announced_lengths_reserve_nothing() {
    const CONNECTIONS: usize = 300;
    survives(limited_broker(), |broker| {
        let announced = (90i32 << 20).to_be_bytes();
        let held: Vec<Conn> = (0..CONNECTIONS)
            .map(|_| {
                let mut conn = Conn::open(broker.port()).unwrap();
                conn.send_bytes(&announced).unwrap();
                // The header of a Produce request, so that the full length is allowed.
                conn.send_bytes(&[0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b'x', 0]).unwrap();
                conn
            })
            .collect();
        // Served by others as before, while the frames stay unfinished.
        let mut conn = Conn::open(broker.port()).unwrap();
        assert_eq!(conn.broker_count().unwrap(), 1);
        drop(held);
    });
}

/// Whole frames to be damaged.
fn valid_frames() -> Vec<Vec<u8>> {
    let batch = Batch::of_values([b"value".as_slice()], 1_700_000_000_000).encode();
    let part = ProducePart { topic: "nowhere", partition: 0, batch: &batch };
    let fetch = calls::FetchPart { topic: "nowhere", partition: 0, offset: 0, max_bytes: 1000 };
    vec![
        frame(key::PRODUCE, calls::PRODUCE_VERSION, 1, &calls::produce_body(&part, -1, 1000)),
        frame(key::FETCH, calls::FETCH_VERSION, 1, &calls::fetch_body(&fetch, 0, 0)),
        frame(key::METADATA, 4, 1, Writer::new().i32(1).string("nowhere").bool(false).as_slice()),
        frame(key::API_VERSIONS, 0, 1, &[]),
        frame(key::FIND_COORDINATOR, 1, 1, Writer::new().string("group").i8(0).as_slice()),
        frame(
            11,
            2,
            1,
            Writer::new()
                .string("g")
                .i32(10_000)
                .i32(10_000)
                .string("")
                .string("consumer")
                .i32(1)
                .string("range")
                .bytes(b"x")
                .as_slice(),
        ),
        frame(key::INIT_PRODUCER_ID, 0, 1, Writer::new().null_string().i32(1000).as_slice()),
    ]
}

#[test]
fn truncation_at_every_byte() {
    survives(limited_broker(), |broker| {
        for whole in valid_frames() {
            for cut in 4..whole.len() {
                // The length says more than comes.
                let mut conn = Conn::open(broker.port()).unwrap();
                conn.send_bytes(&whole[..cut]).unwrap();
                let _ = conn.stream().shutdown(Shutdown::Write);
                assert!(reacts(&conn), "API {}, cut at {cut}: neither closed nor answered", whole[5]);
                // The length agrees with what comes, and the request ends inside.
                let mut conn = Conn::open(broker.port()).unwrap();
                conn.send_bytes(&((cut - 4) as i32).to_be_bytes()).unwrap();
                let _ = conn.send_bytes(&whole[4..cut]);
                assert!(reacts(&conn), "API {}, body of {} bytes: neither closed nor answered", whole[5], cut - 4);
            }
        }
    });
}

#[test]
fn arrays_larger_than_their_frame() {
    survives(limited_broker(), |broker| {
        // The smallest of them: Metadata with a count of 2^31 - 1 and nothing behind it.
        let mut conn = Conn::open(broker.port()).unwrap();
        conn.send(key::METADATA, 0, &i32::MAX.to_be_bytes()).unwrap();
        assert!(closes(&conn), "an array of 2^31 - 1 topics was not refused");
        for (api, versions) in APIS {
            for version in versions {
                for filler in
                    [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0, 0x7f, 0xff, 0xff, 0xff], &[0]]
                {
                    for length in [1, 5, 40, 400] {
                        let body: Vec<u8> = filler.iter().copied().cycle().take(length).collect();
                        let mut conn = Conn::open(broker.port()).unwrap();
                        conn.send(api, version, &body).unwrap();
                        // It may be closed already.
                        let _ = conn.stream().shutdown(Shutdown::Write);
                        assert!(reacts(&conn), "API {api} version {version} with {length} bytes of {filler:x?}");
                    }
                }
            }
        }
    });
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    survives(limited_broker(), |broker| {
        for (api, version) in [(-1, 0), (4, 0), (999, 0), (i16::MAX, i16::MAX), (0, -1), (3, 99), (1, 3)] {
            let mut conn = Conn::open(broker.port()).unwrap();
            conn.send(api, version, &[0; 16]).unwrap();
            assert!(closes(&conn), "API {api} version {version} was not refused");
        }
    });
}

#[test]
fn a_client_that_takes_no_answers_is_held_back() {
    const FLOOD: usize = 2_000_000;
    survives(limited_broker(), |broker| {
        let request = frame(key::API_VERSIONS, 0, 7, &[]);
        let mut conn = Conn::open(broker.port()).unwrap();
        conn.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let block: Vec<u8> = request.iter().copied().cycle().take(request.len() * 100).collect();
        // The broker stops reading long before everything is sent.
        let sent = (0..FLOOD / 100).take_while(|_| conn.stream().write_all(&block).is_ok()).count();
        assert!(sent < FLOOD / 100, "{FLOOD} unanswered requests were taken in");
        // What it took in is answered, in order and whole.
        for _ in 0..sent * 100 {
            assert_eq!(conn.receive().unwrap().0, 7);
        }
    });
}
