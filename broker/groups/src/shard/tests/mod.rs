//! The state machine: inputs and what comes of them.

mod classic;
mod offsets;
mod random;
mod reload;
mod static_members;

use std::sync::Arc;

use bytes::Bytes;
use millrace_metadata::{ErrorCode, TopicId};

use super::*;
use crate::effects::Release;
use crate::types::*;

/// Requests are numbered; a number is the waiter.
pub struct Numbered;

impl Waiters for Numbered {
    type Join = u32;
    type Sync = u32;
}

/// A shard with its clock, the log that it wrote, and the answers that came out and were not looked at yet.
pub struct Bench {
    pub shard: Shard<Numbered>,
    pub now_ms: i64,
    pub log: Vec<(Bytes, Option<Bytes>)>,
    pub joins: Vec<(u32, JoinAnswer, Release)>,
    pub syncs: Vec<(u32, SyncAnswer, Release)>,
    next: u32,
}

pub fn settings() -> GroupSettings {
    GroupSettings { initial_rebalance_delay_ms: 3_000, ..GroupSettings::default() }
}

/// The time of day has nothing to do with deadlines: it is far from the steady clock, and moves with it here.
pub fn at(ms: i64) -> Now {
    Now { wall_ms: ms, steady_ms: ms - 900_000 }
}

/// Ids that count up.
pub fn counting_uuids() -> UuidSource {
    let mut count = 0u128;
    Box::new(move || {
        count += 1;
        count.to_be_bytes()
    })
}

pub fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 0];
    out.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

pub fn protocols(names: &[&str]) -> Vec<Protocol> {
    let of = |name: &&str| Protocol { name: (*name).into(), metadata: subscription(&["t"]) };
    names.iter().map(of).collect()
}

/// A JoinGroup of a consumer, from a client before version 4 so that no second request is needed.
pub fn join(member: &str) -> Join {
    Join {
        group_id: "g".into(),
        member_id: member.into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: protocols(&["range"]),
        reason: None,
        require_known_member_id: false,
        supports_skipping_assignment: true,
    }
}

pub fn static_join(member: &str, instance: &str) -> Join {
    Join { instance_id: Some(instance.into()), ..join(member) }
}

pub fn sync(member: &str, generation: i32) -> Sync {
    Sync {
        group_id: "g".into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }
}

