//! Fetch (`KafkaApis.handleFetchRequest`): what the session and the client's rights make of a request, and the answer
//! in the form of its version. Reading and waiting are in [`crate::reads`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::image::{Image, TopicImage};
use millrace_replica::{Feed, Isolation, Partition};
use millrace_security::Operation;
use millrace_wire::fetch::{EpochEnd, FetchPartition, FetchResponse, FetchTopic, Leader, NodeEndpoint};
use millrace_wire::kp::messages::FetchRequest;
use tokio::time::Instant;

use super::codes;
use super::convert::topic_id;
use super::{Answer, Cx};
use crate::nodes;
use crate::reads::{self, Found, Item, Limits, Who};
use crate::sessions::{Ask, Context, Follower, Outcome, Target, TargetTopic, Targets, TopicKey, Verdict, Wanted};
use crate::throttle;

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version that can name the leader that was missed (KIP-951).
const LEADER_HINTS: i16 = 16;
/// First version whose clients know zstd.
const ZSTD: i16 = 10;
/// Last version whose clients do not know KAFKA_STORAGE_ERROR.
const NO_STORAGE_ERROR: i16 = 5;
/// First version whose consumers say where they are, and may be served by followers (KIP-392).
const RACKS: i16 = 11;
/// First version with the follower's id in a structure of its own.
const REPLICA_STATE: i16 = 15;
/// Replica id of a consumer.
const CONSUMER: i32 = -1;
/// `isolation_level` of a consumer that wants only what is committed.
const READ_COMMITTED: i8 = 1;

/// The session is settled in arrival order; reading and waiting follow.
pub fn handle(cx: Cx, request: FetchRequest) -> impl Future<Output = Answer<FetchResponse>> + Send + 'static {
    let replica = replica_id(&cx, &request);
    let opened = cx.broker.sessions.open(cx.broker.clock.steady_ms(), ask(&cx, &request, replica));
    let how = How {
        replica,
        limits: limits(&cx, &request, replica),
        turn: request.session_epoch,
        hold: None,
        rack: rack(&cx, &request, replica),
    };
    drop(request);
    async move {
        match opened {
            Ok(context) => Answer::Send(fetch(&cx, context, how).await),
            Err(error) => {
                Answer::Send(FetchResponse { error: codes::fetch_session(error).code(), ..FetchResponse::default() })
            }
        }
    }
}

/// How a request wants its partitions read.
struct How {
    /// The follower that asks, negative for a consumer.
    replica: i32,
    limits: Limits,
    /// A number that is another one for each request of a session.
    turn: i32,
    /// How long throttled replicas get nothing.
    hold: Option<Duration>,
    /// Rack of a consumer that is to be sent to a replica near to it.
    rack: Option<String>,
}

impl How {
    /// Whether the follower is to get no records of the partition now (KIP-73).
    fn holds(&self, image: &Image, topic: &TopicImage, target: &Target) -> bool {
        let in_sync = || topic.partition(target.partition).is_some_and(|p| p.isr.contains(&self.replica));
        self.hold.is_some() && throttles(image, &topic.name, target.partition, self.replica) && !in_sync()
    }
}

fn throttles(image: &Image, topic: &str, partition: i32, replica: i32) -> bool {
    throttle::lists(image, topic, throttle::LEADER_REPLICAS, partition, replica)
}

fn replica_id(cx: &Cx, request: &FetchRequest) -> i32 {
    match cx.version() {
        old if old < REPLICA_STATE => request.replica_id.0,
        _ => request.replica_state.replica_id.0,
    }
}

/// Only if the broker sends consumers elsewhere, and this one is not where they are.
fn rack(cx: &Cx, request: &FetchRequest, replica: i32) -> Option<String> {
    let config = cx.broker.config.current();
    let asks = replica == CONSUMER && cx.version() >= RACKS && config.replication.rack_aware;
    let elsewhere = asks && !request.rack_id.is_empty() && config.rack.as_deref() != Some(&*request.rack_id);
    elsewhere.then(|| request.rack_id.to_string())
}

fn limits(cx: &Cx, request: &FetchRequest, replica: i32) -> Limits {
    let who = match replica {
        id @ 0.. => {
            let broker_epoch = request.replica_state.replica_epoch;
            Who::Replica { id, broker_epoch, now_ms: cx.broker.clock.steady_ms() }
        }
        CONSUMER if cx.version() >= RACKS => Who::ConsumerAnywhere,
        _ => Who::Consumer,
    };
    let max_bytes = request.max_bytes.max(0).min(cx.broker.config.current().fetch_max_bytes) as usize;
    let max_bytes = cx.broker.answers.allowance(max_bytes);
    Limits {
        max_bytes,
        min_bytes: (request.min_bytes.max(0) as usize).min(max_bytes),
        max_wait: Duration::from_millis(request.max_wait_ms.max(0) as u64),
        who,
        isolation: match (replica, request.isolation_level) {
            (0.., _) => Isolation::LogEnd,
            (_, READ_COMMITTED) => Isolation::ReadCommitted,
            (_, _) => Isolation::ReadUncommitted,
        },
    }
}

