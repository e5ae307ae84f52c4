//! An image as the records that make it.

use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{Image, Record};

/// Records that make this image when they are applied to an empty one with the same index and term. Lazy, so that a
/// large image need not be held twice.
pub fn records(image: &Image) -> impl Iterator<Item = Record> + '_ {
    let cluster = (!image.cluster_id.is_empty()).then(|| Record::ClusterId { id: image.cluster_id.to_string() });
    let features = image.features.iter();
    let features = features.map(|(name, level)| Record::FeatureLevel { name: name.clone(), level: *level });
    // After the features, whose records set the index anew.
    let counters =
        Record::Counters { last_broker_epoch: image.last_broker_epoch, features_index: image.features_index };
    let ids = Record::ProducerIds { broker: -1, broker_epoch: -1, next: image.next_producer_id };
    cluster
        .into_iter()
        .chain(features)
        .chain([counters, ids])
        .chain(image.controllers().map(|c| Record::RegisterController(Box::new((**c).clone()))))
        .chain(brokers(image))
        .chain(topics(image))
        .chain(configs(image))
}

fn brokers(image: &Image) -> impl Iterator<Item = Record> + '_ {
    image.brokers().map(|b| Record::RegisterBroker {
        registration: Box::new(BrokerRegistration {
            id: b.id,
            incarnation: b.incarnation,
            endpoints: b.endpoints.clone(),
            rack: b.rack.clone(),
            dirs: b.dirs.clone(),
            features: b.features.clone(),
        }),
        epoch: b.epoch,
        fenced: b.fenced,
        in_controlled_shutdown: b.in_controlled_shutdown,
        index: b.registered_at,
        shutdown_at: b.shutdown_at,
    })
}

fn topics(image: &Image) -> impl Iterator<Item = Record> + '_ {
    image.topics().flat_map(|topic| {
        let head = Record::Topic { name: topic.name.to_string(), id: topic.id };
        let parts = (0..).zip(&topic.partitions).map(|(index, partition)| Record::Partition {
            topic: topic.id,
            index,
            partition: Box::new(partition.clone()),
        });
        std::iter::once(head).chain(parts)
    })
}

fn configs(image: &Image) -> impl Iterator<Item = Record> + '_ {
    image.configs().flat_map(|(resource, values)| {
        values.iter().map(|(key, value)| Record::config(resource.clone(), key, Some(value.clone())))
    })
}
