//! The task that brings this broker in step with the cluster's metadata, one image after the other: settings first,
//! then partitions, then groups; then handlers see the image, and whoever waits for it goes on.

use std::sync::Arc;

use millrace_groups::GroupCoordinator;
use millrace_metadata::{Image, NodeId, diff};
use millrace_replica::ReplicaManager;
use tokio::sync::watch;

use crate::config::LiveConfig;

/// What follows the metadata.
pub struct Follower {
    pub node_id: NodeId,
    pub config: Arc<LiveConfig>,
    pub replicas: Arc<ReplicaManager>,
    pub groups: GroupCoordinator,
    pub images: watch::Sender<Arc<Image>>,
    pub served: watch::Sender<u64>,
}

impl Follower {
    /// Runs until the controller is gone.
    pub async fn run(self, mut incoming: watch::Receiver<Arc<Image>>) {
        loop {
            let image = incoming.borrow_and_update().clone();
            self.follow(image).await;
            if incoming.changed().await.is_err() {
                return;
            }
        }
    }

    async fn follow(&self, image: Arc<Image>) {
        let before = self.images.borrow().clone();
        self.config.update(&image);
        if concerns_partitions(&before, &image) {
            let (replicas, config, target) = (self.replicas.clone(), self.config.clone(), image.clone());
            let applied = tokio::task::spawn_blocking(move || {
                let settings = |topic: &str| Arc::new(config.topic_config(&target, topic));
                replicas.apply(&target, &settings);
            });
            if let Err(error) = applied.await {
                tracing::error!(%error, index = image.index, "the partitions did not follow the metadata");
            }
        }
        self.lead_groups(&before, &image);
        self.images.send_replace(image.clone());
        self.served.send_replace(image.index);
    }

    fn lead_groups(&self, before: &Image, image: &Image) {
        let topic = image.topic(millrace_groups::TOPIC);
        if let Some(topic) = topic {
            self.groups.set_partitions(topic.partitions.len() as i32);
        }
        let led = self.groups.led();
        let leads = |index: i32| {
            topic.and_then(|t| t.partition(index)).is_some_and(|partition| partition.leader == self.node_id)
        };
        led.iter().filter(|index| !leads(**index)).for_each(|index| self.groups.resign(*index));
        let count = topic.map_or(0, |topic| topic.partitions.len() as i32);
        (0..count).filter(|index| leads(*index) && !led.contains(index)).for_each(|index| self.groups.lead(index));
        let gone = |id| before.topic_name(id).filter(|name| image.topic(name).is_none()).map(str::to_owned);
        let deleted: Vec<String> = diff::topics(before, image).removed.iter().filter_map(gone).collect();
        if !deleted.is_empty() {
            self.groups.topics_deleted(deleted);
        }
    }
}

/// Heartbeats and registrations of brokers make images too; they do not concern partitions.
fn concerns_partitions(before: &Image, image: &Image) -> bool {
    let changes = diff::topics(before, image);
    let topics = !(changes.created.is_empty() && changes.changed.is_empty() && changes.removed.is_empty());
    // The first image tells what does not belong here any more.
    before.index == 0 || topics || !before.configs().eq(image.configs())
}