fn ask(cx: &Cx, request: &FetchRequest, replica: i32) -> Ask {
    let by_topic_id = cx.version() >= TOPIC_IDS;
    let key = |name: &str, id| match by_topic_id {
        true => TopicKey::Id(topic_id(id)),
        false => TopicKey::Name(name.into()),
    };
    let mut wanted = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let key = key(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            let want = Wanted {
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                log_start: partition.log_start_offset,
            };
            wanted.push((key.clone(), partition.partition, want));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let key = key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|partition| (key.clone(), *partition)));
    }
    let follower = (replica >= 0).then(|| Follower { eager: cx.broker.config.current().replication.rack_aware });
    Ask { id: request.session_id, epoch: request.session_epoch, by_topic_id, follower, wanted, forgotten }
}

async fn fetch(cx: &Cx, mut context: Context, how: How) -> FetchResponse {
    if let Some(feed) = context.feed() {
        return feed_follower(cx, context, &feed, how).await;
    }
    let targets = context.targets();
    let items = items(cx, &mut context, &targets, &how);
    let found = reads::read(&items, how.limits, &cx.broker.answers).await;
    let outcomes: Vec<Outcome> = found.iter().map(outcome).collect();
    let verdict = context.finish(&cx.broker.sessions, cx.broker.clock.steady_ms(), &targets, &outcomes);
    respond(cx, verdict, targets, found)
}

/// Answers a follower within its session. Looked at are the partitions that the request names, and those that have news
/// of themselves: with thousands of them, the idle ones cost nothing.
async fn feed_follower(cx: &Cx, mut context: Context, feed: &Arc<Feed>, mut how: How) -> FetchResponse {
    let deadline = Instant::now() + how.limits.max_wait;
    how.hold = hold(cx);
    let mut slots = context.named();
    let targets = context.targets_of(&slots);
    let items = items(cx, &mut context, &targets, &how);
    register(&mut context, feed, &targets, &items, how.replica);
    merge(&mut slots, feed.take(), how.turn);
    let mut read = read_slots(cx, &mut context, &slots, &how).await;
    if !how.limits.max_wait.is_zero() && !reads::is_enough(&read.1, how.limits) {
        let until = how.hold.map_or(deadline, |hold| deadline.min(Instant::now() + hold));
        // Woken or not, what is there by now is the answer.
        let _ = tokio::time::timeout_at(until, feed.woken()).await;
        how.hold = hold(cx);
        merge(&mut slots, feed.take(), how.turn);
        read = read_slots(cx, &mut context, &slots, &how).await;
    }
    let (targets, found) = read;
    let outcomes: Vec<Outcome> = found.iter().map(outcome).collect();
    let failed = targets.partitions.iter().zip(&found).filter(|(_, found)| found.error != ErrorCode::None);
    context.set_fed(failed.map(|(target, _)| (target.slot, false)));
    let verdict = context.finish(&cx.broker.sessions, cx.broker.clock.steady_ms(), &targets, &outcomes);
    for (target, found) in targets.partitions.iter().zip(&found) {
        if found.starved || verdict.error.is_some() {
            feed.put_back(target.slot);
        }
    }
    count_bytes(cx, &targets, &found, how.replica);
    respond(cx, verdict, targets, found)
}

fn hold(cx: &Cx) -> Option<Duration> {
    let rate = cx.broker.config.current().replication.leader_rate?;
    let wait_ms = cx.broker.throttles.leader.wait_ms(rate, cx.broker.clock.steady_ms());
    (wait_ms > 0).then(|| Duration::from_millis(wait_ms))
}

fn count_bytes(cx: &Cx, targets: &Targets, found: &[Found], replica: i32) {
    cx.broker.meters.replicated_out(found.iter().map(|found| found.bytes).sum());
    let Some(rate) = cx.broker.config.current().replication.leader_rate else {
        return;
    };
    let image = cx.broker.image();
    let throttled = |target: &Target| match &targets.topics[target.topic as usize].key {
        TopicKey::Name(name) => throttles(&image, name, target.partition, replica),
        TopicKey::Id(id) => image.topic_name(id).is_some_and(|name| throttles(&image, name, target.partition, replica)),
    };
    let pairs = targets.partitions.iter().zip(found).filter(|(target, found)| found.bytes > 0 && throttled(target));
    let bytes = pairs.map(|(_, found)| found.bytes).sum();
    cx.broker.throttles.leader.record(bytes, rate, cx.broker.clock.steady_ms());
}

