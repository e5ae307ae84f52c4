//! A cap on the memory of all requests that are being read or handled.
//!
//! Three lanes, so that no kind of request starves another: heartbeats and
//! fetches keep flowing while producers wait for room, and a few giants contend
//! only with one another. Whoever takes room takes all that its frame needs, so
//! that two half-read frames never wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use super::options::{KIB, SMALL_FRAME_BYTES};

/// Frames above this size share the lane of giants.
const GIANT_FRAME_BYTES: usize = 2 * KIB * KIB;

/// Room for frames of at most [`SMALL_FRAME_BYTES`].
const SMALL_LANE_BYTES: usize = 16 * KIB * KIB;

/// Grain of the accounts.
const UNIT: usize = KIB;

/// Room for requests, shared by all connections.
#[derive(Debug)]
pub struct RequestMemory {
    small: Arc<Lane>,
    normal: Arc<Lane>,
    giant: Arc<Lane>,
}

#[derive(Debug)]
struct Lane {
    room: Arc<Semaphore>,
    units: usize,
    waiting: AtomicUsize,
}

/// Room that a frame holds until it is dropped.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
    lane: Arc<Lane>,
}

impl Room {
    /// Whether others wait for room in the same lane.
    pub fn is_contended(&self) -> bool {
        self.lane.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Lane {
    fn new(bytes: usize) -> Arc<Self> {
        let units = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self { room: Arc::new(Semaphore::new(units)), units, waiting: AtomicUsize::new(0) })
    }
}

impl RequestMemory {
    /// Room for `bytes` of frames above 16 KiB, and for one frame of
    /// `max_request` bytes besides.
    pub fn new(bytes: usize, max_request: usize) -> Self {
        Self {
            small: Lane::new(SMALL_LANE_BYTES),
            normal: Lane::new(bytes.max(GIANT_FRAME_BYTES)),
            giant: Lane::new(max_request.max(GIANT_FRAME_BYTES)),
        }
    }

    /// Starts to ask for the room of a frame of `bytes`.
    pub fn ask(&self, bytes: usize) -> Asking {
        let lane = if bytes <= SMALL_FRAME_BYTES {
            &self.small
        } else if bytes <= GIANT_FRAME_BYTES {
            &self.normal
        } else {
            &self.giant
        };
        Asking { units: bytes.div_ceil(UNIT).clamp(1, lane.units) as u32, lane: lane.clone(), queued: None }
    }

    /// Bytes taken at the moment, about.
    pub fn used(&self) -> usize {
        [&self.small, &self.normal, &self.giant]
            .iter()
            .map(|lane| (lane.units - lane.room.available_permits()) * UNIT)
            .sum()
    }
}

/// A frame that waits for its room, in the order of asking.
#[derive(Debug)]
pub struct Asking {
    lane: Arc<Lane>,
    units: u32,
    queued: Option<Box<PollSemaphore>>,
}

impl Asking {
    /// Ready once there is room.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Room> {
        if self.queued.is_none() {
            if let Ok(permit) = self.lane.room.clone().try_acquire_many_owned(self.units) {
                return Poll::Ready(self.room(permit));
            }
            self.lane.waiting.fetch_add(1, Ordering::Relaxed);
        }
        let queue = self.queued.get_or_insert_with(|| Box::new(PollSemaphore::new(self.lane.room.clone())));
        match ready!(queue.poll_acquire_many(cx, self.units)) {
            Some(permit) => Poll::Ready(self.room(permit)),
            // The semaphore is never closed.
            None => Poll::Pending,
        }
    }

    fn room(&self, permit: OwnedSemaphorePermit) -> Room {
        Room { _permit: permit, lane: self.lane.clone() }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.queued.is_some() {
            self.lane.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn lanes_do_not_starve_each_other() {
        let memory = RequestMemory::new(4 * KIB * KIB, 8 * KIB * KIB);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut asking = memory.ask(2 * KIB * KIB);
            held.push(poll_fn(|cx| asking.poll(cx)).await);
        }
        let mut third = memory.ask(2 * KIB * KIB);
        let pending = poll_fn(|cx| Poll::Ready(third.poll(cx).is_pending())).await;
        assert!(pending && held[0].is_contended());
        for size in [100, 8 * KIB * KIB] {
            let mut other = memory.ask(size);
            drop(poll_fn(|cx| other.poll(cx)).await);
        }
        held.pop();
        drop(poll_fn(|cx| third.poll(cx)).await);
        drop(third);
        assert!(!held[0].is_contended());
        drop(held);
        assert_eq!(memory.used(), 0);
    }
}
