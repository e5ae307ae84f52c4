//! Produce (`KafkaApis.handleProduceRequest`, `ReplicaManager.handleProduceAppend`).
//!
//! Batches are handed to their partitions before `handle` returns, so that pipelined requests of a connection are
//! appended in the order in which they arrived. What is left for the future is to wait until they are committed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use millrace_log::BatchView;
use millrace_log::validate::one_batch;
use millrace_metadata::error::ErrorCode;
use millrace_metadata::ids::TopicId;
use millrace_metadata::image::Image;
use millrace_metadata::names::is_internal;
use millrace_replica::{AppendCx, Origin, Partition};
use millrace_security::Operation;
use millrace_wire::kp::messages::produce_response::{
    BatchIndexAndErrorMessage, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use millrace_wire::kp::messages::{BrokerId, ProduceResponse, TopicName};
use millrace_wire::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use tokio::time::Instant;

use super::codes::{self, Refusal};
use super::convert::{text, topic_name};
use super::{Answer, Cx};
use crate::nodes;

/// `acks` of a producer that wants all in-sync replicas to have its records.
const ALL: i16 = -1;
/// Client id under which Kafka's tools may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version with record errors and messages.
const RECORD_ERRORS: i16 = 8;
/// First version with leader hints (KIP-951).
const LEADER_HINTS: i16 = 10;
/// The client's timeout is meant for replicas on other brokers. The local write is always given this long: a client
/// that names a short timeout, or none, still learns what became of its records.
const LOCAL_WRITE: Duration = Duration::from_secs(5);

/// Appends at once, answers when everything is committed.
pub fn handle(cx: Cx, request: ProduceRequest) -> impl Future<Output = Answer<ProduceResponse>> + Send + 'static {
    let work = append_all(&cx, request);
    async move { work.finish(&cx).await }
}

/// A request whose batches are in their logs.
struct Work {
    acks: i16,
    deadline: Instant,
    topics: Vec<Topic>,
}

struct Topic {
    name: String,
    id: [u8; 16],
    partitions: Vec<Slot>,
}

struct Slot {
    index: i32,
    state: State,
}

enum State {
    /// Refused, or acknowledged before.
    Done(Outcome),
    /// Appended and not yet committed.
    Waiting { partition: Arc<Partition>, outcome: Outcome, last_offset: i64 },
}

/// What is told about one partition.
struct Outcome {
    refusal: Option<Refusal>,
    base_offset: i64,
    log_append_time: i64,
    log_start_offset: i64,
}

impl Outcome {
    fn refused(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), base_offset: -1, log_append_time: -1, log_start_offset: -1 }
    }
}

impl From<ErrorCode> for State {
    fn from(code: ErrorCode) -> Self {
        State::Done(Outcome::refused(Refusal::plain(code)))
    }
}

fn append_all(cx: &Cx, request: ProduceRequest) -> Work {
    let image = cx.broker.image();
    let refused = refused_as_a_whole(&request);
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64).max(LOCAL_WRITE);
    let appender = Appender { cx, image: &image, acks: request.acks, now_ms: cx.broker.clock.now_ms(), refused };
    Work {
        acks: request.acks,
        deadline: Instant::now() + timeout,
        // Kafka does not answer for a topic of which nothing was asked.
        topics: request
            .topics
            .into_iter()
            .filter(|topic| !topic.partitions.is_empty())
            .map(|topic| appender.topic(topic))
            .collect(),
    }
}

/// Transactional records need the right to the transactional id. There are no transactions here, so that nobody has
/// it.
fn refused_as_a_whole(request: &ProduceRequest) -> Option<ErrorCode> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let batches = partitions.filter_map(|partition| BatchView::new(partition.records.as_ref()?));
    let transactional = batches.into_iter().any(|batch| batch.is_transactional());
    transactional.then_some(ErrorCode::TransactionalIdAuthorizationFailed)
}

struct Appender<'a> {
    cx: &'a Cx,
    image: &'a Image,
    acks: i16,
    now_ms: i64,
    refused: Option<ErrorCode>,
}

