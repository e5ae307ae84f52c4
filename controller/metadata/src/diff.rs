//! What differs between two images, found by comparing pointers: unchanged topics are shared, so the cost is one
//! step per topic and not per partition.

use std::sync::Arc;

use crate::ids::TopicId;
use crate::image::{Image, TopicImage};

/// Topics that differ between two images, each list sorted by id.
#[derive(Debug, Default)]
pub struct TopicsDiff {
    pub created: Vec<Arc<TopicImage>>,
    /// Same id, other partitions: as it was and as it is.
    pub changed: Vec<(Arc<TopicImage>, Arc<TopicImage>)>,
    pub removed: Vec<TopicId>,
}

/// Compares the topics of two images.
pub fn topics(old: &Image, new: &Image) -> TopicsDiff {
    let mut diff = TopicsDiff::default();
    let (mut before, mut after) = (old.topics_by_id().peekable(), new.topics_by_id().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (None, None) => return diff,
            (Some(b), Some(a)) if b.id == a.id => {
                if !Arc::ptr_eq(b, a) && b.partitions != a.partitions {
                    diff.changed.push((Arc::clone(b), Arc::clone(a)));
                }
                before.next();
                after.next();
            }
            (Some(b), a) if a.is_none_or(|a| b.id < a.id) => {
                diff.removed.push(b.id);
                before.next();
            }
            (_, a) => {
                diff.created.extend(a.map(|a| Arc::clone(a)));
                after.next();
            }
        }
    }
}
