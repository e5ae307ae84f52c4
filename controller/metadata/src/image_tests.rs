//! The image takes facts in, shares what does not change, and forgets nothing.

use std::sync::Arc;

use proptest::prelude::*;

use crate::record::{BrokerRegistration, PartitionDelta};
use crate::*;

fn topic(image: &mut Image, name: &str, id: u8, partitions: i32) {
    image.apply(&Record::Topic { name: name.into(), id: TopicId([id; 16]) });
    for index in 0..partitions {
        let partition = Box::new(PartitionImage::new(&[1], &[DirId([1; 16])]));
        image.apply(&Record::Partition { topic: TopicId([id; 16]), index, partition });
    }
}

fn config(topic: &str, value: Option<&str>) -> Record {
    Record::config(ConfigResource::topic(topic), "k", value.map(str::to_owned))
}

#[test]
fn a_partition_and_its_records_are_small() {
    // Three replicas lie within the value itself; their directories beyond the first take 16 bytes each.
    assert!(size_of::<PartitionImage>() <= 136, "{}", size_of::<PartitionImage>());
    // A restart of a broker changes each of its partitions twice, and those records stay in memory for followers.
    assert!(size_of::<PartitionDelta>() <= 128, "{}", size_of::<PartitionDelta>());
    assert!(size_of::<Record>() <= 48, "{}", size_of::<Record>());
}

