//! The task that brings this broker in step with the cluster's metadata, one image after the other: settings first,
//! then partitions, then groups; then handlers see the image, and whoever waits for it goes on.

use std::sync::Arc;

use millrace_groups::{GroupCoordinator, TOPIC};
use millrace_metadata::{Image, diff};
use millrace_replica::ReplicaManager;
use tokio::sync::watch;

use crate::config::LiveConfig;

/// What follows the metadata.
pub struct Follower {
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
        let (replicas, config, target) = (self.replicas.clone(), self.config.clone(), image.clone());
        let applied = tokio::task::spawn_blocking(move || {
            let settings = |topic: &str| Arc::new(config.topic_config(&target, topic));
            replicas.apply(&target, &settings);
        });
        if let Err(error) = applied.await {
            tracing::error!(%error, index = image.index, "the partitions did not follow the metadata");
        }
        self.lead_groups(&before, &image);
        self.images.send_replace(image.clone());
        self.served.send_replace(image.index);
    }

    /// Coordinates the groups of the partitions that this broker leads now. Who leads is asked of the replicas, which
    /// have just followed the image: they know whether it means this incarnation of the broker.
    fn lead_groups(&self, before: &Image, image: &Image) {
        let topic = image.topic(TOPIC);
        if let Some(topic) = topic {
            self.groups.set_partitions(topic.partitions.len() as i32);
        }
        let another = before.topic_id(TOPIC) != image.topic_id(TOPIC);
        let leads = |index: i32| {
            let partition = self.replicas.partition(TOPIC, index).ok()?;
            partition.is_leader().then(|| partition.leader_epoch())
        };
        for (index, _) in self.groups.led() {
            if another || leads(index).is_none() {
                self.groups.resign(index);
            }
        }
        for index in 0..topic.map_or(0, |topic| topic.partitions.len() as i32) {
            if let Some(epoch) = leads(index) {
                self.groups.lead(index, epoch);
            }
        }
        let gone = |id| before.topic_name(id).filter(|name| image.topic(name).is_none()).map(str::to_owned);
        let deleted: Vec<String> = diff::topics(before, image).removed.iter().filter_map(gone).collect();
        if !deleted.is_empty() {
            self.groups.topics_deleted(deleted);
        }
    }
}
