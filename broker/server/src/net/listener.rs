//! Listening sockets, the limits on connections, and the orderly stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conn::Conn;
use super::connection::{Connection, End, Shared};
use super::limits::{ConnLimits, Gate, Slot};
use super::log_limit::LogLimit;
use super::memory::RequestMemory;
use super::options::NetOptions;
use super::service::Service;
use super::stats::NetStats;

/// Pause after a failed accept (out of file descriptors, most likely).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Quiet time after which the kernel probes whether a peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Time that stopping may take before what is left is abandoned.
const STOP_TIME: Duration = Duration::from_millis(1800);

/// One entry of `listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// The listener's name, `PLAINTEXT` for one.
    pub name: String,
    /// Host to bind; empty for every address of the machine.
    pub host: String,
    /// Port to bind; 0 for any.
    pub port: u16,
}

/// An address that cannot be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    /// The host name leads nowhere.
    #[error("listener {listener}: cannot resolve {host}: {source}")]
    Resolve {
        /// The listener's name.
        listener: String,
        /// The host that was asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Another process has the port.
    #[error("listener {listener}: {addr} is in use by another process")]
    InUse {
        /// The listener's name.
        listener: String,
        /// The busy address.
        addr: SocketAddr,
    },
    /// The system refuses.
    #[error("listener {listener}: cannot listen on {addr}: {source}")]
    Refused {
        /// The listener's name.
        listener: String,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A listener whose sockets are bound and that does not yet accept.
#[derive(Debug)]
pub struct BoundListener {
    name: Arc<str>,
    sockets: Vec<TcpListener>,
    port: u16,
}

impl BoundListener {
    /// Binds every address that the host name stands for. With port 0 the
    /// first address picks the port and the others follow.
    pub async fn bind(spec: &ListenerSpec, options: &NetOptions) -> Result<Self, BindError> {
        let addrs = resolve(spec).await?;
        let mut bound = Self { name: spec.name.as_str().into(), sockets: Vec::new(), port: spec.port };
        let mut first_failure = None;
        for mut addr in addrs {
            addr.set_port(bound.port);
            match listen(addr, options) {
                Ok(socket) => {
                    bound.port = socket.local_addr().map_or(bound.port, |a| a.port());
                    bound.sockets.push(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(BindError::InUse { listener: spec.name.clone(), addr });
                }
                // A machine may lack IPv6, or one of a name's addresses.
                Err(source) => {
                    first_failure.get_or_insert(BindError::Refused { listener: spec.name.clone(), addr, source });
                }
            }
        }
        match first_failure {
            Some(failure) if bound.sockets.is_empty() => Err(failure),
            _ => Ok(bound),
        }
    }

    /// The listener's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port that is bound.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses that are bound.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

async fn resolve(spec: &ListenerSpec) -> Result<Vec<SocketAddr>, BindError> {
    if spec.host.is_empty() {
        return Ok(vec![SocketAddr::from(([0u16; 8], spec.port)), SocketAddr::from(([0u8; 4], spec.port))]);
    }
    let host = spec.host.trim_start_matches('[').trim_end_matches(']');
    let failed = |source| BindError::Resolve { listener: spec.name.clone(), host: spec.host.clone(), source };
    let mut addrs: Vec<SocketAddr> = tokio::net::lookup_host((host, spec.port)).await.map_err(failed)?.collect();
    addrs.sort_by_key(|addr| (addr.is_ipv6(), *addr));
    addrs.dedup();
    if addrs.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(addrs)
}

fn listen(addr: SocketAddr, options: &NetOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Set before listening, so that accepted sockets announce the right window.
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// The running network layer.
pub struct Server<S> {
    inner: Arc<Inner<S>>,
    tasks: TaskTracker,
}

struct Inner<S> {
    shared: Arc<Shared<S>>,
    options: NetOptions,
    gate: Arc<Gate>,
    next_id: AtomicU64,
    log_limit: LogLimit,
}

impl<S: Service> Server<S> {
    /// Starts to accept on all listeners.
    pub fn start(listeners: Vec<BoundListener>, options: NetOptions, service: Arc<S>) -> Self {
        let inner = Arc::new(Inner {
            shared: Arc::new(Shared {
                service,
                memory: RequestMemory::new(options.request_memory, options.max_request_bytes),
                max_request_bytes: options.max_request_bytes,
                stats: Arc::new(NetStats::default()),
                times: options.times,
                stopping: AtomicBool::new(false),
                shutdown: CancellationToken::new(),
            }),
            gate: Gate::new(options.limits.clone()),
            options,
            next_id: AtomicU64::new(1),
            log_limit: LogLimit::new(),
        });
        let tasks = TaskTracker::new();
        for listener in listeners {
            for socket in listener.sockets {
                let accept = accept_loop(inner.clone(), tasks.clone(), listener.name.clone(), socket);
                tasks.spawn(accept);
            }
        }
        Self { inner, tasks }
    }

    /// New limits on connections, for those that come from now on.
    pub fn set_limits(&self, limits: ConnLimits) {
        self.inner.gate.set(limits);
    }

    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.stats().open.load(Ordering::Relaxed)
    }

    /// Counters.
    pub fn stats(&self) -> &Arc<NetStats> {
        &self.inner.shared.stats
    }

    /// Bytes of requests in memory, about.
    pub fn request_bytes(&self) -> usize {
        self.inner.shared.memory.used()
    }

    /// Stops accepting, answers what is in flight and closes every connection.
    /// Takes less than two seconds.
    pub async fn shutdown(&self) {
        self.inner.shared.stopping.store(true, Ordering::Release);
        self.inner.shared.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_TIME, self.tasks.wait()).await.is_err() {
            tracing::info!(connections = self.connections(), "connections abandoned at shutdown");
        }
    }
}

async fn accept_loop<S: Service>(inner: Arc<Inner<S>>, tasks: TaskTracker, listener: Arc<str>, socket: TcpListener) {
    let stop = inner.shared.shutdown.clone();
    while let Some(accepted) = stop.run_until_cancelled(accept(&inner, &socket)).await {
        match accepted {
            Ok((stream, peer, slot)) => {
                let Some(ip_slot) = inner.gate.admit(peer.ip()) else {
                    inner.log_refused(peer, "too many connections from this address");
                    continue;
                };
                let inner = inner.clone();
                let listener = listener.clone();
                tasks.spawn(async move {
                    serve(inner, listener, stream, peer).await;
                    drop((slot, ip_slot));
                });
            }
            Err(error) => {
                if inner.log_limit.allows() {
                    tracing::error!(%error, listener = &*listener, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Waits for room and then for a connection.
async fn accept<S>(inner: &Inner<S>, socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr, Slot)> {
    let slot = inner.gate.room().await;
    let (stream, peer) = socket.accept().await?;
    Ok((stream, peer, slot))
}

async fn serve<S: Service>(inner: Arc<Inner<S>>, listener: Arc<str>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = prepare(&stream, &inner.options) else {
        // The peer has gone between accept and now.
        return;
    };
    let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
    let conn = Arc::new(Conn::plaintext(id, listener, local, peer));
    let stats = &inner.shared.stats;
    stats.accepted.fetch_add(1, Ordering::Relaxed);
    stats.open.fetch_add(1, Ordering::Relaxed);
    tracing::trace!(conn = id, %peer, "connection accepted");
    let end = Connection::new(stream, conn, inner.shared.clone()).await;
    stats.count_end(&end);
    inner.log_end(id, peer, end);
}

fn prepare(stream: &TcpStream, options: &NetOptions) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    stream.local_addr()
}

impl<S> Inner<S> {
    fn log_refused(&self, peer: SocketAddr, reason: &str) {
        let turned_away = &self.shared.stats.turned_away;
        turned_away.fetch_add(1, Ordering::Relaxed);
        if self.log_limit.allows() {
            tracing::info!(%peer, reason, "connection refused");
        }
    }

    fn log_end(&self, conn: u64, peer: SocketAddr, end: End) {
        match end {
            End::Eof | End::Shutdown => tracing::trace!(conn, %peer, "connection closed"),
            End::Idle => tracing::debug!(conn, %peer, "connection closed: idle for too long"),
            End::Io(error) => tracing::debug!(conn, %peer, %error, "connection lost"),
            End::Refused(reason) => {
                if self.log_limit.allows() {
                    tracing::info!(conn, %peer, reason, "connection closed");
                }
            }
            End::Panic(reason) => {
                if self.log_limit.allows() {
                    tracing::error!(conn, %peer, reason, "connection closed");
                }
            }
        }
    }
}