async fn read_slots(cx: &Cx, context: &mut Context, slots: &[u32], how: &How) -> (Targets, Vec<Found>) {
    let targets = context.targets_of(slots);
    let items = items(cx, context, &targets, how);
    let found = reads::read_once(&items, how.limits, &cx.broker.answers).await;
    (targets, found)
}

/// Has partitions that are new in the session tell its feed of news.
fn register(context: &mut Context, feed: &Arc<Feed>, targets: &Targets, items: &[Item], replica: i32) {
    let pairs = targets.partitions.iter().zip(items).filter(|(target, _)| !target.fed);
    let fed: Vec<(u32, bool)> = pairs
        .filter_map(|(target, item)| Some((target.slot, item.partition()?.feed(replica, feed, target.slot))))
        .collect();
    context.set_fed(fed.into_iter());
}

/// Adds slots, each of which is to be listed once. The order turns from request to request, so that every partition
/// gets its share of bounded answers.
fn merge(slots: &mut Vec<u32>, news: Vec<u32>, turn: i32) {
    slots.extend(news);
    slots.sort_unstable();
    slots.dedup();
    if !slots.is_empty() {
        let by = turn.unsigned_abs() as usize % slots.len();
        slots.rotate_left(by);
    }
}

fn outcome(found: &Found) -> Outcome {
    Outcome {
        high_watermark: found.high_watermark,
        log_start: found.log_start_offset,
        data: !found.batches.is_empty(),
        error: found.error != ErrorCode::None,
        urgent: found.diverging.is_some() || found.elsewhere.is_some(),
    }
}

/// Finds the partition of every target, or why it cannot be read.
fn items(cx: &Cx, context: &mut Context, targets: &Targets, how: &How) -> Vec<Item> {
    let image = cx.broker.image();
    let topics: Vec<_> = targets.topics.iter().map(|topic| resolve(cx, &image, context, topic, how)).collect();
    targets
        .partitions
        .iter()
        .map(|target| match &topics[target.topic as usize] {
            Err(error) => Item::unreadable(*error, target.wanted),
            Ok(topic) => item(cx, topic, target, how).held(how.holds(&image, topic, target)),
        })
        .collect()
}

fn resolve<'a>(
    cx: &Cx,
    image: &'a Image,
    context: &mut Context,
    topic: &TargetTopic,
    how: &How,
) -> Result<&'a Arc<TopicImage>, ErrorCode> {
    let (name, id): (&str, _) = match (&topic.key, &topic.known_name) {
        (TopicKey::Name(name), _) => (name, None),
        (TopicKey::Id(id), Some(name)) => (name, Some(*id)),
        (TopicKey::Id(id), None) => {
            let known = image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
            context.learn_name(&topic.key, &known.name);
            (&known.name, Some(*id))
        }
    };
    let allowed = match how.replica {
        consumer if consumer < 0 => cx.may_topic(Operation::Read, name),
        _ => cx.may_cluster(Operation::ClusterAction),
    };
    if !allowed {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let known = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if id.is_some_and(|id| id != known.id) {
        return Err(ErrorCode::InconsistentTopicId);
    }
    if cx.version() < ZSTD && cx.broker.compresses_with_zstd(name) {
        return Err(ErrorCode::UnsupportedCompressionType);
    }
    Ok(known)
}

fn item(cx: &Cx, topic: &TopicImage, target: &Target, how: &How) -> Item {
    let Some(partition) = topic.partition(target.partition) else {
        return Item::unreadable(ErrorCode::UnknownTopicOrPartition, target.wanted);
    };
    if how.replica >= 0 && (how.replica == cx.broker.node_id || !partition.replicas.contains(&how.replica)) {
        // A replica that is not ours to feed; one that names an epoch may be ahead of us, and is told to try again.
        let error = match target.wanted.leader_epoch {
            -1 => ErrorCode::NotLeaderOrFollower,
            older if older < partition.leader_epoch => ErrorCode::FencedLeaderEpoch,
            _ => ErrorCode::UnknownLeaderEpoch,
        };
        return Item::failed(error, target.wanted);
    }
    match cx.broker.replicas.partition_by_id(&topic.id, target.partition) {
        Ok(partition) => {
            let elsewhere = how.rack.as_ref().and_then(|rack| nearest(cx, &partition, target.wanted.offset, rack));
            Item::new(partition, target.wanted).elsewhere(elsewhere)
        }
        Err(error) => Item::failed(codes::lookup(&error), target.wanted),
    }
}

