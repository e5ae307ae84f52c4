//! A follower's connection to a leader: one Fetch at a time, answers read into a buffer of their own, from which the
//! record batches are cut.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_wire::CodecError;
use millrace_wire::follow::{FollowerFetch, FollowerFetched, LAST_VERSION, take_frame_size};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer accepted, in bytes: more than any batch and any response limit together.
const MAX_ANSWER_BYTES: usize = i32::MAX as usize;
/// Bytes that are reserved at once for an answer, however long it announces itself.
const READ_AHEAD_BYTES: usize = 16 << 20;
/// Longest wait for a connection to come about. A host that does not answer at all costs as much as one that refuses
/// when its partitions are led elsewhere by then.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Where a leader is, and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// How connections to leaders are made (`replica.socket.*`).
#[derive(Debug, Clone, Copy)]
pub struct SocketOptions {
    /// Longest silence beyond the time that the leader may hold a fetch.
    pub timeout: Duration,
    /// Bytes; `None` leaves it to the system.
    pub receive_buffer: Option<usize>,
}

/// Why a fetch had no answer. The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Codec(#[from] CodecError),
    #[error("the answer is one to another request")]
    Correlation,
}

/// A connection to one leader.
#[derive(Debug)]
pub struct FetchLink {
    stream: TcpStream,
    client_id: String,
    correlation_id: i32,
    timeout: Duration,
    /// What has arrived of the answer under way.
    arrived: BytesMut,
    /// Its size, as soon as it is known.
    size: Option<usize>,
}

impl FetchLink {
    /// Connects to `address`; leaders see `client_id` in their requests.
    ///
    /// # Errors
    /// `Io` and `Timeout`.
    pub async fn connect(address: &Address, client_id: String, options: SocketOptions) -> Result<FetchLink, LinkError> {
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = tokio::time::timeout(CONNECT_TIME, connecting).await;
        let stream = stream.map_err(|_| LinkError::Timeout(CONNECT_TIME))??;
        stream.set_nodelay(true)?;
        if let Some(bytes) = options.receive_buffer {
            SockRef::from(&stream).set_recv_buffer_size(bytes)?;
        }
        Ok(FetchLink {
            stream,
            client_id,
            correlation_id: 0,
            timeout: options.timeout,
            arrived: BytesMut::new(),
            size: None,
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// After one the connection cannot be used.
    pub async fn send(&mut self, request: &FollowerFetch<'_>) -> Result<(), LinkError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = request.encode_frame(LAST_VERSION, self.correlation_id, &self.client_id)?;
        tokio::time::timeout(self.timeout, self.stream.write_all(&frame))
            .await
            .map_err(|_| LinkError::Timeout(self.timeout))??;
        Ok(())
    }

    /// The answer to the request that was sent last, which the leader may hold for `max_wait`. May be dropped and
    /// called again: what has arrived is kept.
    ///
    /// # Errors
    /// After one the connection cannot be used.
    pub async fn receive(&mut self, max_wait: Duration) -> Result<FollowerFetched, LinkError> {
        let frame = self.frame(self.timeout + max_wait).await?;
        let (correlation_id, answer) = FollowerFetched::decode_frame(frame)?;
        if correlation_id != self.correlation_id {
            return Err(LinkError::Correlation);
        }
        Ok(answer)
    }

    /// Whether the leader has begun to answer.
    pub fn is_answering(&self) -> bool {
        self.size.is_some() || !self.arrived.is_empty()
    }

    /// Waits for `patience` each time, so that a long answer over a slow way arrives.
    async fn frame(&mut self, patience: Duration) -> Result<Bytes, LinkError> {
        loop {
            if self.size.is_none() {
                self.size = take_frame_size(&mut self.arrived, MAX_ANSWER_BYTES)?;
            }
            let wanted = match self.size {
                None => 4 - self.arrived.len(),
                Some(size) if self.arrived.len() == size => {
                    self.size = None;
                    return Ok(std::mem::take(&mut self.arrived).freeze());
                }
                Some(size) => size - self.arrived.len(),
            };
            self.arrived.reserve(wanted.min(READ_AHEAD_BYTES));
            let mut room = (&mut self.arrived).limit(wanted);
            let reading = tokio::time::timeout(patience, self.stream.read_buf(&mut room)).await;
            if reading.map_err(|_| LinkError::Timeout(patience))?? == 0 {
                return Err(LinkError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
