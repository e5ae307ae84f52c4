//! Members that do anything at any time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::reload::{reload, view};
use super::*;

/// Members that take part, by their place.
const CLIENTS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Join { client: usize, protocols: usize },
    Sync(usize),
    Heartbeat(usize),
    Commit(usize),
    Leave(usize),
    Pass(i64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        4 => (client.clone(), 0usize..3).prop_map(|(client, protocols)| Step::Join { client, protocols }),
        4 => client.clone().prop_map(Step::Sync),
        2 => client.clone().prop_map(Step::Heartbeat),
        3 => client.clone().prop_map(Step::Commit),
        1 => client.prop_map(Step::Leave),
        4 => prop_oneof![0i64..200, 2_000i64..12_000, 50_000i64..70_000].prop_map(Step::Pass),
        1 => Just(Step::Expire),
    ]
}

/// A client as the protocol has it: it knows what it was told.
#[derive(Debug, Default, Clone)]
struct Client {
    member_id: String,
    generation: i32,
    is_leader: bool,
    members: Vec<String>,
    waiting_joins: BTreeSet<u32>,
    waiting_syncs: BTreeSet<u32>,
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    /// For each generation: who leads it, and what was assigned in it.
    leaders: BTreeMap<i32, String>,
    assigned: BTreeMap<(i32, String), Bytes>,
    next_offset: i64,
    last_committed: i64,
    answered: BTreeSet<u32>,
}

impl World {
    fn new() -> World {
        World {
            bench: Bench::new(),
            clients: vec![Client::default(); CLIENTS],
            leaders: BTreeMap::new(),
            assigned: BTreeMap::new(),
            next_offset: 0,
            last_committed: -1,
            answered: BTreeSet::new(),
        }
    }

    /// Even ones are static; the first two speak an old version.
    fn request(&self, client: usize, choice: usize) -> Join {
        let names: &[&str] = [&["a", "b"][..], &["b", "a"], &["b"]][choice];
        let request = Join { protocols: protocols(names), ..join(&self.clients[client].member_id) };
        Join {
            instance_id: client.is_multiple_of(2).then(|| format!("i{client}")),
            require_known_member_id: client > 1,
            supports_skipping_assignment: client > 1,
            rebalance_timeout_ms: 20_000 + 10_000 * client as i32,
            ..request
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join { client, protocols } => {
                let request = self.request(client, protocols);
                let number = self.bench.join(request);
                self.clients[client].waiting_joins.insert(number);
            }
            Step::Sync(client) => self.sync(client),
            Step::Heartbeat(client) => {
                let Client { member_id, generation, .. } = self.clients[client].clone();
                let error = self.bench.heartbeat(&member_id, generation);
                if matches!(error, ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) {
                    self.forget(client);
                }
            }
            Step::Commit(client) => self.commit(client),
            Step::Leave(client) => {
                let id = self.clients[client].member_id.clone();
                self.bench.leave(&id, None);
                self.forget(client);
            }
            Step::Pass(ms) => self.bench.pass(ms),
            Step::Expire => self.bench.expire(),
        }
        self.take_answers();
        if self.bench.state() == "Dead" {
            // Forgotten with all it had: the next group of the name counts from the beginning.
            self.leaders.clear();
            self.assigned.clear();
            self.last_committed = -1;
        }
    }

    /// The client gives up what it knows; what it waits for is still to be answered.
    fn forget(&mut self, client: usize) {
        let kept = std::mem::take(&mut self.clients[client]);
        self.clients[client].waiting_joins = kept.waiting_joins;
        self.clients[client].waiting_syncs = kept.waiting_syncs;
    }

    fn sync(&mut self, client: usize) {
        let Client { member_id, generation, is_leader, members, .. } = self.clients[client].clone();
        let mut request = sync(&member_id, generation);
        if is_leader {
            let to = |id: &String| (id.clone(), Bytes::from(format!("{generation} {id} by {member_id}")));
            request.assignments = members.iter().map(to).collect();
        } else {
            // Nobody but the leader assigns.
            request.assignments = vec![(member_id.clone(), Bytes::from_static(b"forged"))];
        }
        let number = self.bench.sync(request);
        self.clients[client].waiting_syncs.insert(number);
    }

