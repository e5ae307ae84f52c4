//! Connections over in-memory pipes and real sockets, with a service that
//! echoes. Where a time decides, it is simulated: it passes when nobody has
//! anything to do, so that a machine that stands still changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_wire::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, End, Shared};
use super::memory::RequestMemory;
use super::options::KIB;
use super::*;

/// Requests of this service start with a 16-bit key.
mod key {
    pub const ECHO: i16 = 0;
    pub const SLOW: i16 = 1;
    pub const CLOSE: i16 = 2;
    pub const SILENT: i16 = 3;
    pub const PANIC_AT_ONCE: i16 = 4;
    pub const PANIC_LATER: i16 = 5;
    pub const SERIAL: i16 = 6;
    pub const NEVER: i16 = 7;
}

struct Echo {
    answers: AnswerMemory,
    slow: AtomicUsize,
    slow_beside_serial: AtomicUsize,
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            answers: AnswerMemory::new(64 * KIB * KIB),
            slow: AtomicUsize::new(0),
            slow_beside_serial: AtomicUsize::new(0),
        }
    }
}

fn answer(frame: BytesMut) -> Outcome {
    let mut out = BytesMut::with_capacity(frame.len() + 4);
    out.put_i32(frame.len() as i32);
    out.put_slice(&frame);
    Outcome::Send(Frame::single(out.freeze()))
}

impl Service for Echo {
    fn answer_memory(&self) -> &AnswerMemory {
        &self.answers
    }

    fn frame_rule(&self, api_key: i16) -> FrameRule {
        FrameRule { max_frame: 64 * KIB * KIB, overlaps: api_key != key::SERIAL }
    }

    fn dispatch(self: &Arc<Self>, _: &Arc<Conn>, frame: BytesMut) -> Dispatched {
        let api = i16::from_be_bytes([frame[0], frame[1]]);
        match api {
            key::SLOW => {
                let echo = self.clone();
                echo.slow.fetch_add(1, Ordering::SeqCst);
                Dispatched::Running(Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    echo.slow.fetch_sub(1, Ordering::SeqCst);
                    answer(frame)
                }))
            }
            key::SERIAL => {
                let beside = self.slow.load(Ordering::SeqCst);
                self.slow_beside_serial.fetch_add(beside, Ordering::SeqCst);
                Dispatched::Running(Box::pin(async move {
                    tokio::task::yield_now().await;
                    answer(frame)
                }))
            }
            key::CLOSE => Dispatched::Done(Outcome::Close("asked to".into())),
            key::SILENT => Dispatched::Done(Outcome::Silent),
            key::PANIC_AT_ONCE => panic!("a panic that the test asked for"),
            key::PANIC_LATER => Dispatched::Running(Box::pin(async {
                tokio::task::yield_now().await;
                panic!("a panic that the test asked for")
            })),
            key::NEVER => Dispatched::Running(Box::pin(std::future::pending())),
            _ => Dispatched::Done(answer(frame)),
        }
    }
}

struct Link {
    peer: DuplexStream,
    end: JoinHandle<End>,
    shared: Arc<Shared<Echo>>,
}

fn link(pipe: usize) -> Link {
    link_with(pipe, Times::default())
}

fn link_with(pipe: usize, times: Times) -> Link {
    let shared = Arc::new(Shared {
        service: Arc::new(Echo::default()),
        memory: RequestMemory::new(8 * KIB * KIB, 64 * KIB * KIB),
        max_request_bytes: 32 * KIB * KIB,
        stats: Arc::default(),
        times,
        stopping: AtomicBool::new(false),
        shutdown: CancellationToken::new(),
    });
    let (peer, io) = duplex(pipe);
    let addr = ([127, 0, 0, 1], 9092).into();
    let conn = Arc::new(Conn::plaintext(1, "TEST".into(), addr, addr));
    let end = tokio::spawn(Connection::new(io, conn, shared.clone()));
    Link { peer, end, shared }
}

fn request(api: i16, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(payload.len() as i32 + 2);
    out.put_i16(api);
    out.put_slice(payload);
    out.freeze()
}

async fn read_answer<R: tokio::io::AsyncRead + Unpin>(peer: &mut R) -> Vec<u8> {
    let len = peer.read_i32().await.unwrap();
    let mut body = vec![0; len as usize];
    peer.read_exact(&mut body).await.unwrap();
    body
}