/// The replica in the consumer's rack that has come farthest, among those in sync that have the offset
/// (`RackAwareReplicaSelector`).
fn nearest(cx: &Cx, partition: &Partition, offset: i64, rack: &str) -> Option<i32> {
    let image = cx.broker.image();
    let near = |id| nodes::live_one(cx, &image, id).is_some_and(|node| node.rack.as_deref() == Some(rack));
    let holders = partition.holders(offset).into_iter().filter(|holder| near(holder.id));
    holders.max_by_key(|holder| (holder.end, holder.caught_up_ms, holder.id)).map(|holder| holder.id)
}

fn respond(cx: &Cx, verdict: Verdict, targets: Targets, found: Vec<Found>) -> FetchResponse {
    let mut response = FetchResponse {
        error: verdict.error.map_or(ErrorCode::None, codes::fetch_session).code(),
        session_id: verdict.session_id,
        ..FetchResponse::default()
    };
    if verdict.error.is_some() {
        return response;
    }
    let mut hints = Hints { cx, image: None, nodes: Vec::new() };
    let mut last_topic = None;
    for (at, (target, found)) in targets.partitions.iter().zip(found).enumerate() {
        if verdict.answer.as_ref().is_some_and(|answer| !answer[at]) {
            continue;
        }
        let topic = &targets.topics[target.topic as usize];
        let leader = hints.leader(topic, target.partition, found.error);
        let partition = partition(cx.version(), target.partition, found, leader);
        if last_topic != Some(target.topic) {
            response.topics.push(empty_topic(topic));
            last_topic = Some(target.topic);
        }
        if let Some(topic) = response.topics.last_mut() {
            topic.partitions.push(partition);
        }
    }
    response.node_endpoints = hints.nodes;
    response
}

fn empty_topic(topic: &TargetTopic) -> FetchTopic {
    match &topic.key {
        TopicKey::Name(name) => FetchTopic { name: name.to_string(), ..FetchTopic::default() },
        TopicKey::Id(id) => FetchTopic { id: id.0, ..FetchTopic::default() },
    }
}

fn partition(version: i16, index: i32, found: Found, current_leader: Option<Leader>) -> FetchPartition {
    let error = match found.error {
        ErrorCode::KafkaStorageError if version <= NO_STORAGE_ERROR => ErrorCode::NotLeaderOrFollower,
        error => error,
    };
    FetchPartition {
        index,
        error: error.code(),
        high_watermark: found.high_watermark,
        last_stable_offset: found.last_stable_offset,
        log_start_offset: found.log_start_offset,
        diverging: found.diverging.map(|(epoch, end_offset)| EpochEnd { epoch, end_offset }),
        current_leader,
        aborted: found.lists_aborted.then(Vec::new),
        preferred_read_replica: found.elsewhere.unwrap_or(-1),
        records: found.batches,
    }
}

/// Tells clients where the leader is that they missed.
struct Hints<'a> {
    cx: &'a Cx,
    image: Option<Arc<Image>>,
    nodes: Vec<NodeEndpoint>,
}

impl Hints<'_> {
    fn leader(&mut self, topic: &TargetTopic, index: i32, error: ErrorCode) -> Option<Leader> {
        let missed = matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        if !missed || self.cx.version() < LEADER_HINTS {
            return None;
        }
        let image = self.image.get_or_insert_with(|| self.cx.broker.image());
        let known = match &topic.key {
            TopicKey::Name(name) => image.topic(name),
            TopicKey::Id(id) => image.topic_by_id(id),
        };
        let partition = known.and_then(|topic| topic.partition(index))?;
        let leader = Leader { id: partition.leader, epoch: partition.leader_epoch };
        if !self.nodes.iter().any(|node| node.node_id == leader.id)
            && let Some(node) = nodes::live_one(self.cx, image, leader.id)
        {
            let (host, port, rack) = (node.host, node.port, node.rack);
            self.nodes.push(NodeEndpoint { node_id: node.id, host, port, rack });
        }
        Some(leader)
    }
}

/// Answers with the error; clients up to version 12 are told for every partition as well.
pub fn refuse(request: &FetchRequest, version: i16, error: ErrorCode) -> FetchResponse {
    let mut response =
        FetchResponse { error: error.code(), session_id: request.session_id, ..FetchResponse::default() };
    if version < TOPIC_IDS {
        response.topics = request
            .topics
            .iter()
            .map(|topic| FetchTopic {
                name: topic.topic.to_string(),
                id: *topic.topic_id.as_bytes(),
                partitions: topic.partitions.iter().map(|p| refused_partition(p.partition, error)).collect(),
            })
            .collect();
    }
    response
}

fn refused_partition(index: i32, error: ErrorCode) -> FetchPartition {
    FetchPartition { aborted: Some(Vec::new()), ..FetchPartition::empty(index, error.code()) }
}
