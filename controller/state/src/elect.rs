//! Elections: asked for by ElectLeaders, and those that follow from brokers that come and go.

use std::collections::BTreeMap;

use millrace_metadata::command::PartitionKey;
use millrace_metadata::limits::ELECTIONS_PER_SWEEP_MAX;
use millrace_metadata::{ApiError, ErrorCode, Image, PartitionImage, Record, TopicImage};

use crate::change::{Change, Election};
use crate::draft::unclean_allowed;
use crate::{Defaults, Draft};

/// Elects leaders for the named partitions, or for all that have a use for it (`electLeaders`).
pub(crate) fn leaders(
    draft: &mut Draft,
    unclean: bool,
    partitions: Option<&[(String, Vec<i32>)]>,
    defaults: &Defaults,
) -> BTreeMap<PartitionKey, Result<(), ApiError>> {
    let all = partitions.is_none();
    let wanted: Vec<PartitionKey> = match partitions {
        Some(list) => list.iter().flat_map(|(t, ps)| ps.iter().map(move |p| (t.clone(), *p))).collect(),
        None => draft
            .image()
            .topics()
            .flat_map(|t| (0..).zip(&t.partitions).map(|(i, _)| (t.name.to_string(), i)))
            .collect(),
    };
    let mut results = BTreeMap::new();
    for key in wanted {
        let result = one(draft, &key, unclean, defaults);
        let needed = !matches!(&result, Err(e) if e.code == ErrorCode::ElectionNotNeeded);
        if needed || !all {
            results.insert(key, result);
        }
    }
    results
}

fn one(draft: &mut Draft, (name, index): &PartitionKey, unclean: bool, defaults: &Defaults) -> Result<(), ApiError> {
    let unknown = |what: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = draft.image().topic(name).ok_or_else(|| unknown(format!("There is no topic '{name}'.")))?;
    let partition = topic.partition(*index).ok_or_else(|| unknown(format!("There is no partition {name}-{index}.")))?;
    let done = if unclean { partition.has_leader() } else { partition.replicas.first() == Some(&partition.leader) };
    if done {
        return Err(ErrorCode::ElectionNotNeeded.into());
    }
    let election = if unclean { Election::Unclean } else { Election::Preferred };
    let change = Change::new(draft.image(), (topic, *index), defaults).map(|c| c.election(election));
    match change.and_then(Change::build) {
        Some(record) => {
            draft.push(record);
            Ok(())
        }
        None if unclean => Err(ErrorCode::EligibleLeadersNotAvailable.into()),
        None => Err(ErrorCode::PreferredLeaderNotAvailable.into()),
    }
}

/// Changes every partition that `concerns` picks in the way that `change` says, with the elections that follow.
pub(crate) fn sweep(
    draft: &mut Draft,
    defaults: &Defaults,
    concerns: impl Fn(&PartitionImage) -> bool,
    change: impl for<'a> Fn(Change<'a>) -> Change<'a>,
) {
    let records = collect(draft.image(), usize::MAX, |topic, index, partition| {
        let made = concerns(partition).then(|| Change::new(draft.image(), (topic, index), defaults)).flatten();
        made.and_then(|c| change(c).build())
    });
    records.into_iter().for_each(|r| draft.push(r));
}

/// Holds the elections that are due, and renews eligibility, in partitions that `concerns` picks of topics that
/// `named` picks.
pub(crate) fn sweep_topics(
    draft: &mut Draft,
    defaults: &Defaults,
    named: impl Fn(&str) -> bool,
    concerns: impl Fn(&PartitionImage) -> bool,
) {
    let records = collect(draft.image(), usize::MAX, |topic, index, partition| {
        let made = named(&topic.name) && concerns(partition);
        made.then(|| Change::new(draft.image(), (topic, index), defaults)).flatten()?.build()
    });
    records.into_iter().for_each(|r| draft.push(r));
}

fn collect(
    image: &Image,
    limit: usize,
    mut make: impl FnMut(&TopicImage, i32, &PartitionImage) -> Option<Record>,
) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in image.topics_by_id() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            if records.len() >= limit {
                return records;
            }
            records.extend(make(topic, index, partition));
        }
    }
    records
}

/// Gives the leadership back to preferred leaders that are in sync, at most a sweep's worth
/// (`auto.leader.rebalance.enable`).
pub fn balance_leaders(draft: &mut Draft, defaults: &Defaults) {
    let records = collect(draft.image(), ELECTIONS_PER_SWEEP_MAX, |topic, index, partition| {
        if partition.replicas.first() == Some(&partition.leader) {
            return None;
        }
        Change::new(draft.image(), (topic, index), defaults)?.election(Election::Preferred).build()
    });
    records.into_iter().for_each(|r| draft.push(r));
}

/// Elects whoever is there for leaderless partitions of topics that allow it, at most a sweep's worth.
pub fn elect_unclean(draft: &mut Draft, defaults: &Defaults) {
    let records = collect(draft.image(), ELECTIONS_PER_SWEEP_MAX, |topic, index, partition| {
        if partition.has_leader() || !unclean_allowed(draft.image(), topic, defaults) {
            return None;
        }
        Change::new(draft.image(), (topic, index), defaults)?.build()
    });
    records.into_iter().for_each(|r| draft.push(r));
}
