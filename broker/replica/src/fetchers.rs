//! The fetchers of a broker: which partition is followed by which.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_log::PartitionKey;
use millrace_metadata::NodeId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::fetcher::Fetcher;
use crate::partition::Partition;
use crate::shared::Shared;

/// All fetchers, by leading broker and number. They stay when they have nothing to fetch.
pub struct Fetchers {
    shared: Arc<Shared>,
    table: Mutex<Table>,
    added: Notify,
}

#[derive(Default)]
struct Table {
    fetchers: BTreeMap<(NodeId, usize), Arc<Fetcher>>,
    followed: BTreeMap<PartitionKey, Followed>,
}

/// Where a partition is followed, and at which epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Followed {
    leader: NodeId,
    id: u32,
    leader_epoch: i32,
}

impl Followed {
    fn fetcher(&self) -> (NodeId, usize) {
        (self.leader, self.id as usize)
    }
}

impl Fetchers {
    pub(crate) fn new(shared: Arc<Shared>) -> Fetchers {
        Fetchers { shared, table: Mutex::default(), added: Notify::new() }
    }

    /// All of them, sorted by leader and number.
    pub fn all(&self) -> Vec<Arc<Fetcher>> {
        self.table.lock().fetchers.values().cloned().collect()
    }

    /// Resolves when a fetcher was added since the last call. For one task at a time.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    /// Follows the partition as its state says: not at all if this broker leads it or nobody does. May wait for the
    /// disk.
    pub(crate) fn update(&self, partition: &Arc<Partition>) {
        let (leader, leader_epoch) = {
            let state = partition.locked_state();
            (state.leader, state.leader_epoch)
        };
        let key = partition.key();
        if leader < 0 || leader == self.shared.node_id {
            return self.stop(&key);
        }
        let id = self.number(&key);
        let next = Followed { leader, id, leader_epoch };
        if self.table.lock().followed.get(&key) == Some(&next) {
            return;
        }
        self.stop(&key);
        let end = match partition.follower_end() {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(topic = %partition.topic(), partition = key.1, %error, "the partition cannot be followed");
                return;
            }
        };
        let mut table = self.table.lock();
        let before = table.fetchers.len();
        let new = || Arc::new(Fetcher::new(leader, id as usize, self.shared.clone()));
        let fetcher = table.fetchers.entry(next.fetcher()).or_insert_with(new).clone();
        table.followed.insert(key, next);
        let added = table.fetchers.len() > before;
        drop(table);
        fetcher.assign(partition.clone(), leader_epoch, end);
        if added {
            self.added.notify_one();
        }
    }

    pub(crate) fn stop(&self, key: &PartitionKey) {
        let table = &mut *self.table.lock();
        if let Some(followed) = table.followed.remove(key)
            && let Some(fetcher) = table.fetchers.get(&followed.fetcher())
        {
            fetcher.unassign(key);
        }
    }

    /// Spreads the partitions over the fetchers of a leader (`AbstractFetcherManager.getFetcherId`).
    fn number(&self, key: &PartitionKey) -> u32 {
        let topic = key.0.0.chunks(4).fold(0u32, |hash, bytes| {
            let word = bytes.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
            hash.wrapping_mul(31).wrapping_add(word)
        });
        let fetchers = u32::try_from(self.shared.settings().fetchers_per_leader.max(1)).unwrap_or(1);
        topic.wrapping_mul(31).wrapping_add(key.1.cast_unsigned()) % fetchers
    }
}
