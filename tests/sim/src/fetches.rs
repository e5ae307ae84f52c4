//! Followers fetch, leaders answer, with fetch sessions (KIP-227): what was not named again is as it was.

use std::collections::BTreeMap;

use millrace_metadata::{ErrorCode, NodeId};
use millrace_replica::{
    FetchSpec, PartitionError, ReadError, Reader, ReplicaFetch, ReplicaFetchPartition, ReplicaFetched,
    ReplicaFetchedPartition,
};

use crate::calls::{CallId, Purpose, Request, Response, SessionId, Tp};
use crate::check::Violation;
use crate::mutation::Mutation;
use crate::net::Addr;
use crate::node::{Parked, Phase, Process};
use crate::replication::spec;
use crate::world::World;

/// A fetch waits so long for more, and its caller a bit longer for the answer.
const FETCH_WAIT_US: u64 = 300_000;
const FETCH_TIMEOUT_US: u64 = 1_000_000;

/// What a leader remembers of a follower's fetches.
#[derive(Debug, Default)]
pub struct Session {
    id: CallId,
    answers: u32,
    partitions: BTreeMap<Tp, Asked>,
}

#[derive(Debug)]
struct Asked {
    place: ReplicaFetchPartition,
    /// High watermark and log start as they were last told.
    told: (i64, i64),
}

impl Session {
    fn take_in(&mut self, fetch: ReplicaFetch) {
        for key in fetch.forgotten {
            self.partitions.remove(&key);
        }
        for place in fetch.partitions {
            let told = (-1, -1);
            self.partitions.insert((place.topic_id, place.index), Asked { place, told });
        }
    }
}

impl World {
    /// A follower's fetch arrives.
    pub fn begin_fetch(
        &mut self,
        id: NodeId,
        call: CallId,
        (fetch, broker_epoch): (ReplicaFetch, i64),
        (fetcher, known): (usize, Option<SessionId>),
    ) {
        let Some(Addr::Node(follower)) = self.calls.get(&call).map(|c| c.from) else {
            // Whoever asked has given up.
            return;
        };
        let until = self.now + FETCH_WAIT_US;
        let Some(process) = &mut self.node(id).process else {
            return;
        };
        // What the follower asked before is given up with this request.
        process.parked.retain(|p| (p.follower, p.fetcher) != (follower, fetcher));
        match known {
            None => {
                let mut session = Session { id: call, ..Session::default() };
                session.take_in(fetch);
                process.sessions.insert((follower, fetcher), session);
            }
            Some(known) => {
                let found = process.sessions.get_mut(&(follower, fetcher)).filter(|s| (s.id, s.answers) == known);
                let Some(session) = found else {
                    return self.answer(call, Response::NoSession);
                };
                session.take_in(fetch);
            }
        }
        self.serve_fetch(id, Parked { call, follower, broker_epoch, fetcher, until });
    }

    /// Answers a follower, or lets its fetch wait.
    fn serve_fetch(&mut self, id: NodeId, parked: Parked) {
        let (now_ms, late) = (self.now_ms(), self.now >= parked.until);
        if !self.calls.contains_key(&parked.call) {
            return;
        }
        let Some(process) = &mut self.nodes[id as usize - 1].process else {
            return;
        };
        let key = (parked.follower, parked.fetcher);
        let Some(mut session) = process.sessions.remove(&key) else {
            return;
        };
        let mut fetched = ReplicaFetched::default();
        let mut urgent = false;
        for asked in session.partitions.values_mut() {
            let answer = read(process, &asked.place, (parked.follower, parked.broker_epoch, now_ms));
            let idle = answer.error == ErrorCode::None && answer.diverging.is_none() && answer.records.is_empty();
            urgent |= !idle;
            if !idle || asked.told != (answer.high_watermark, answer.log_start) {
                fetched.partitions.push(answer);
            }
        }
        if late || urgent {
            for answer in &fetched.partitions {
                if let Some(asked) = session.partitions.get_mut(&(answer.topic_id, answer.index)) {
                    asked.told = (answer.high_watermark, answer.log_start);
                }
            }
            session.answers += 1;
            let response = Response::Fetched { fetched, session: (session.id, session.answers) };
            process.sessions.insert(key, session);
            return self.answer(parked.call, response);
        }
        process.sessions.insert(key, session);
        process.parked.push(parked);
    }

    pub fn settle_parked(&mut self, id: NodeId) {
        let Some(process) = &mut self.node(id).process else {
            return;
        };
        for parked in std::mem::take(&mut process.parked) {
            self.serve_fetch(id, parked);
        }
    }