pub fn commit(member: &str, generation: i32, offset: i64) -> Commit {
    Commit {
        group_id: "g".into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        retention_ms: None,
        missing_group: ErrorCode::IllegalGeneration,
        topics: vec![CommitTopic {
            name: "t".into(),
            id: TopicId::ZERO,
            partitions: vec![CommitPartition { index: 0, offset, leader_epoch: 1, metadata: "m".into() }],
        }],
    }
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(settings())
    }

    pub fn with(settings: GroupSettings) -> Bench {
        Bench {
            shard: Shard::new(Arc::new(settings), counting_uuids()),
            now_ms: 1_000_000,
            log: Vec::new(),
            joins: Vec::new(),
            syncs: Vec::new(),
            next: 0,
        }
    }

    pub fn collect<R>(&mut self, transition: impl FnOnce(&mut Shard<Numbered>, Now, &mut Effects<Numbered>) -> R) -> R {
        let mut out = Effects::default();
        let result = transition(&mut self.shard, at(self.now_ms), &mut out);
        for (key, value) in out.records.iter() {
            self.log.push((Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)));
        }
        self.joins.append(&mut out.joins);
        self.syncs.append(&mut out.syncs);
        assert_eq!(self.shard.live_bytes(), self.shard.counted_live_bytes());
        result
    }

    /// Sends a JoinGroup; returns its number.
    pub fn join(&mut self, join: Join) -> u32 {
        self.next += 1;
        let number = self.next;
        self.collect(|shard, now, out| shard.join(join, number, now, out));
        number
    }

    pub fn sync(&mut self, sync: Sync) -> u32 {
        self.next += 1;
        let number = self.next;
        self.collect(|shard, now, out| shard.sync(sync, number, now, out));
        number
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let beat = Heartbeat { group_id: "g".into(), generation, member_id: member.into(), instance_id: None };
        let result = self.collect(|shard, now, out| shard.heartbeat(&beat, now, out));
        result.err().unwrap_or(ErrorCode::None)
    }

    pub fn leave(&mut self, member: &str, instance: Option<&str>) -> ErrorCode {
        let leaver = Leaver { member_id: member.into(), instance_id: instance.map(str::to_owned), reason: None };
        let result = self.collect(|shard, now, out| shard.leave("g", vec![leaver], now, out));
        result.unwrap()[0].error
    }

    /// The error of the request, or of its only partition.
    pub fn commit(&mut self, commit: Commit) -> ErrorCode {
        let result = self.collect(|shard, now, out| shard.commit(commit, now, out));
        result.map_or_else(|error| error, |topics| topics[0].partitions[0].1)
    }

    pub fn committed(&self, topic: &str) -> i64 {
        let topics = vec![FetchTopic { name: topic.into(), id: TopicId::ZERO, partitions: vec![0] }];
        self.shard.fetch(&Fetch { group_id: "g".into(), topics: Some(topics) })[0].partitions[0].offset
    }

    /// Lets time pass, with everything that falls due on the way.
    pub fn pass(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        let until = at(end).steady_ms;
        while let Some(due) = self.shard.next_due().filter(|due| *due <= until) {
            self.now_ms += (due - at(self.now_ms).steady_ms).max(0);
            self.collect(|shard, now, out| shard.tick(now, out));
        }
        self.now_ms = end;
    }

    pub fn expire(&mut self) {
        self.collect(|shard, now, out| shard.expire(now, out));
    }

    /// The answer to a JoinGroup; None while it waits.
    pub fn join_answer(&mut self, number: u32) -> Option<JoinAnswer> {
        let at = self.joins.iter().position(|(n, ..)| *n == number)?;
        Some(self.joins.remove(at).1)
    }

    pub fn sync_answer(&mut self, number: u32) -> Option<SyncAnswer> {
        let at = self.syncs.iter().position(|(n, ..)| *n == number)?;
        Some(self.syncs.remove(at).1)
    }

    pub fn state(&self) -> &'static str {
        self.shard.describe("g").map_or("Dead", |group| group.state)
    }

    /// A stable group of `members` members; their ids, the leader first.
    pub fn stable(&mut self, members: usize) -> Vec<String> {
        let numbers: Vec<u32> = (0..members).map(|_| self.join(join(""))).collect();
        self.pass(6_000);
        let answers: Vec<JoinAnswer> = numbers.into_iter().map(|n| self.join_answer(n).unwrap()).collect();
        let leader = answers[0].leader.clone();
        let mut ids: Vec<String> = answers.iter().map(|a| a.member_id.clone()).collect();
        ids.sort_by_key(|id| *id != leader);
        self.sync_all(&ids, answers[0].generation);
        ids
    }

    /// Everybody asks for the assignment, the leader (the first) last.
    pub fn sync_all(&mut self, ids: &[String], generation: i32) {
        let assignments = ids.iter().map(|id| (id.clone(), Bytes::from(format!("to {id}")))).collect();
        let mut numbers = Vec::new();
        for id in &ids[1..] {
            numbers.push((id, self.sync(sync(id, generation))));
        }
        let lead = Sync { assignments, ..sync(&ids[0], generation) };
        numbers.push((&ids[0], self.sync(lead)));
        for (id, number) in numbers {
            let answer = self.sync_answer(number).unwrap();
            assert_eq!((answer.error, answer.assignment), (ErrorCode::None, Bytes::from(format!("to {id}"))));
        }
        assert_eq!(self.state(), "Stable");
    }
}
