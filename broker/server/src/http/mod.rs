//! Metrics and health over HTTP, on `http.listeners`.
//!
//! `/metrics` is Prometheus' text format, `/health` says that the process
//! answers at all, and `/ready` that the broker serves clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::metrics;
use crate::net::Server;

/// The media type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the pages show.
#[derive(Clone)]
pub struct HttpState {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its network layer.
    pub server: Arc<Server<Broker>>,
    /// Set once the broker serves clients, and taken back when it stops.
    pub ready: Arc<AtomicBool>,
}

/// A running HTTP listener.
#[derive(Debug)]
pub struct Http {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Http {
    /// Listens on `addr` (`host:port`).
    ///
    /// # Errors
    /// What the system says when the address cannot be listened on.
    pub async fn start(addr: &str, state: HttpState) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serve = axum::serve(listener, router(state)).with_graceful_shutdown(stopped);
        let task = tokio::spawn(async move { serve.await });
        Ok(Self { addr, stop, task })
    }

    /// The address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening. Connections that a scraper keeps open are not waited
    /// for.
    pub fn shutdown(self) {
        self.stop.cancel();
        self.task.abort();
    }
}

fn router(state: HttpState) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/health", get(|| async { "alive\n" }))
        .route("/ready", get(show_ready))
        .with_state(state)
}

async fn show_metrics(State(state): State<HttpState>) -> impl IntoResponse {
    let memory = state.server.request_bytes();
    let page = metrics::render(&state.broker, state.server.stats(), memory);
    ([(CONTENT_TYPE, METRICS_TYPE)], page)
}

async fn show_ready(State(state): State<HttpState>) -> (StatusCode, &'static str) {
    if state.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
