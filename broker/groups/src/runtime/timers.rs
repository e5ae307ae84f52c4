//! One task for the deadlines of all shards, and for the periodic expiry of offsets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::cell::{Cell, NEVER};

/// The longest sleep: the machine may sleep meanwhile.
const MAX_SLEEP_MS: i64 = 60_000;

/// Where the timer task sleeps.
#[derive(Default)]
pub struct TimerTask {
    until_ms: AtomicI64,
    earlier: Notify,
}

impl TimerTask {
    /// A shard has an earlier deadline than before.
    pub fn moved_to(&self, at_ms: i64) {
        if at_ms < self.until_ms.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }
}

/// Runs until the coordinator is gone.
pub async fn run(shared: Weak<Shared>) {
    let mut expire_at_ms = None;
    loop {
        let Some(strong) = shared.upgrade() else {
            return;
        };
        // Whoever finds this notifies; the deadlines are read afterwards, so that none is missed.
        strong.timers.until_ms.store(NEVER, Ordering::Release);
        let cells: Vec<Arc<Cell>> = strong.cells.read().values().cloned().collect();
        let now_ms = strong.now().steady_ms;
        let interval_ms = strong.settings.read().retention_check_interval_ms.max(1);
        let expire_ms = *expire_at_ms.get_or_insert(now_ms + interval_ms);
        if expire_ms <= now_ms {
            expire_at_ms = Some(now_ms + interval_ms);
            for cell in &cells {
                cell.with(&strong, |shard, now, out| shard.expire(now, out));
            }
        }
        for cell in &cells {
            if cell.next_due_ms.load(Ordering::Acquire) <= now_ms {
                cell.with(&strong, |shard, now, out| shard.tick(now, out));
            }
        }
        let next = cells.iter().map(|cell| cell.next_due_ms.load(Ordering::Acquire)).min();
        let until_ms = next.unwrap_or(NEVER).min(expire_at_ms.unwrap_or(NEVER)).min(now_ms + MAX_SLEEP_MS);
        strong.timers.until_ms.store(until_ms, Ordering::Release);
        drop(cells);
        let sleep_ms = (until_ms - strong.now().steady_ms).max(0) as u64;
        sleep_or_earlier(strong, sleep_ms).await;
    }
}

async fn sleep_or_earlier(shared: Arc<Shared>, sleep_ms: u64) {
    let sleep = tokio::time::sleep(Duration::from_millis(sleep_ms));
    tokio::select! {
        () = sleep => {}
        () = shared.timers.earlier.notified() => {}
    }
}
