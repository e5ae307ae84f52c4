//! Tells the controllers in which of this broker's directories its replicas are (KIP-858, `AssignmentsManager.java`),
//! so that a directory that fails takes only its own replicas out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_controller::ControllerLink;
use millrace_metadata::command::{Command, DirAssignment, Reply};
use millrace_metadata::{DirId, Image, NodeId, TopicId};
use millrace_replica::ReplicaManager;
use tokio::sync::watch;

use crate::broker::Broker;

/// Replicas that one command reports.
const BATCH: usize = 2000;
/// What becomes known within this time is reported together.
const GATHER: Duration = Duration::from_millis(100);
/// Between two looks at several directories: a replica that moved, or whose directory failed, makes no new image.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a report that did not arrive.
const RETRY: Duration = Duration::from_millis(500);

/// Where this broker's replicas are, and who is to know it.
pub struct Directories {
    node_id: NodeId,
    controller: Arc<ControllerLink>,
    replicas: Arc<ReplicaManager>,
    images: watch::Receiver<Arc<Image>>,
    epoch: watch::Receiver<i64>,
}

impl Directories {
    pub fn of(broker: &Broker) -> Self {
        Self {
            node_id: broker.node_id,
            controller: broker.controller.clone(),
            replicas: broker.replicas.clone(),
            images: broker.images.clone(),
            epoch: broker.epoch.clone(),
        }
    }

    /// Reports until the broker is gone.
    pub async fn run(mut self) {
        loop {
            let image = self.images.borrow_and_update().clone();
            let unknown = self.unknown(&image);
            if !unknown.is_empty() {
                if !self.report(unknown).await {
                    tokio::time::sleep(RETRY).await;
                }
                // The answer may come before the image that shows it.
                tokio::time::sleep(GATHER).await;
                continue;
            }
            let one = self.replicas.dirs().len() <= 1;
            tokio::select! {
                changed = self.images.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK), if !one => continue,
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Replicas that the metadata has in another directory than they are in, or in none.
    fn unknown(&self, image: &Image) -> Vec<DirAssignment> {
        let present = image.broker(self.node_id).is_some_and(|broker| broker.epoch == *self.epoch.borrow());
        if !present {
            return Vec::new();
        }
        let mut dirs: BTreeMap<DirId, Vec<(TopicId, i32)>> = BTreeMap::new();
        let mut count = 0;
        for partition in self.replicas.partitions() {
            let key = (partition.topic_id(), partition.index());
            let known = image.topic_by_id(&key.0).and_then(|topic| topic.partition(key.1)?.dir_of(self.node_id));
            let (dir, _) = partition.dir();
            if known.is_some_and(|known| known != dir) && count < BATCH {
                dirs.entry(dir).or_default().push(key);
                count += 1;
            }
        }
        dirs.into_iter().map(|(dir, partitions)| DirAssignment { dir, partitions }).collect()
    }

    /// Whether it arrived. What was refused for a single replica is tried again when the image still lacks it.
    async fn report(&self, dirs: Vec<DirAssignment>) -> bool {
        let broker_epoch = *self.epoch.borrow();
        let command = Command::AssignReplicasToDirs { broker: self.node_id, broker_epoch, dirs };
        match self.controller.submit(command).await {
            Ok(Reply::AssignReplicasToDirs(Ok(results))) => results.iter().any(|(_, result)| result.is_ok()),
            Ok(Reply::AssignReplicasToDirs(Err(error))) | Err(error) => {
                tracing::debug!(%error, "where replicas are could not be reported");
                false
            }
            Ok(_) => false,
        }
    }
}