#[tokio::test]
async fn answers_come_in_the_order_of_requests() {
    let mut link = link(64 * KIB);
    let burst = [
        request(key::SLOW, b"first"),
        request(key::ECHO, b"second"),
        request(key::SILENT, b""),
        request(key::ECHO, b"third"),
    ]
    .concat();
    link.peer.write_all(&burst).await.unwrap();
    for expected in [&b"first"[..], b"second", b"third"] {
        assert_eq!(&read_answer(&mut link.peer).await[2..], expected);
    }
    drop(link.peer);
    assert!(matches!(link.end.await.unwrap(), End::Eof));
}

#[tokio::test]
async fn a_flood_of_small_requests_is_answered_in_full() {
    let link = link(16 * KIB);
    let (mut read, mut write) = tokio::io::split(link.peer);
    let writer = tokio::spawn(async move {
        for i in 0..5_000u32 {
            let api = if i % 7 == 0 { key::SLOW } else { key::ECHO };
            write.write_all(&request(api, &i.to_be_bytes())).await.unwrap();
        }
        write
    });
    for i in 0..5_000u32 {
        assert_eq!(read_answer(&mut read).await[2..], i.to_be_bytes());
    }
    drop((writer.await.unwrap(), read));
    assert!(matches!(link.end.await.unwrap(), End::Eof));
}

