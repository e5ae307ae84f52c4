//! CreateTopics (`ReplicationControlManager.createTopics`).

use std::collections::{BTreeMap, BTreeSet};

use millrace_metadata::command::{CreatedTopic, NewTopic, TopicResult};
use millrace_metadata::limits::PARTITIONS_PER_REQUEST_MAX;
use millrace_metadata::names;
use millrace_metadata::{
    ApiError, ConfigResource, ErrorCode, Image, NodeId, PartitionImage, Record, ResourceKind, TopicId,
};

use crate::placement::{Loads, new_partition};
use crate::{Cx, Draft, configs};

/// Creates what can be created. A topic that is named twice is answered once, with an error.
pub(crate) fn topics(draft: &mut Draft, wanted: &[NewTopic], cx: &mut Cx<'_>) -> Vec<TopicResult<CreatedTopic>> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    wanted.iter().for_each(|t| *times.entry(&t.name).or_default() += 1);
    let too_many = partitions(wanted, cx.defaults.num_partitions) > PARTITIONS_PER_REQUEST_MAX;
    let mut taken = if wanted.iter().any(|t| names::has_collision_chars(&t.name)) {
        collision_keys(draft.image())
    } else {
        BTreeMap::new()
    };
    let mut loads = Loads::of(draft.image());
    let mut answered = BTreeSet::new();
    let mut results = Vec::with_capacity(wanted.len());
    for topic in wanted.iter().filter(|t| answered.insert(t.name.as_str())) {
        let result = if times[topic.name.as_str()] > 1 {
            Err(ApiError::new(ErrorCode::InvalidRequest, "The request names this topic more than once."))
        } else if too_many {
            Err(ApiError::new(
                ErrorCode::PolicyViolation,
                format!("The request creates more than {PARTITIONS_PER_REQUEST_MAX} partitions."),
            ))
        } else {
            one(draft, topic, (&mut taken, &mut loads), cx)
        };
        results.push(result.map_err(|e| (topic.name.clone(), e)));
    }
    results
}

fn partitions(wanted: &[NewTopic], default: i32) -> usize {
    let count = |t: &NewTopic| match (t.assignments.len(), t.partitions) {
        (0, -1) => usize::try_from(default).unwrap_or(0),
        (0, n) => usize::try_from(n).unwrap_or(0),
        (n, _) => n,
    };
    wanted.iter().map(count).fold(0, usize::saturating_add)
}

/// Existing topics that a new name could collide with.
fn collision_keys(image: &Image) -> BTreeMap<String, String> {
    let colliding = image.topics().filter(|t| names::has_collision_chars(&t.name));
    colliding.map(|t| (names::collision_key(&t.name), t.name.to_string())).collect()
}

