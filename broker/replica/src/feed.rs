//! Which of a follower's partitions have news, so that a fetch over thousands of them looks at those only.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// What is new in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// More to read, or something that must be told at once.
    Urgent,
    /// The high watermark or the log start moved: told with the next answer.
    Watermark,
}

/// One follower's list of partitions to look at. Partitions hold it weakly and name themselves by the slot that they
/// were registered with ([`crate::Partition::feed`]). For one task at a time.
#[derive(Debug, Default)]
pub struct Feed {
    slots: Mutex<BTreeSet<u32>>,
    /// Whether a moved high watermark alone is worth an answer.
    eager: bool,
    fired: AtomicBool,
    waker: AtomicWaker,
}

impl Feed {
    /// News of high watermarks wait for the next answer.
    pub fn new() -> Arc<Feed> {
        Arc::default()
    }

    /// A high watermark that moves wakes too: for followers that consumers read from (KIP-392).
    pub fn new_eager() -> Arc<Feed> {
        Arc::new(Feed { eager: true, ..Feed::default() })
    }

    pub(crate) fn push(&self, slot: u32, news: News) {
        self.slots.lock().insert(slot);
        if self.eager || news == News::Urgent {
            self.wake();
        }
    }

    /// The slots with news since the last call, ascending. What becomes new from now on wakes again.
    pub fn take(&self) -> Vec<u32> {
        let mut slots = self.slots.lock();
        self.fired.store(false, Ordering::Release);
        std::mem::take(&mut *slots).into_iter().collect()
    }

    /// A slot that was taken and could not be served for want of space: the next [`Feed::take`] has it again.
    pub fn put_back(&self, slot: u32) {
        self.slots.lock().insert(slot);
        self.fired.store(true, Ordering::Release);
    }

    /// Wakes whoever waits.
    pub fn wake(&self) {
        if !self.fired.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Resolves when there is something to look at.
    pub async fn woken(&self) {
        poll_fn(|cx| {
            if self.fired.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            self.waker.register(cx.waker());
            if self.fired.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
