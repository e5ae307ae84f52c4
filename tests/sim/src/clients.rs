//! Producers and consumers: they see the metadata of some broker, which may be old, and try again as clients do.

use bytes::BytesMut;
use millrace_groups::{TOPIC, java_string_hash};
use millrace_log::batch::HeaderFields;
use millrace_log::record::{Record, put_record};
use millrace_metadata::NodeId;
use rand::Rng;

use crate::calls::{Purpose, Refusal, Request, Response, Tp};
use crate::check::Violation;
use crate::groups::Ask;
use crate::net::Addr;
use crate::world::{Event, World};

const TIMEOUT_US: u64 = 1_500_000;
const BACKOFF_US: u64 = 60_000;
/// Marks the values of idempotent producers.
const IDEMPOTENT: u64 = 1 << 63;

/// Whether an idempotent producer made this value.
pub fn is_idempotent(value: u64) -> bool {
    value & IDEMPOTENT != 0
}

/// Works on one partition of a topic, which it knows by name.
pub struct Client {
    pub topic: String,
    pub partition: i32,
    leader: Option<(NodeId, Tp)>,
    busy: bool,
    pub work: Work,
}

pub enum Work {
    Produce(Producer),
    Consume { position: i64 },
    Group(Committer),
}

/// Commits growing offsets for a group, and looks at them. A commit whose fate is unknown may still arrive at any time,
/// so that the group gets no more of them, and the next one is used.
pub struct Committer {
    number: usize,
    group: usize,
    asked: Ask,
    /// What was known when the fetch under way began.
    floor: i64,
}

impl Committer {
    fn name(&self, group: usize) -> String {
        format!("group-{}-{group}", self.number)
    }
}

#[derive(Default)]
pub struct Producer {
    idempotent: bool,
    /// −1 or 1; nothing is said of what one replica has.
    acks: i16,
    /// Number of the producer, and how many records it made.
    number: u64,
    made: u64,
    /// Id, changed when its sequence does not fit any more, and the next sequence.
    id: i64,
    sequence: i32,
    /// What is under way, and the topic's incarnation that it was first sent to.
    sending: Vec<u64>,
    first_sent_to: Option<Tp>,
}

impl Client {
    pub fn producer(number: u64, (topic, partition): (String, i32), idempotent: bool) -> Client {
        let id = number as i64 * 1_000;
        let acks = if !idempotent && number.is_multiple_of(3) { 1 } else { -1 };
        let producer = Producer { idempotent, acks, number, id, ..Producer::default() };
        Client { topic, partition, leader: None, busy: false, work: Work::Produce(producer) }
    }

    fn committer(number: usize) -> Client {
        let asked = Ask { group: String::new(), commit: None };
        let work = Work::Group(Committer { number, group: 0, asked, floor: 0 });
        Client { topic: TOPIC.to_owned(), partition: 0, leader: None, busy: false, work }
    }

    pub fn consumer((topic, partition): (String, i32)) -> Client {
        Client { topic, partition, leader: None, busy: false, work: Work::Consume { position: 0 } }
    }
}

impl Producer {
    fn fill(&mut self, records: u64) {
        if self.sending.is_empty() {
            let mark = if self.idempotent { IDEMPOTENT } else { 0 };
            self.sending = (0..records).map(|i| mark | self.number << 32 | (self.made + i)).collect();
            self.made += records;
            self.first_sent_to = None;
        }
    }

    fn batch(&self, now_ms: i64) -> BytesMut {
        let mut payload = Vec::new();
        for (i, value) in self.sending.iter().enumerate() {
            let value = value.to_be_bytes();
            let record = Record { timestamp_delta: 0, offset_delta: i as i32, key: None, value: Some(&value) };
            put_record(&mut payload, record, &[]);
        }
        let plain = HeaderFields::plain(self.sending.len() as i32, now_ms);
        let fields = match self.idempotent {
            true => HeaderFields { producer_id: self.id, producer_epoch: 0, base_sequence: self.sequence, ..plain },
            false => plain,
        };
        fields.batch(&payload)
    }

