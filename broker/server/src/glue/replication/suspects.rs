//! Leaders whose connection just broke. A client that lost the same leader asks for metadata in the same moment; told
//! once more that the dead one leads, some clients come back only a second later. So the answer waits for the
//! controller's decision, which takes a fraction of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{Image, NodeId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long after a connection broke answers wait: about twice the time in which a dead broker is fenced.
const SUSPICION: Duration = Duration::from_millis(500);

/// Brokers that may be dead.
#[derive(Debug, Default)]
pub struct Suspects {
    since: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Suspects {
    /// The connection to `leader` broke, or was refused.
    pub fn suspect(&self, leader: NodeId) {
        self.since.lock().entry(leader).or_insert_with(Instant::now);
    }

    /// `leader` answered.
    pub fn clear(&self, leader: NodeId) {
        self.since.lock().remove(&leader);
    }

    /// Resolves when no broker that was just lost leads what is `concerned`, or when the decision takes too long.
    pub async fn settled(&self, images: &watch::Receiver<Arc<Image>>, concerned: impl Fn(&Image, NodeId) -> bool) {
        let now = Instant::now();
        let recent: Vec<(NodeId, Instant)> = {
            let since = self.since.lock();
            since.iter().map(|(id, at)| (*id, *at + SUSPICION)).filter(|(_, until)| *until > now).collect()
        };
        let Some(until) = recent.iter().map(|(_, until)| *until).max() else {
            return;
        };
        let mut images = images.clone();
        let decided = images.wait_for(|image| !recent.iter().any(|(id, _)| concerned(image, *id)));
        // Whether it came or not, the answer is what is known by then.
        drop(timeout_at(until, decided).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn answers_wait_for_the_decision_but_not_for_long() {
        let suspects = Suspects::default();
        let (sender, images) = watch::channel(Arc::new(Image::at(1, 1)));
        let undecided = |image: &Image, id: NodeId| image.index == 1 && id == 7;
        let ready = |future: &mut (dyn Future<Output = ()> + Unpin)| future.now_or_never().is_some();
        assert!(ready(&mut Box::pin(suspects.settled(&images, undecided))), "nobody is suspected");
        suspects.suspect(7);
        assert!(ready(&mut Box::pin(suspects.settled(&images, |_, id| id == 8))), "the suspect leads nothing of it");
        let mut waiting = Box::pin(suspects.settled(&images, undecided));
        assert!(!ready(&mut waiting));
        sender.send_replace(Arc::new(Image::at(2, 1)));
        waiting.await;
        sender.send_replace(Arc::new(Image::at(1, 1)));
        suspects.settled(&images, undecided).await;
        suspects.suspect(7);
        assert!(ready(&mut Box::pin(suspects.settled(&images, undecided))), "it was waited for long enough");
        suspects.clear(7);
        suspects.suspect(7);
        assert!(!ready(&mut Box::pin(suspects.settled(&images, undecided))));
    }
}