impl Appender<'_> {
    fn topic(&self, topic: ProduceTopic) -> Topic {
        let by_id = self.cx.version() >= TOPIC_IDS;
        let name = match by_id {
            false => Some(topic.name.as_str()),
            true => self.image.topic_name(&TopicId(topic.topic_id)),
        };
        let error = match (self.refused, name) {
            (Some(error), _) => Some(error),
            (None, None) => Some(ErrorCode::UnknownTopicId),
            (None, Some(name)) if !self.cx.may_topic(Operation::Write, name) => {
                Some(ErrorCode::TopicAuthorizationFailed)
            }
            (None, Some(_)) => None,
        };
        let name = name.unwrap_or_default();
        let slots = topic.partitions.into_iter().map(|partition| Slot {
            index: partition.index,
            state: match error {
                Some(error) => error.into(),
                None => self.partition(name, partition),
            },
        });
        Topic { partitions: slots.collect(), name: topic.name, id: topic.topic_id }
    }

    fn partition(&self, topic: &str, part: ProducePartition) -> State {
        if self.image.partition(topic, part.index).is_none() {
            return ErrorCode::UnknownTopicOrPartition.into();
        }
        let Some(records) = part.records else {
            return ErrorCode::InvalidRecord.into();
        };
        if !matches!(self.acks, -1..=1) {
            return ErrorCode::InvalidRequiredAcks.into();
        }
        if is_internal(topic) && self.cx.header.client_id.as_deref() != Some(ADMIN_CLIENT) {
            return ErrorCode::InvalidTopicException.into();
        }
        self.append(topic, part.index, records)
    }

    fn append(&self, topic: &str, index: i32, records: BytesMut) -> State {
        if let Err(error) = one_batch(&records) {
            return State::Done(Outcome::refused(codes::not_one_batch(&error)));
        }
        let partition = match self.cx.broker.replicas.partition(topic, index) {
            Ok(partition) => partition,
            Err(error) => return codes::lookup(&error).into(),
        };
        let how =
            AppendCx { acks: self.acks, origin: Origin::Client, api_version: self.cx.version(), now_ms: self.now_ms };
        match partition.append_as_leader(records, how) {
            Ok(appended) => State::Waiting {
                last_offset: appended.last_offset,
                outcome: Outcome {
                    refusal: None,
                    base_offset: appended.base_offset,
                    log_append_time: appended.log_append_time,
                    log_start_offset: appended.log_start_offset,
                },
                partition,
            },
            Err(error) => {
                let refusal = codes::append(&error);
                // Kafka tells the log start where the records were looked at, and not where they were not.
                let log_start_offset = if refusal.judged { partition.log_start_offset() } else { -1 };
                State::Done(Outcome { log_start_offset, ..Outcome::refused(refusal) })
            }
        }
    }
}

impl Work {
    async fn finish(mut self, cx: &Cx) -> Answer<ProduceResponse> {
        for slot in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            slot.settle(self.acks, self.deadline).await;
        }
        if self.acks == 0 {
            return self.close_on_error();
        }
        Answer::Send(self.response(cx))
    }

    /// Without acknowledgements the only way to tell of an error is to close the connection: the client then looks up
    /// its leaders again.
    fn close_on_error(&self) -> Answer<ProduceResponse> {
        let slots = self.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |slot| (topic, slot)));
        let failed = slots.filter_map(|(topic, slot)| Some((topic, slot, slot.outcome().refusal.as_ref()?)));
        match failed.into_iter().next() {
            None => Answer::Silent,
            Some((topic, slot, refusal)) => {
                let (name, index) = (&topic.name, slot.index);
                Answer::Close(format!("produce with acks=0 to {name}-{index} failed: {}", refusal.code))
            }
        }
    }

    fn response(self, cx: &Cx) -> ProduceResponse {
        let mut response = ProduceResponse::default();
        let mut hints = Hints { cx, image: None, nodes: Vec::new() };
        for topic in self.topics {
            let mut out = TopicProduceResponse::default();
            out.partition_responses = Vec::with_capacity(topic.partitions.len());
            for slot in &topic.partitions {
                let mut partition = slot.response(cx.version());
                if partition.error_code == ErrorCode::NotLeaderOrFollower.code() {
                    hints.give(&topic, &mut partition);
                }
                out.partition_responses.push(partition);
            }
            out.topic_id = uuid::Uuid::from_bytes(topic.id);
            out.name = TopicName(topic.name.into());
            response.responses.push(out);
        }
        response.node_endpoints = hints.nodes;
        response
    }
}