fn one(
    draft: &mut Draft,
    topic: &NewTopic,
    (taken, loads): (&mut BTreeMap<String, String>, &mut Loads),
    cx: &mut Cx<'_>,
) -> Result<CreatedTopic, ApiError> {
    names::validate_topic_name(&topic.name)?;
    if draft.image().topic(&topic.name).is_some() {
        let text = format!("Topic '{}' already exists.", topic.name);
        return Err(ApiError::new(ErrorCode::TopicAlreadyExists, text));
    }
    if names::has_collision_chars(&topic.name)
        && let Some(other) = taken.get(&names::collision_key(&topic.name))
    {
        let text = format!("Topic '{}' collides with the existing topic '{other}'.", topic.name);
        return Err(ApiError::new(ErrorCode::InvalidTopicException, text));
    }
    let configs = check_configs(topic, cx)?;
    let parts = if topic.assignments.is_empty() {
        automatic(draft.image(), topic, loads, cx)?
    } else {
        manual(draft.image(), topic)?
    };
    let id = new_id(draft.image(), cx);
    let factor = parts.first().map_or(0, |p| p.replicas.len());
    let created = CreatedTopic {
        name: topic.name.clone(),
        id,
        partitions: i32::try_from(parts.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
        configs: configs.clone().into_iter().collect(),
    };
    if names::has_collision_chars(&topic.name) {
        taken.insert(names::collision_key(&topic.name), topic.name.clone());
    }
    draft.push(Record::Topic { name: topic.name.clone(), id });
    for (key, value) in configs {
        draft.push(Record::config(ConfigResource::topic(&topic.name), key, Some(value)));
    }
    for (index, partition) in (0..).zip(parts) {
        draft.push(Record::Partition { topic: id, index, partition: Box::new(partition) });
    }
    Ok(created)
}

fn new_id(image: &Image, cx: &mut Cx<'_>) -> TopicId {
    loop {
        let mut bytes = [0; 16];
        cx.rng.fill_bytes(&mut bytes);
        let id = TopicId::from_random(bytes);
        if image.topic_by_id(&id).is_none() {
            return id;
        }
    }
}

fn check_configs(topic: &NewTopic, cx: &Cx<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let nulls: Vec<&str> = topic.configs.iter().filter(|(_, v)| v.is_none()).map(|(k, _)| k.as_str()).collect();
    if !nulls.is_empty() {
        let text = format!("Topic configs need a value: {}", nulls.join(","));
        return Err(ApiError::new(ErrorCode::InvalidConfig, text));
    }
    let values: BTreeMap<String, String> =
        topic.configs.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect();
    let resource = ConfigResource::new(ResourceKind::Topic, &topic.name);
    configs::validate(&resource, &values, values.keys(), cx.defaults)?;
    Ok(values)
}

fn manual(image: &Image, topic: &NewTopic) -> Result<Vec<PartitionImage>, ApiError> {
    let request = |text: &str| Err(ApiError::new(ErrorCode::InvalidRequest, text));
    let assignment = |text: String| ApiError::new(ErrorCode::InvalidReplicaAssignment, text);
    if topic.replication_factor != -1 {
        return request("With a manual assignment the replication factor must be -1.");
    }
    if topic.partitions != -1 {
        return request("With a manual assignment the number of partitions must be -1.");
    }
    let mut parts: BTreeMap<i32, PartitionImage> = BTreeMap::new();
    let mut factor = None;
    for (index, replicas) in &topic.assignments {
        if parts.contains_key(index) {
            return Err(assignment(format!("Partition {index} is assigned more than once.")));
        }
        validate_assignment(image, replicas, factor)?;
        factor = Some(replicas.len());
        let partition = new_partition(image, replicas).ok_or_else(|| {
            assignment(format!("All brokers that partition {index} is assigned to are fenced or shutting down."))
        })?;
        parts.insert(*index, partition);
    }
    if !parts.keys().copied().eq(0..i32::try_from(parts.len()).unwrap_or(i32::MAX)) {
        return Err(assignment("Partition numbers must start at 0 and have no gaps.".to_owned()));
    }
    Ok(parts.into_values().collect())
}

/// Checks a list of replicas that an administrator chose (`validateManualPartitionAssignment`).
pub(crate) fn validate_assignment(image: &Image, replicas: &[NodeId], factor: Option<usize>) -> Result<(), ApiError> {
    let bad = |text: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
    if replicas.is_empty() {
        return bad("The manual assignment has an empty list of replicas.".to_owned());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for id in &sorted {
        if image.broker(*id).is_none() {
            return bad(format!("The manual assignment names broker {id}, which is not registered."));
        }
    }
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return bad(format!("The manual assignment names broker {} more than once.", pair[0]));
    }
    match factor {
        Some(factor) if factor != replicas.len() => bad(format!(
            "The manual assignment gives a partition {} replica(s), but another one {factor}.",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

fn automatic(
    image: &Image,
    topic: &NewTopic,
    loads: &mut Loads,
    cx: &mut Cx<'_>,
) -> Result<Vec<PartitionImage>, ApiError> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let text = "The replication factor must be larger than 0, or -1 for the default.";
        return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, text));
    }
    if topic.partitions < -1 || topic.partitions == 0 {
        let text = "The number of partitions must be larger than 0, or -1 for the default.";
        return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
    }
    let count = if topic.partitions == -1 { cx.defaults.num_partitions } else { topic.partitions };
    let factor = if topic.replication_factor == -1 { cx.defaults.replication_factor } else { topic.replication_factor };
    place((image, &[]), loads, (count, factor), cx.rng)
}

/// Places `count` new partitions with `factor` replicas each, beside those that the topic has already.
pub(crate) fn place(
    (image, existing): (&Image, &[PartitionImage]),
    loads: &mut Loads,
    (count, factor): (i32, i16),
    rng: &mut dyn rand::RngCore,
) -> Result<Vec<PartitionImage>, ApiError> {
    let unable = |why: String| {
        let text = format!("Unable to replicate the partition {factor} time(s): {why}");
        ApiError::new(ErrorCode::InvalidReplicationFactor, text)
    };
    // Only the whole is kept: a refused topic must not leave its share in the counts.
    let mut after = loads.clone();
    after.begin_topic(existing);
    let mut parts = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for _ in 0..count {
        let replicas = after.place(factor, rng).map_err(unable)?;
        let partition = new_partition(image, &replicas)
            .ok_or_else(|| unable("all brokers are fenced or shutting down.".to_owned()))?;
        parts.push(partition);
    }
    *loads = after;
    Ok(parts)
}