#[tokio::test]
async fn large_frames_pass_and_their_memory_is_returned() {
    let link = link(64 * KIB);
    let (mut read, mut write) = tokio::io::split(link.peer);
    let sizes = [17 * KIB, 300 * KIB, 1, 5 * KIB * KIB, 20 * KIB * KIB, 100];
    let writer = tokio::spawn(async move {
        for (i, size) in sizes.into_iter().enumerate() {
            let payload = vec![i as u8; size];
            write.write_all(&request(key::ECHO, &payload)).await.unwrap();
        }
        write
    });
    for (i, size) in sizes.into_iter().enumerate() {
        let body = read_answer(&mut read).await;
        assert_eq!(body.len(), size + 2);
        assert!(body[2..].iter().all(|&b| b == i as u8));
    }
    assert_eq!(link.shared.memory.used(), 0);
    drop((writer.await.unwrap(), read));
    assert!(matches!(link.end.await.unwrap(), End::Eof));
    assert_eq!(link.shared.service.answers.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_held_back_and_then_forgotten() {
    let mut link = link(64 * KIB);
    let frame = request(key::ECHO, &vec![0; 900 * KIB]);
    let mut sent = 0;
    let brief = Duration::from_millis(200);
    while tokio::time::timeout(brief, link.peer.write_all(&frame)).await.is_ok() {
        sent += 1;
        assert!(sent < 10, "nothing holds the client back");
    }
    assert!(link.shared.service.answers.waiting() > 0);
    drop(link.peer);
    assert!(matches!(link.end.await.unwrap(), End::Io(_) | End::Eof));
    assert_eq!(link.shared.service.answers.waiting(), 0);
}

#[tokio::test]
async fn a_serial_request_waits_for_those_before_it() {
    let mut link = link(64 * KIB);
    let burst =
        [request(key::SLOW, b""), request(key::SLOW, b""), request(key::SERIAL, b""), request(key::SLOW, b"")].concat();
    link.peer.write_all(&burst).await.unwrap();
    for expected in [key::SLOW, key::SLOW, key::SERIAL, key::SLOW] {
        assert_eq!(read_answer(&mut link.peer).await, expected.to_be_bytes());
    }
    let beside = &link.shared.service.slow_beside_serial;
    assert_eq!(beside.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_close_comes_after_the_answers_before_it() {
    let mut link = link(64 * KIB);
    let burst = [request(key::SLOW, b"kept"), request(key::CLOSE, b""), request(key::ECHO, b"lost")].concat();
    link.peer.write_all(&burst).await.unwrap();
    assert_eq!(&read_answer(&mut link.peer).await[2..], b"kept");
    assert_eq!(link.peer.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(matches!(link.end.await.unwrap(), End::Refused(_)));
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_nothing_else() {
    for api in [key::PANIC_AT_ONCE, key::PANIC_LATER] {
        let mut link = link(64 * KIB);
        let burst = [request(key::ECHO, b"kept"), request(api, b"")].concat();
        link.peer.write_all(&burst).await.unwrap();
        assert_eq!(&read_answer(&mut link.peer).await[2..], b"kept");
        assert!(matches!(link.end.await.unwrap(), End::Panic(_)));
    }
}

#[tokio::test]
async fn impossible_sizes_close_the_connection() {
    for size in [-1i32, 0, i32::MIN, i32::MAX, 33 * 1024 * 1024] {
        let mut link = link(64 * KIB);
        link.peer.write_i32(size).await.unwrap();
        assert!(matches!(link.end.await.unwrap(), End::Refused(_)), "{size}");
    }
}

/// Times that make a test short.
fn brisk() -> Times {
    Times {
        idle: Duration::from_millis(60),
        frame: Duration::from_millis(60),
        drain: Duration::from_millis(60),
        tick: Duration::from_millis(10),
        ..Times::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_dribbles_in_is_cut_off() {
    let times = Times { idle: Duration::from_secs(600), ..brisk() };
    let mut link = link_with(64 * KIB, times);
    let frame = request(key::ECHO, &[0; 1000]);
    for byte in frame.iter() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if link.peer.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    let End::Refused(reason) = link.end.await.unwrap() else { panic!("not cut off") };
    assert!(reason.contains("in time"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_half_sent_large_frame_is_cut_off_and_returns_its_memory() {
    let times = Times { idle: Duration::from_secs(600), ..brisk() };
    let mut link = link_with(64 * KIB, times);
    let frame = request(key::ECHO, &[0; 1_000_000]);
    link.peer.write_all(&frame[..5_000]).await.unwrap();
    assert!(matches!(link.end.await.unwrap(), End::Refused(_)));
    assert_eq!(link.shared.memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let mut waiting = link_with(64 * KIB, brisk());
    waiting.peer.write_all(&request(key::NEVER, b"")).await.unwrap();
    let mut idle = link_with(64 * KIB, brisk());
    assert!(matches!((&mut idle.end).await.unwrap(), End::Idle));
    let long = Duration::from_millis(100);
    assert!(tokio::time::timeout(long, &mut waiting.end).await.is_err());
}

/// Sends one request, waits until its handler runs, and stops the service.
async fn stop_during(api: i16) -> Link {
    let mut link = link_with(64 * KIB, brisk());
    let burst = [request(key::ECHO, b""), request(api, b"kept")].concat();
    link.peer.write_all(&burst).await.unwrap();
    read_answer(&mut link.peer).await;
    while api == key::SLOW && link.shared.service.slow.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    link.shared.stopping.store(true, Ordering::Release);
    link.shared.shutdown.cancel();
    link
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_what_is_in_flight() {
    let mut link = stop_during(key::SLOW).await;
    assert_eq!(&read_answer(&mut link.peer).await[2..], b"kept");
    assert!(matches!(link.end.await.unwrap(), End::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_what_never_ends() {
    let link = stop_during(key::NEVER).await;
    assert!(matches!(link.end.await.unwrap(), End::Shutdown));
}

#[tokio::test]
async fn connections_are_limited_per_address() {
    let spec = ListenerSpec { name: "TEST".into(), host: "127.0.0.1".into(), port: 0 };
    let options = NetOptions { limits: super::ConnLimits { per_ip: 2, ..Default::default() }, ..NetOptions::default() };
    let bound = BoundListener::bind(&spec, &options).await.unwrap();
    let addr = bound.local_addrs()[0];
    let busy = BoundListener::bind(&ListenerSpec { port: addr.port(), ..spec }, &options).await;
    assert!(matches!(busy, Err(BindError::InUse { .. })));
    let server = Server::start(vec![bound], options, Arc::new(Echo::default()));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(&request(key::ECHO, b"hi")).await.unwrap();
        assert_eq!(&read_answer(&mut stream).await[2..], b"hi");
        open.push(stream);
    }
    let mut third = TcpStream::connect(addr).await.unwrap();
    assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(server.connections(), 2);
    server.shutdown().await;
    assert_eq!(open[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}