impl Slot {
    /// Waits until the records are committed, or it is clear that nobody can say.
    async fn settle(&mut self, acks: i16, deadline: Instant) {
        let State::Waiting { partition, outcome, last_offset } = &mut self.state else {
            return;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let fate = match acks {
            ALL => partition.committed(*last_offset, left).await,
            // Without acknowledgements too: until then the request's memory is accounted for.
            _ => partition.written(*last_offset, left).await,
        };
        if let Err(error) = fate {
            outcome.refusal = Some(Refusal::plain(codes::commit(&error)));
            outcome.base_offset = -1;
            outcome.log_append_time = -1;
        }
    }

    fn outcome(&self) -> &Outcome {
        match &self.state {
            State::Done(outcome) | State::Waiting { outcome, .. } => outcome,
        }
    }

    fn response(&self, version: i16) -> PartitionProduceResponse {
        let outcome = self.outcome();
        let mut out = PartitionProduceResponse::default();
        out.index = self.index;
        out.base_offset = outcome.base_offset;
        out.log_append_time_ms = outcome.log_append_time;
        out.log_start_offset = outcome.log_start_offset;
        let Some(refusal) = &outcome.refusal else {
            return out;
        };
        out.error_code = refusal.code.code();
        if version >= RECORD_ERRORS {
            out.error_message = refusal.message.as_deref().map(text);
            out.record_errors = refusal.records.iter().map(record_error).collect();
        }
        out
    }
}

fn record_error((index, message): &(i32, &'static str)) -> BatchIndexAndErrorMessage {
    let mut out = BatchIndexAndErrorMessage::default();
    out.batch_index = *index;
    out.batch_index_error_message = Some((*message).into());
    out
}

/// Tells clients where the leader is that they missed.
struct Hints<'a> {
    cx: &'a Cx,
    image: Option<Arc<Image>>,
    nodes: Vec<NodeEndpoint>,
}

impl Hints<'_> {
    fn give(&mut self, topic: &Topic, partition: &mut PartitionProduceResponse) {
        if self.cx.version() < LEADER_HINTS {
            return;
        }
        let image = self.image.get_or_insert_with(|| self.cx.broker.image());
        let known = match topic.name.is_empty() {
            false => image.topic(&topic.name),
            true => image.topic_by_id(&TopicId(topic.id)),
        };
        let Some(current) = known.and_then(|topic| topic.partition(partition.index)) else {
            return;
        };
        partition.current_leader.leader_id = BrokerId(current.leader);
        partition.current_leader.leader_epoch = current.leader_epoch;
        if self.nodes.iter().any(|node| node.node_id.0 == current.leader) {
            return;
        }
        if let Some(node) = nodes::live_one(self.cx, image, current.leader) {
            let mut endpoint = NodeEndpoint::default();
            endpoint.node_id = BrokerId(node.id);
            endpoint.host = node.host.into();
            endpoint.port = node.port;
            endpoint.rack = node.rack.map(Into::into);
            self.nodes.push(endpoint);
        }
    }
}

/// Answers every partition of the request with the error.
pub fn refuse(request: &ProduceRequest, version: i16, error: ErrorCode) -> ProduceResponse {
    let mut response = ProduceResponse::default();
    for topic in &request.topics {
        let mut out = TopicProduceResponse::default();
        out.name = topic_name(&topic.name);
        out.topic_id = uuid::Uuid::from_bytes(topic.topic_id);
        let slots = topic.partitions.iter().map(|p| Slot { index: p.index, state: error.into() });
        out.partition_responses = slots.map(|slot| slot.response(version)).collect();
        response.responses.push(out);
    }
    response
}
