//! Tells when the last user of the store has let go of it, which closes it.

use std::sync::Arc;

use millrace_store::{Kv, KvBatch, StoreError};
use tokio::sync::oneshot;

/// A store whose end can be awaited.
pub struct Lease {
    /// Taken only when the lease is dropped.
    kv: Option<Arc<dyn Kv>>,
    closed: Option<oneshot::Sender<()>>,
}

impl Lease {
    pub fn on(kv: Arc<dyn Kv>) -> (Arc<dyn Kv>, oneshot::Receiver<()>) {
        let (sender, closed) = oneshot::channel();
        (Arc::new(Lease { kv: Some(kv), closed: Some(sender) }), closed)
    }

    fn kv(&self) -> Result<&dyn Kv, StoreError> {
        self.kv.as_deref().ok_or(StoreError::Closed)
    }
}

impl Kv for Lease {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.kv()?.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.kv()?.scan(from, to, visit)
    }

    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError> {
        self.kv()?.write(batch, durable)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.kv.take());
        if let Some(closed) = self.closed.take() {
            // Nobody waits if the controller was dropped without a shutdown.
            closed.send(()).ok();
        }
    }
}