    /// Every fetcher that has nothing under way and may ask, asks.
    pub fn fetch(&mut self, id: NodeId) {
        let (now_ms, incremental) = (self.now_ms(), self.plan.sessions);
        let Some(process) = &self.node(id).process else {
            return;
        };
        let Phase::Registered(broker_epoch) = process.phase else {
            return;
        };
        let mut wanted = Vec::new();
        for fetcher in process.manager.fetchers().all() {
            let key = (fetcher.leader(), fetcher.id());
            let session = process.own_sessions.get(&key).copied().filter(|_| incremental);
            if !process.fetches.contains_key(&key)
                && let Some(fetch) = fetcher.request(now_ms, session.is_none())
            {
                wanted.push((key, fetch, session));
            }
        }
        for (key, mut fetch, session) in wanted {
            if self.mutation == Some(Mutation::NoEpochs) {
                fetch.partitions.iter_mut().for_each(|p| p.last_fetched_epoch = -1);
            }
            let (leader, fetcher) = key;
            if self.trace.is_wanted() {
                let places: Vec<_> =
                    fetch.partitions.iter().map(|p| (p.topic_id, p.index, p.offset, p.leader_epoch)).collect();
                let now = self.now;
                self.trace.note(
                    now,
                    format_args!("broker {id} fetches from {leader}: {places:?} forgets {:?}", fetch.forgotten),
                );
            }
            let request = Request::Fetch { fetch, broker_epoch, fetcher, session };
            let purpose = Purpose::Fetch { leader, fetcher };
            let call = self.call((Addr::Node(id), Addr::Node(leader)), request, purpose, FETCH_TIMEOUT_US);
            if let Some(process) = &mut self.node(id).process {
                process.fetches.insert(key, call);
            }
        }
    }

    pub fn fetched(&mut self, id: NodeId, key: (NodeId, usize), response: Option<Response>) -> Result<(), Violation> {
        let now_ms = self.now_ms();
        if let Some(Response::Fetched { fetched, .. }) = &response
            && self.trace.is_wanted()
        {
            let parts: Vec<_> = fetched.partitions.iter().map(told).collect();
            self.trace.note(self.now, format_args!("broker {id} is told by {}: {parts:?}", key.0));
        }
        let Some(process) = &mut self.node(id).process else {
            return Ok(());
        };
        process.fetches.remove(&key);
        process.own_sessions.remove(&key);
        let fetchers = process.manager.fetchers().all();
        let Some(fetcher) = fetchers.iter().find(|f| (f.leader(), f.id()) == key) else {
            return Ok(());
        };
        match response {
            Some(Response::Fetched { fetched, session }) => {
                process.own_sessions.insert(key, session);
                fetcher.response(now_ms, fetched);
            }
            _ => fetcher.failed(now_ms),
        }
        if self.mutation == Some(Mutation::CountsUnsynced) {
            self.claim_unsynced(id, key.0);
        }
        self.schedule_sync(id);
        self.touch(id);
        Ok(())
    }
}

/// What an answer says, without the records themselves.
fn told(p: &ReplicaFetchedPartition) -> (millrace_metadata::TopicId, i32, ErrorCode, i64, usize, bool) {
    (p.topic_id, p.index, p.error, p.high_watermark, p.records.len(), p.diverging.is_some())
}

fn read(
    process: &Process,
    wanted: &ReplicaFetchPartition,
    (id, broker_epoch, now_ms): (NodeId, i64, i64),
) -> ReplicaFetchedPartition {
    let mut answer = ReplicaFetchedPartition {
        topic_id: wanted.topic_id,
        index: wanted.index,
        error: ErrorCode::None,
        high_watermark: -1,
        log_start: -1,
        diverging: None,
        records: Default::default(),
    };
    let partition = match process.manager.partition_by_id(&wanted.topic_id, wanted.index) {
        Ok(partition) => partition,
        Err(error) => {
            answer.error = partition_code(&error);
            return answer;
        }
    };
    let reader = Reader::Replica { id, broker_epoch, log_start: wanted.log_start, now_ms };
    let spec = FetchSpec {
        max_bytes: wanted.max_bytes,
        current_leader_epoch: wanted.leader_epoch,
        last_fetched_epoch: wanted.last_fetched_epoch,
        ..spec(wanted.offset, reader)
    };
    match partition.read_now(spec) {
        Ok(data) => {
            answer.high_watermark = data.high_watermark;
            answer.log_start = data.log_start_offset;
            answer.diverging = data.diverging;
            answer.records = data.batches.concat().into();
        }
        Err(error) => {
            answer.error = read_code(&error);
            answer.log_start = partition.log_start_offset();
        }
    }
    answer
}

fn partition_code(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown => ErrorCode::UnknownTopicId,
        PartitionError::NotHere => ErrorCode::NotLeaderOrFollower,
        PartitionError::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NotLeader => ErrorCode::NotLeaderOrFollower,
        ReadError::FencedEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownEpoch { .. } | ReadError::UnknownReplica { .. } => ErrorCode::UnknownLeaderEpoch,
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        ReadError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}
