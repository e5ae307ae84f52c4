//! A small blocking Kafka client over a raw socket: what the tests send is exactly what stands here.
//! Only versions before the compact encodings are used, so that a request is short to write by hand; what is asked of a
//! cluster's administration is built from the generated messages ([`Conn::request`]).

mod batch;
pub mod calls;
mod codec;
mod records;
mod typed;

pub use batch::{Batch, Codec, fill, producer_fields};
pub use calls::{FetchPart, FetchResult, ProducePart, ProduceResult};
pub use codec::{Reader, Writer};
pub use records::{Record, records};

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER_BYTES: usize = 256 << 20;

pub mod key {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const OFFSET_FETCH: i16 = 9;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const DESCRIBE_LOG_DIRS: i16 = 35;
}

/// One connection to a broker.
pub struct Conn {
    stream: TcpStream,
    next_id: i32,
}

impl Conn {
    pub fn open(port: u16) -> anyhow::Result<Conn> {
        Conn::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    pub fn connect(addr: SocketAddr) -> anyhow::Result<Conn> {
        Conn::connect_within(addr, CONNECT_LIMIT, ANSWER_LIMIT)
    }

    /// Waits at most `connect` for the connection and `answer` for each answer.
    pub fn connect_within(addr: SocketAddr, connect: Duration, answer: Duration) -> anyhow::Result<Conn> {
        let stream = TcpStream::connect_timeout(&addr, connect)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(answer))?;
        stream.set_write_timeout(Some(answer))?;
        Ok(Conn { stream, next_id: 1 })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes)?;
        Ok(())
    }

    /// Sends one request with a version 1 header; returns its correlation id.
    pub fn send(&mut self, api: i16, version: i16, body: &[u8]) -> anyhow::Result<i32> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.stream.write_all(&frame(api, version, id, body))?;
        Ok(id)
    }

    /// Reads one answer: correlation id and body.
    pub fn receive(&mut self) -> anyhow::Result<(i32, Vec<u8>)> {
        let mut body = Vec::new();
        let id = self.receive_into(&mut body)?;
        Ok((id, body))
    }

    /// Like [`Conn::receive`], into a buffer that is used again.
    pub fn receive_into(&mut self, body: &mut Vec<u8>) -> anyhow::Result<i32> {
        let mut head = [0u8; 8];
        self.stream.read_exact(&mut head).context("read the head of an answer")?;
        let size = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let size =
            usize::try_from(size).ok().filter(|n| (4..=ANSWER_BYTES).contains(n)).context("size of an answer")?;
        body.resize(size - 4, 0);
        self.stream.read_exact(body).context("read the body of an answer")?;
        Ok(i32::from_be_bytes([head[4], head[5], head[6], head[7]]))
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, api: i16, version: i16, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let id = self.send(api, version, body)?;
        let (got, answer) = self.receive()?;
        anyhow::ensure!(got == id, "answer {got} to request {id}");
        Ok(answer)
    }
}

/// A whole request frame: length, header version 1, body.
pub fn frame(api: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    const CLIENT: &str = "millrace-tests";
    let mut w = Writer::with_capacity(body.len() + 32);
    w.i32((10 + CLIENT.len() + body.len()) as i32);
    w.i16(api);
    w.i16(version);
    w.i32(correlation);
    w.string(CLIENT);
    w.bytes_raw(body);
    w.into_vec()
}