    /// The batch is done with, as far as its producer is concerned.
    fn done(&mut self) {
        self.sequence += self.sending.len() as i32;
        self.sending.clear();
    }

    /// What became of the batch is not known, and it is not sent again.
    fn give_up(&mut self) {
        self.sending.clear();
        self.sequence = 0;
        self.id += 1;
    }
}

impl World {
    pub fn add_clients(&mut self) {
        let mut places: Vec<(String, i32)> = Vec::new();
        for topic in self.plan.topics.iter().filter(|t| t.name != TOPIC) {
            places.extend((0..topic.partitions).map(|p| (topic.name.clone(), p)));
        }
        for number in 0..self.plan.producers {
            let place = places[number % places.len()].clone();
            let idempotent = self.rng.random_bool(0.6);
            self.clients.push(Client::producer(number as u64 + 1, place, idempotent));
        }
        for _ in 0..self.plan.consumers {
            let place = places[self.rng.random_range(0..places.len())].clone();
            self.clients.push(Client::consumer(place));
        }
        for number in 0..self.plan.groups {
            self.clients.push(Client::committer(number));
        }
        for client in 0..self.clients.len() {
            self.after(20_000, Event::Client(client));
        }
    }

    /// Asks some broker who leads the partition.
    fn find_leader(&mut self, client: usize) {
        let id = self.rng.random_range(0..self.nodes.len());
        let Client { topic, partition, .. } = &self.clients[client];
        let found = self.nodes[id].process.as_ref().and_then(|process| {
            let topic = process.image.topic(topic)?;
            let leader = topic.partition(*partition)?.leader;
            (leader > 0).then_some((leader, (topic.id, *partition)))
        });
        self.clients[client].leader = found;
    }

    pub fn client_turn(&mut self, client: usize) {
        if self.clients[client].busy || !self.working {
            return;
        }
        let group = self.choose_group(client);
        if group.is_some() || self.clients[client].leader.is_none() {
            self.find_leader(client);
        }
        let Some((leader, tp)) = self.clients[client].leader else {
            self.after(BACKOFF_US, Event::Client(client));
            return;
        };
        let records = self.rng.random_range(1..=3);
        let now_ms = self.now_ms();
        // Some consumers read from whoever is near, and now and then an administrator deletes old records.
        let (anywhere, trim) = (self.rng.random_bool(0.2), self.rng.random_bool(0.01));
        let leader = if anywhere { self.rng.random_range(1..=self.plan.brokers) } else { leader };
        let request = match &mut self.clients[client].work {
            Work::Produce(producer) => {
                if producer.first_sent_to.is_some_and(|first| first != tp) {
                    producer.give_up();
                }
                producer.fill(records);
                producer.first_sent_to = Some(tp);
                let batch = producer.batch(now_ms);
                Request::Produce { tp, acks: producer.acks, batch }
            }
            Work::Consume { .. } if trim => {
                let offset = self.rng.random_range(0..30);
                Request::Trim { tp, offset }
            }
            Work::Consume { position } => Request::Consume { tp, offset: *position, anywhere },
            Work::Group(committer) => {
                if committer.asked.commit.is_some() {
                    committer.asked.commit = Some(self.known.send(&committer.asked.group));
                }
                committer.floor = self.known.floor(&committer.asked.group);
                Request::Group(committer.asked.clone())
            }
        };
        self.clients[client].busy = true;
        self.call((Addr::Client(client), Addr::Node(leader)), request, Purpose::Client, TIMEOUT_US);
    }

    pub fn client_returned(&mut self, at: usize, response: Option<Response>) -> Result<(), Violation> {
        self.clients[at].busy = false;
        let Some((_, tp)) = self.clients[at].leader else {
            return Ok(());
        };
        let pause = match response {
            Some(Response::Produced(result)) => self.produced(at, tp, result)?,
            Some(Response::Consumed(result)) => self.consumed(at, tp, result)?,
            Some(Response::Trimmed) => self.again(at),
            Some(Response::Group { stale, result }) => self.group_answered(at, stale, result)?,
            _ => self.unknown(at),
        };
        self.after(pause, Event::Client(at));
        Ok(())
    }

