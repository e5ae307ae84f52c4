//! Hands out producer ids from blocks that the controller reserves
//! (`transaction-coordinator/…/RPCProducerIdManager.java`, KIP-730).

use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_metadata::command::ProducerIdBlock;
use millrace_metadata::error::ApiError;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Where blocks come from. An id of a block is never in another block, even
/// when the answer that named it was lost.
pub trait BlockSource: Send + Sync + 'static {
    /// Reserves the next block. Must end in bounded time.
    fn reserve(&self) -> BoxFuture<'static, Result<ProducerIdBlock, ApiError>>;
}

/// Hands out producer ids, and asks for the next block when nine tenths of the
/// current one are gone.
#[derive(Clone)]
pub struct ProducerIds {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<dyn BlockSource>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    current: Range<i64>,
    block_len: i64,
    spare: Option<Range<i64>>,
    reserving: bool,
    failure: Option<ApiError>,
}

impl State {
    fn take(&mut self) -> Option<i64> {
        if self.current.is_empty() {
            self.current = self.spare.take()?;
            self.block_len = self.current.end - self.current.start;
        }
        self.current.next()
    }

    fn is_low(&self) -> bool {
        self.spare.is_none() && (self.current.end - self.current.start) * 10 <= self.block_len
    }
}

impl ProducerIds {
    /// Reserves nothing yet: a broker without idempotent producers asks for no
    /// block.
    pub fn new(source: impl BlockSource) -> Self {
        Self {
            inner: Arc::new(Inner {
                source: Box::new(source),
                state: Mutex::new(State::default()),
                changed: Notify::new(),
            }),
        }
    }

    /// An id that nobody else has or will get. Fails with what the controller
    /// said when no block can be had; asking again is safe.
    pub async fn next(&self) -> Result<i64, ApiError> {
        let mut waited = false;
        loop {
            let mut changed = std::pin::pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.inner.state.lock();
                let id = state.take();
                if waited
                    && id.is_none()
                    && !state.reserving
                    && let Some(failure) = &state.failure
                {
                    return Err(failure.clone());
                }
                if state.is_low() && !state.reserving {
                    state.reserving = true;
                    self.reserve();
                }
                if let Some(id) = id {
                    return Ok(id);
                }
            }
            changed.await;
            waited = true;
        }
    }

    /// Runs apart from the caller, which may go away while it waits.
    fn reserve(&self) {
        let inner = self.inner.clone();
        let reserved = inner.source.reserve();
        tokio::spawn(async move {
            let outcome = reserved.await;
            let mut state = inner.state.lock();
            state.reserving = false;
            match outcome {
                Ok(block) => {
                    state.failure = None;
                    state.spare = Some(block.first..block.first + block.len);
                }
                Err(error) => state.failure = Some(error),
            }
            drop(state);
            inner.changed.notify_waiters();
        });
    }
}

impl std::fmt::Debug for ProducerIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProducerIds").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_metadata::error::ErrorCode;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

    #[derive(Clone, Default)]
    struct Counter {
        blocks: Arc<AtomicI64>,
        broken: Arc<AtomicBool>,
    }

    impl BlockSource for Counter {
        fn reserve(&self) -> BoxFuture<'static, Result<ProducerIdBlock, ApiError>> {
            let this = self.clone();
            Box::pin(async move {
                tokio::task::yield_now().await;
                if this.broken.load(Ordering::SeqCst) {
                    return Err(ApiError::new(ErrorCode::NotController, "no leader"));
                }
                let block = this.blocks.fetch_add(1, Ordering::SeqCst);
                Ok(ProducerIdBlock { first: block * 1000, len: 1000 })
            })
        }
    }

    #[tokio::test]
    async fn many_callers_get_different_ids_without_gaps() {
        let source = Counter::default();
        let ids = ProducerIds::new(source.clone());
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let ids = ids.clone();
                tokio::spawn(async move {
                    let mut mine = Vec::new();
                    for _ in 0..50 {
                        mine.push(ids.next().await.unwrap());
                    }
                    mine
                })
            })
            .collect();
        let mut seen = BTreeSet::new();
        for task in tasks {
            seen.extend(task.await.unwrap());
        }
        assert_eq!(seen, (0..2500).collect());
        assert!(source.blocks.load(Ordering::SeqCst) <= 4);
    }

    #[tokio::test]
    async fn the_next_block_is_reserved_before_the_first_is_used_up() {
        let source = Counter::default();
        let ids = ProducerIds::new(source.clone());
        for _ in 0..890 {
            ids.next().await.unwrap();
        }
        tokio::task::yield_now().await;
        assert_eq!(source.blocks.load(Ordering::SeqCst), 1);
        for _ in 890..910 {
            ids.next().await.unwrap();
        }
        while source.blocks.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_and_the_next_call_tries_again() {
        let source = Counter::default();
        let ids = ProducerIds::new(source.clone());
        source.broken.store(true, Ordering::SeqCst);
        assert_eq!(ids.next().await.unwrap_err().code, ErrorCode::NotController);
        source.broken.store(false, Ordering::SeqCst);
        assert_eq!(ids.next().await.unwrap(), 0);
    }
}