#[test]
fn topics_by_name_and_by_id() {
    let mut image = Image::at(5, 1);
    topic(&mut image, "b", 1, 2);
    topic(&mut image, "a", 2, 1);
    assert_eq!(image.topics().map(|t| &*t.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(image.topics_from("aa").map(|t| &*t.name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(image.topics_by_id().map(|t| &*t.name).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((image.topic_count(), image.partition_count()), (2, 3));
    assert_eq!(image.partition("b", 1).map(|p| p.leader), Some(1));
    assert_eq!(image.partition("b", 2), None);
    assert_eq!(image.partition("b", -1), None);
    image.apply(&config("b", Some("v")));
    image.apply(&Record::RemoveTopic { id: TopicId([1; 16]) });
    assert_eq!((image.topic_count(), image.partition_count()), (1, 1));
    assert!(image.topic("b").is_none() && image.topic_config("b").is_none());
}

#[test]
fn changes_count_epochs() {
    let mut image = Image::default();
    topic(&mut image, "a", 1, 1);
    let mut change = |delta| {
        let (topic, delta) = (TopicId([1; 16]), Box::new(delta));
        image.apply(&Record::PartitionChange { topic, index: 0, delta });
        let p = image.partition("a", 0).unwrap();
        (p.leader, p.leader_epoch, p.partition_epoch)
    };
    assert_eq!(change(PartitionDelta { isr: Some([1].as_slice().into()), ..Default::default() }), (1, 0, 1));
    assert_eq!(change(PartitionDelta { leader: Some(1), ..Default::default() }), (1, 1, 2));
    assert_eq!(change(PartitionDelta { leader: Some(NO_NODE), ..Default::default() }), (NO_NODE, 2, 3));
}

#[test]
fn facts_about_nothing_change_nothing() {
    let mut image = Image::at(3, 1);
    topic(&mut image, "a", 1, 1);
    let before = image.clone();
    let gone = TopicId([9; 16]);
    let delta = Box::new(PartitionDelta { leader: Some(1), ..Default::default() });
    let partition = Box::new(PartitionImage::new(&[1], &[]));
    for record in [
        Record::RemoveTopic { id: gone },
        Record::PartitionChange { topic: gone, index: 0, delta: delta.clone() },
        Record::PartitionChange { topic: TopicId([1; 16]), index: 7, delta: delta.clone() },
        Record::PartitionChange { topic: TopicId([1; 16]), index: -1, delta },
        Record::Partition { topic: gone, index: 0, partition: partition.clone() },
        Record::Partition { topic: TopicId([1; 16]), index: 5, partition },
        Record::Topic { name: "a".into(), id: gone },
        Record::Topic { name: "b".into(), id: TopicId([1; 16]) },
        Record::UnregisterBroker { id: 1, epoch: 1 },
        Record::BrokerChange { id: 1, epoch: 1, fenced: Some(true), in_controlled_shutdown: None, dirs: None },
        config("a", None),
    ] {
        image.apply(&record);
        assert_eq!(image, before, "{record:?}");
    }
}

#[test]
fn a_change_for_another_epoch_of_a_broker_is_ignored() {
    let mut image = Image::at(8, 1);
    let registration = Box::new(BrokerRegistration {
        id: 1,
        incarnation: IncarnationId::ZERO,
        endpoints: Vec::new(),
        rack: None,
        dirs: Vec::new(),
        features: Vec::new(),
    });
    let (epoch, fenced, in_controlled_shutdown) = (4, true, false);
    image.apply(&Record::RegisterBroker {
        registration,
        epoch,
        fenced,
        in_controlled_shutdown,
        index: 0,
        shutdown_at: 0,
    });
    assert_eq!(image.broker(1).unwrap().registered_at, 8);
    let unfence =
        |epoch| Record::BrokerChange { id: 1, epoch, fenced: Some(false), in_controlled_shutdown: None, dirs: None };
    image.apply(&unfence(3));
    assert!(image.broker(1).unwrap().fenced);
    image.apply(&unfence(4));
    assert!(!image.broker(1).unwrap().fenced);
    image.apply(&Record::UnregisterBroker { id: 1, epoch: 3 });
    assert!(image.broker(1).is_some());
    image.apply(&Record::UnregisterBroker { id: 1, epoch: 4 });
    assert!(image.broker(1).is_none());
    assert_eq!(image.last_broker_epoch, 4);
}

#[test]
fn clones_share_what_does_not_change() {
    let mut image = Image::default();
    topic(&mut image, "a", 1, 1);
    topic(&mut image, "b", 2, 1);
    let before = image.clone();
    let delta = Box::new(PartitionDelta { leader: Some(1), ..Default::default() });
    image.apply(&Record::PartitionChange { topic: TopicId([1; 16]), index: 0, delta });
    assert!(!Arc::ptr_eq(before.topic("a").unwrap(), image.topic("a").unwrap()));
    assert!(Arc::ptr_eq(before.topic("b").unwrap(), image.topic("b").unwrap()));
    assert_eq!(before.partition("a", 0).unwrap().leader_epoch, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, i32),
    Remove(u8),
    Change(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, 1..3i32).prop_map(|(t, n)| Step::Add(t, n)),
        (0..6u8).prop_map(Step::Remove),
        (0..6u8).prop_map(Step::Change),
    ]
}

fn take(image: &mut Image, step: &Step) {
    match step {
        Step::Add(t, n) => topic(image, &format!("t{t}"), *t + 1, *n),
        Step::Remove(t) => image.apply(&Record::RemoveTopic { id: TopicId([*t + 1; 16]) }),
        Step::Change(t) => {
            let delta = Box::new(PartitionDelta { leader: Some(1), ..Default::default() });
            image.apply(&Record::PartitionChange { topic: TopicId([*t + 1; 16]), index: 0, delta });
        }
    }
}

proptest! {
    #[test]
    fn a_diff_names_every_topic_that_differs(
        first in prop::collection::vec(step(), 0..20),
        second in prop::collection::vec(step(), 0..20),
    ) {
        let mut old = Image::default();
        first.iter().for_each(|s| take(&mut old, s));
        let mut new = old.clone();
        second.iter().for_each(|s| take(&mut new, s));
        let diff = diff::topics(&old, &new);
        let created: Vec<TopicId> = diff.created.iter().map(|t| t.id).collect();
        let changed: Vec<TopicId> = diff.changed.iter().map(|(_, t)| t.id).collect();
        for id in (0..6u8).map(|t| TopicId([t + 1; 16])) {
            let (before, after) = (old.topic_by_id(&id), new.topic_by_id(&id));
            prop_assert_eq!(created.contains(&id), before.is_none() && after.is_some());
            prop_assert_eq!(diff.removed.contains(&id), before.is_some() && after.is_none());
            let differs = before.is_some() && after.is_some() && before.map(|t| &t.partitions) != after.map(|t| &t.partitions);
            prop_assert_eq!(changed.contains(&id), differs);
        }
    }
}