    /// After an answer other than success: look for the leader again.
    fn again(&mut self, at: usize) -> u64 {
        self.clients[at].leader = None;
        BACKOFF_US
    }

    fn unknown(&mut self, at: usize) -> u64 {
        match &mut self.clients[at].work {
            Work::Produce(producer) if !producer.idempotent => producer.sending.clear(),
            Work::Group(committer) if committer.asked.commit.is_some() => committer.group += 1,
            Work::Produce(_) | Work::Consume { .. } | Work::Group(_) => {}
        }
        self.again(at)
    }

    /// A group client decides what to ask next, and thereby which partition of the offsets topic to turn to.
    fn choose_group(&mut self, client: usize) -> Option<()> {
        let partitions = self.plan.topics.last().map_or(1, |t| t.partitions);
        let Work::Group(committer) = &mut self.clients[client].work else {
            return None;
        };
        let commit = self.rng.random_bool(0.6);
        let group = if commit { committer.group } else { self.rng.random_range(0..=committer.group) };
        let group = committer.name(group);
        let partition = (java_string_hash(&group) & i32::MAX) % partitions;
        committer.asked = Ask { group, commit: commit.then_some(0) };
        self.clients[client].partition = partition;
        Some(())
    }

    fn group_answered(&mut self, at: usize, stale: bool, result: Result<i64, Refusal>) -> Result<u64, Violation> {
        let pause = self.rng.random_range(10_000..150_000);
        let Work::Group(committer) = &self.clients[at].work else {
            return Ok(pause);
        };
        let group = &committer.asked.group;
        match (result, committer.asked.commit) {
            (Ok(_), Some(offset)) => self.known.acknowledged(group, offset),
            (Ok(_), None) if stale => {}
            (Ok(offset), None) => self.known.shown(group, committer.floor, offset)?,
            (Err(_), _) => return Ok(self.again(at)),
        }
        Ok(pause)
    }

    fn produced(&mut self, at: usize, tp: Tp, result: Result<i64, Refusal>) -> Result<u64, Violation> {
        let pause = self.rng.random_range(10_000..150_000);
        let Work::Produce(producer) = &mut self.clients[at].work else {
            return Ok(pause);
        };
        match result {
            Ok(base) => {
                if producer.acks == -1 {
                    self.check.acknowledged(tp, base, &producer.sending)?;
                }
                producer.done();
                Ok(pause)
            }
            Err(Refusal::Unknown) => Ok(self.unknown(at)),
            Err(Refusal::Sequence) => {
                let text = format!("producer {} at sequence {}: {tp:?}", producer.number, producer.sequence);
                producer.give_up();
                if !self.check.is_lenient(&tp) {
                    return Err(Violation::new("an idempotent producer's sequence always fits", text));
                }
                Ok(self.again(at))
            }
            Err(Refusal::Retry | Refusal::OutOfRange(_)) => Ok(self.again(at)),
        }
    }

    fn consumed(
        &mut self,
        at: usize,
        tp: Tp,
        result: Result<Vec<(i64, crate::calls::Rec)>, Refusal>,
    ) -> Result<u64, Violation> {
        let pause = self.rng.random_range(20_000..200_000);
        let again = self.rng.random_bool(0.05);
        let Work::Consume { position } = &mut self.clients[at].work else {
            return Ok(pause);
        };
        match result {
            Ok(records) => {
                self.check.consumed(tp, &records)?;
                if let Some((last, _)) = records.last() {
                    *position = last + 1;
                }
                if again {
                    *position = 0;
                }
                Ok(pause)
            }
            Err(Refusal::OutOfRange(log_start)) => {
                // Records were deleted, the topic is another one of the same name, or it lost its end in an unclean
                // election.
                *position = log_start;
                Ok(self.again(at))
            }
            Err(_) => Ok(self.again(at)),
        }
    }
}