    fn commit(&mut self, client: usize) {
        let Client { member_id, generation, .. } = self.clients[client].clone();
        self.next_offset += 1;
        let offset = self.next_offset;
        let error = self.bench.commit(commit(&member_id, if member_id.is_empty() { -1 } else { generation }, offset));
        let known = self.bench.shard.describe("g").is_some();
        if error == ErrorCode::None {
            assert!(known);
            self.last_committed = offset;
        }
        assert_eq!(self.bench.committed("t"), self.last_committed);
    }

    fn take_answers(&mut self) {
        for (number, answer, _) in std::mem::take(&mut self.bench.joins) {
            assert!(self.answered.insert(number), "answered twice");
            let client = self.clients.iter().position(|c| c.waiting_joins.contains(&number)).unwrap();
            self.clients[client].waiting_joins.remove(&number);
            self.joined(client, answer);
        }
        for (number, answer, _) in std::mem::take(&mut self.bench.syncs) {
            assert!(self.answered.insert(number), "answered twice");
            let client = self.clients.iter().position(|c| c.waiting_syncs.contains(&number)).unwrap();
            self.clients[client].waiting_syncs.remove(&number);
            if answer.error == ErrorCode::None && !answer.assignment.is_empty() {
                self.check_assignment(answer.assignment);
            }
        }
    }

    fn joined(&mut self, client: usize, answer: JoinAnswer) {
        match answer.error {
            ErrorCode::None => {
                let is_leader = answer.leader == answer.member_id;
                if is_leader && !answer.skip_assignment {
                    // One leader for a generation, unless a static one came back under a new id.
                    let before = self.leaders.insert(answer.generation, answer.member_id.clone());
                    assert!(before.is_none_or(|id| id == answer.member_id || id.starts_with('i')));
                    assert!(answer.members.iter().any(|m| m.member_id == answer.member_id));
                }
                let known = &mut self.clients[client];
                known.member_id = answer.member_id;
                known.generation = answer.generation;
                known.is_leader = is_leader && !answer.skip_assignment;
                known.members = answer.members.into_iter().map(|m| m.member_id).collect();
            }
            ErrorCode::MemberIdRequired => self.clients[client].member_id = answer.member_id,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => self.forget(client),
            ErrorCode::RebalanceInProgress | ErrorCode::InconsistentGroupProtocol => {}
            other => panic!("unexpected answer {other}"),
        }
    }

    /// An assignment comes from the leader of its generation, and is the same for all time.
    fn check_assignment(&mut self, assignment: Bytes) {
        let text = String::from_utf8(assignment.to_vec()).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let [generation, member, "by", _] = words[..] else { panic!("{text}") };
        let key = (generation.parse().unwrap(), member.to_owned());
        assert!(self.leaders.contains_key(&key.0));
        let before = self.assigned.insert(key, assignment.clone());
        assert!(before.is_none_or(|before| before == assignment));
    }

    /// In the end nobody is left waiting, nothing is left behind.
    fn wind_down(&mut self) {
        self.step(Step::Pass(2_000_000));
        for client in &self.clients {
            assert!(client.waiting_joins.is_empty(), "{client:?} in {}", self.bench.state());
            assert!(client.waiting_syncs.is_empty(), "{client:?} in {}", self.bench.state());
        }
        assert!(matches!(self.bench.state(), "Empty" | "Dead"));
        assert_eq!(self.bench.shard.next_due(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_requests_and_deadlines(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        let mut generation = 0;
        for step in steps {
            world.step(step);
            let stored = reload(&world.bench.log, world.bench.now_ms);
            let snapshot: Vec<(Bytes, Option<Bytes>)> = world.bench.shard.snapshot().iter()
                .map(|(key, value)| (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)))
                .collect();
            // What is stored, what would be rewritten and what is in memory agree.
            prop_assert_eq!(view(&stored), view(&reload(&snapshot, world.bench.now_ms)));
            prop_assert_eq!(stored.live_bytes(), world.bench.shard.live_bytes());
            if world.bench.state() == "Stable" {
                prop_assert_eq!(view(&stored), view(&world.bench.shard));
            }
            let now = world.leaders.keys().next_back().copied().unwrap_or(0);
            prop_assert!(now >= generation || now == 0);
            generation = now;
        }
        world.wind_down();
    }
}
