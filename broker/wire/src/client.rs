//! A small client for tools and tests: one connection, one request at a time.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::codec::{CodecError, decode_request};
use crate::header::{request_header_version, response_header_version};
use crate::kp::messages::{ApiVersionsRequest, RequestHeader as CrateHeader};
use crate::kp::protocol::{Encodable, Message, Request, StrBytes};
use crate::read::Reader;

/// Longest answer accepted, in bytes.
const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// How long to wait for a connection or an answer, unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection could not be made or was lost.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request or the answer does not fit the protocol.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// The answer belongs to another request or is longer than can be.
    #[error("the answer is not one to this request: {0}")]
    Protocol(String),
    /// The broker serves no version of the API that this client speaks.
    #[error("the broker does not serve API {0} in a version that this client speaks")]
    Unsupported(i16),
}

/// A connection to one broker.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    client_id: StrBytes,
    correlation_id: i32,
    timeout: Duration,
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Client {
    /// Connects.
    pub async fn connect(addr: impl ToSocketAddrs) -> Result<Self, ClientError> {
        let stream = within(DEFAULT_TIMEOUT, TcpStream::connect(addr)).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            client_id: StrBytes::from_static_str("millrace"),
            correlation_id: 0,
            timeout: DEFAULT_TIMEOUT,
            versions: BTreeMap::new(),
        })
    }

    /// Names the client towards the broker.
    #[must_use]
    pub fn with_client_id(mut self, client_id: &str) -> Self {
        self.client_id = StrBytes::from_string(client_id.to_owned());
        self
    }

    /// How long to wait for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request in one version and waits for its answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, ClientError> {
        let correlation_id = self.send(version, request).await?;
        let body = self.receive(R::KEY, version, correlation_id).await?;
        Ok(decode_request(body, version)?.0)
    }

    /// Sends a request in the newest version that both sides speak.
    pub async fn negotiate<R: Request>(&mut self, request: &R) -> Result<(R::Response, i16), ClientError> {
        let version = self.version_of::<R>().await?;
        Ok((self.call(version, request).await?, version))
    }

    /// The newest version of a request that both sides speak.
    pub async fn version_of<R: Request>(&mut self) -> Result<i16, ClientError> {
        if self.versions.is_empty() {
            self.versions = self.api_versions().await?;
        }
        let ours = (
            R::VERSIONS.min.max(<R::Response as Message>::VERSIONS.min),
            R::VERSIONS.max.min(<R::Response as Message>::VERSIONS.max),
        );
        let unsupported = ClientError::Unsupported(R::KEY);
        let &(min, max) = self.versions.get(&R::KEY).ok_or(unsupported)?;
        let best = max.min(ours.1);
        if best < min.max(ours.0) {
            return Err(ClientError::Unsupported(R::KEY));
        }
        Ok(best)
    }

    /// The versions that the broker serves, by API number.
    pub async fn api_versions(&mut self) -> Result<BTreeMap<i16, (i16, i16)>, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("millrace"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let response = self.call(3, &request).await?;
        Ok(response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    /// Sends a request and returns its correlation id; the answer is read by
    /// [`Client::receive`]. For tests that pipeline.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<i32, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = CrateHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let header_version = request_header_version(R::KEY, version).ok_or(ClientError::Unsupported(R::KEY))?;
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        encode(&header, &mut frame, header_version)?;
        encode(request, &mut frame, version)?;
        crate::codec::finish_size(&mut frame, 0)?;
        self.send_raw(&frame).await?;
        Ok(self.correlation_id)
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        within(self.timeout, self.stream.write_all(bytes)).await??;
        Ok(())
    }

    /// Reads the answer to a request, and returns its body.
    pub async fn receive(&mut self, api_key: i16, version: i16, correlation_id: i32) -> Result<Bytes, ClientError> {
        let mut body = self.receive_raw().await?;
        let mut reader = Reader::new(&body);
        let malformed = |error| ClientError::Protocol(format!("{error}"));
        let got = reader.i32().map_err(malformed)?;
        if got != correlation_id {
            return Err(ClientError::Protocol(format!("correlation id {got} instead of {correlation_id}")));
        }
        if response_header_version(api_key, version) >= 1 {
            reader.skip_tagged_fields().map_err(malformed)?;
        }
        let header = reader.position();
        body.advance(header);
        Ok(body)
    }

    /// Reads one frame, without its size.
    pub async fn receive_raw(&mut self) -> Result<Bytes, ClientError> {
        let stream = &mut self.stream;
        within(self.timeout, async move {
            let size = stream.read_i32().await?;
            let size = usize::try_from(size)
                .ok()
                .filter(|&size| size <= MAX_RESPONSE_BYTES)
                .ok_or_else(|| ClientError::Protocol(format!("a frame of {size} bytes")))?;
            let mut body = vec![0; size];
            stream.read_exact(&mut body).await?;
            Ok(Bytes::from(body))
        })
        .await?
    }
}

fn encode<M: Encodable>(message: &M, buf: &mut BytesMut, version: i16) -> Result<(), ClientError> {
    message.encode(buf, version).map_err(|error| CodecError::Unencodable(error.to_string()).into())
}

async fn within<F: Future>(timeout: Duration, future: F) -> Result<F::Output, ClientError> {
    tokio::time::timeout(timeout, future).await.map_err(|_| ClientError::Timeout(timeout))
}
