//! Brokers start, register, beat, follow the metadata, stop and die; the controller decides and tells them.

use std::sync::Arc;

use millrace_metadata::command::{DirAssignment, Heartbeat};
use millrace_metadata::{Command, ErrorCode, Image, NodeId, Reply};
use millrace_replica::ReplicationSettings;
use millrace_state::{balance_leaders, elect_unclean, snapshot_records};
use millrace_store::MemoryDisk;
use rand::Rng;

use crate::calls::{Call, CallId, Purpose, Request, Response};
use crate::check::Violation;
use crate::controller::CLUSTER;
use crate::mutation::Mutation;
use crate::net::Addr;
use crate::node::Phase;
use crate::world::{Event, Tick, World};

const BEAT_US: u64 = 300_000;
const CALL_TIMEOUT_US: u64 = 1_000_000;
/// A broken stream makes the controller wait so long for the broker to come back before it fences it.
const GRACE_US: u64 = 200_000;
const DECIDER_US: u64 = 100_000;
const WATCH_US: u64 = 250_000;
const FETCH_BACKOFF_MS: i64 = 200;
/// Controlled shutdown ends with or without the controller's blessing.
const STOP_US: u64 = 2_000_000;

impl World {
    pub fn start_node(&mut self, id: NodeId) {
        if self.node(id).process.is_some() || self.node(id).held_down {
            return;
        }
        let settings = ReplicationSettings {
            lag_time_max_ms: self.plan.replica_lag_ms,
            fetchers_per_leader: self.plan.fetchers,
            fetch_backoff_ms: FETCH_BACKOFF_MS,
            ..ReplicationSettings::default()
        };
        self.node(id).start(settings);
        let (now, boot) = (self.now, self.node(id).boot);
        self.trace.note(now, format_args!("broker {id} starts, boot {boot}"));
        self.tick(id, 100, Tick::Register);
        self.tick(id, 200, Tick::Watch);
        self.tick(id, 50_000, Tick::Fetchers);
        self.tick(id, 200_000, Tick::Replicas);
        self.touch(id);
    }

    /// The process dies. Of what its store had queued, `keep` writes reach the disk.
    pub fn crash_node(&mut self, id: NodeId, keep: usize) -> Result<(), Violation> {
        if self.node(id).process.is_none() {
            return Ok(());
        }
        let now = self.now;
        self.trace.note(now, format_args!("broker {id} dies"));
        self.check.died(&self.nodes[id as usize - 1]);
        if let Some(process) = self.node(id).process.take() {
            process.store.crash_keeping(keep);
            process.groups.coordinator.shutdown();
        }
        if self.mutation == Some(Mutation::LosesDisk) {
            self.node(id).disk = MemoryDisk::new();
        }
        self.gone(id);
        Ok(())
    }

    fn gone(&mut self, id: NodeId) {
        self.node(id).paused_until = 0;
        self.break_calls_to(id);
        if !self.net.is_cut(Addr::Node(id), Addr::Controller)
            && let Some(broker) = self.controller.image().broker(id)
        {
            let epoch = broker.epoch;
            self.after(GRACE_US, Event::Suspect { node: id, epoch });
        }
    }

    pub fn suspect(&mut self, id: NodeId, epoch: i64) -> Result<(), Violation> {
        if self.controller.down_until > self.now {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let before = self.controller.index();
        self.controller.suspect(id, epoch, now_ms);
        self.publish(before)
    }

    /// The process hands its leaderships over, and then ends in order.
    pub fn stop_node(&mut self, id: NodeId) {
        let now = self.now;
        let Some(process) = &mut self.node(id).process else {
            return;
        };
        process.stopping = true;
        let boot = self.node(id).boot;
        self.trace.note(now, format_args!("broker {id} is asked to stop"));
        self.tick(id, 10, Tick::Beat);
        self.after(STOP_US, Event::End(crate::faults::Undo::Stopped { node: id, boot }));
    }

    /// Everything is made durable, and the process ends.
    pub fn close_node(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.node(id).process.is_none() {
            return Ok(());
        }
        let now = self.now;
        self.trace.note(now, format_args!("broker {id} ends"));
        if let Some(process) = &mut self.node(id).process {
            // A directory that failed cannot be closed in order; the next start finds out.
            if process.manager.close().is_err() {
                return self.crash_node(id, 0);
            }
        }
        self.check.died(&self.nodes[id as usize - 1]);
        if let Some(process) = self.node(id).process.take() {
            process.groups.coordinator.shutdown();
        }
        self.gone(id);
        Ok(())
    }

    pub fn broker_tick(&mut self, id: NodeId, tick: Tick) -> Result<(), Violation> {
        match tick {
            Tick::Register => self.register(id),
            Tick::Beat => self.beat(id),
            Tick::Sync => self.sync(id),
            Tick::Images(index) => return self.images(id, index),
            Tick::Watch => self.watch(id),
            Tick::Replicas => self.replicas_tick(id),
            Tick::Fetchers => self.fetchers_tick(id),
        }
        Ok(())
    }

    fn register(&mut self, id: NodeId) {
        let registration = self.node(id).registration();
        let command = Command::RegisterBroker { cluster_id: CLUSTER.to_owned(), registration, unclean: false };
        let request = Request::Command(Box::new(command));
        self.call((Addr::Node(id), Addr::Controller), request, Purpose::Register, CALL_TIMEOUT_US);
    }

    fn beat(&mut self, id: NodeId) {
        self.tick(id, BEAT_US, Tick::Beat);
        let Some(process) = &self.node(id).process else {
            return;
        };
        let (Phase::Registered(broker_epoch), None) = (process.phase, process.beat_call) else {
            return;
        };
        let beat = Heartbeat {
            broker: id,
            broker_epoch,
            applied: process.image.index,
            want_fence: false,
            want_shutdown: process.stopping,
            offline_dirs: Vec::new(),
        };
        let request = Request::Command(Box::new(Command::BrokerHeartbeat(beat)));
        let call = self.call((Addr::Node(id), Addr::Controller), request, Purpose::Beat, CALL_TIMEOUT_US);
        if let Some(process) = &mut self.node(id).process {
            process.beat_call = Some(call);
        }
    }

    /// An answer that a broker waited for, or none.
    pub fn broker_returned(&mut self, id: NodeId, call: Call, response: Option<Response>) -> Result<(), Violation> {
        match call.purpose {
            Purpose::Register => self.registered(id, response),
            Purpose::Beat => return self.beaten(id, response),
            Purpose::Isr { changes } => self.isr_returned(id, changes, response),
            Purpose::Fetch { leader, fetcher } => return self.fetched(id, (leader, fetcher), response),
            Purpose::Tell | Purpose::Client => {}
        }
        Ok(())
    }

    fn registered(&mut self, id: NodeId, response: Option<Response>) {
        if let Some(Response::Reply(Reply::RegisterBroker(Ok(registered)))) = response {
            let now = self.now;
            self.trace.note(now, format_args!("broker {id} is registered with epoch {}", registered.epoch));
            if let Some(process) = &mut self.node(id).process {
                process.manager.registered(registered.epoch);
                process.phase = Phase::Registered(registered.epoch);
            }
            self.tick(id, 100, Tick::Beat);
            self.touch(id);
        } else {
            self.tick(id, 150_000, Tick::Register);
        }
    }

    fn beaten(&mut self, id: NodeId, response: Option<Response>) -> Result<(), Violation> {
        let Some(process) = &mut self.node(id).process else {
            return Ok(());
        };
        process.beat_call = None;
        match response {
            Some(Response::Reply(Reply::BrokerHeartbeat(Ok(state)))) if process.stopping && state.should_shutdown => {
                self.close_node(id)
            }
            // Unregistered: it registers again.
            Some(Response::Reply(Reply::BrokerHeartbeat(Err(error)))) if error.code == ErrorCode::StaleBrokerEpoch => {
                process.phase = Phase::Registering;
                self.tick(id, 10_000, Tick::Register);
                Ok(())
            }
            // While it stops it asks again and again.
            Some(Response::Reply(Reply::BrokerHeartbeat(Ok(_)))) if process.stopping => {
                self.tick(id, 20_000, Tick::Beat);
                Ok(())
            }
            Some(Response::Reply(Reply::BrokerHeartbeat(Ok(state)))) if state.fenced && state.caught_up => Ok(()),
            Some(Response::Reply(Reply::BrokerHeartbeat(Ok(state)))) if state.fenced => {
                self.tick(id, 20_000, Tick::Beat);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells the controller where replicas are that it believes elsewhere.
    pub fn assign_dirs(&mut self, id: NodeId) {
        let dir = self.node(id).dir_id();
        let Some(process) = &self.node(id).process else {
            return;
        };
        let Phase::Registered(broker_epoch) = process.phase else {
            return;
        };
        let mut partitions = Vec::new();
        for partition in process.manager.partitions() {
            let tp = (partition.topic_id(), partition.index());
            let known = process.image.topic_by_id(&tp.0).and_then(|t| t.partition(tp.1));
            if known.and_then(|p| p.dir_of(id)).is_some_and(|known| known != dir) {
                partitions.push(tp);
            }
        }
        if !partitions.is_empty() {
            let dirs = vec![DirAssignment { dir, partitions }];
            let command = Command::AssignReplicasToDirs { broker: id, broker_epoch, dirs };
            let request = Request::Command(Box::new(command));
            self.call((Addr::Node(id), Addr::Controller), request, Purpose::Tell, CALL_TIMEOUT_US);
        }
    }

    fn watch(&mut self, id: NodeId) {
        self.tick(id, WATCH_US, Tick::Watch);
        let index = self.controller.index();
        self.feed(id, index);
    }

    /// Sends a broker the metadata up to this index.
    fn feed(&mut self, id: NodeId, index: u64) {
        let wants = |p: &crate::node::Process| p.phase != Phase::Registering && p.image.index < index;
        let behind = self.node(id).process.as_ref().is_some_and(wants);
        if !behind || self.net.is_cut(Addr::Controller, Addr::Node(id)) {
            return;
        }
        let usual = self.rng.random_range(0..=self.plan.lag_ms * 1000);
        let lag = self.net.delay(&mut self.rng) + usual + self.node(id).lag_us;
        self.tick(id, lag, Tick::Images(index));
    }

    fn images(&mut self, id: NodeId, index: u64) -> Result<(), Violation> {
        let Some(process) = &self.nodes[id as usize - 1].process else {
            return Ok(());
        };
        if process.image.index >= index {
            return Ok(());
        }
        // A broker that is far behind gets a snapshot; one that is in step applies entry by entry, and shows its
        // replicas each of them or only the last.
        let mut image = (*process.image).clone();
        let each = self.rng.random_bool(0.5);
        let mut steps: Vec<Arc<Image>> = Vec::new();
        if index - image.index > 200 || image.index == 0 {
            if let Some(entry) = self.controller.entry(index) {
                image = Image::at(entry.image.index, entry.image.term);
                snapshot_records(&entry.image).for_each(|r| image.apply(&r));
                steps.push(Arc::new(image));
            }
        } else {
            for at in image.index + 1..=index {
                let Some(entry) = self.controller.entry(at) else {
                    break;
                };
                (image.index, image.term) = (at, entry.image.term);
                let lost = self.mutation == Some(Mutation::DropsRecord) && self.rng.random_bool(0.02);
                entry.records.iter().skip(usize::from(lost)).for_each(|r| image.apply(r));
                if each || at == index {
                    steps.push(Arc::new(image.clone()));
                }
            }
        }
        for step in steps {
            let agreed = self.controller.entry(step.index).map(|e| &e.image);
            self.check.same_image(id, &step, agreed)?;
            if let Some(process) = &mut self.nodes[id as usize - 1].process {
                process.apply(step);
            }
            self.check.look(&self.nodes[id as usize - 1])?;
            self.applied(id);
        }
        self.schedule_sync(id);
        self.touch(id);
        Ok(())
    }

    /// A request reaches the controller.
    pub fn decide(&mut self, call: CallId, request: Request) -> Result<(), Violation> {
        let Request::Command(command) = request else {
            return Ok(());
        };
        if self.controller.down_until > self.now {
            // Whoever asked finds out that this is not the active controller, or hears nothing.
            if self.rng.random_bool(0.5) {
                self.answer(call, Response::NotController);
            }
            return Ok(());
        }
        let command = match self.mutation {
            Some(mutation) => mutation.command(*command, self.controller.image()),
            None => *command,
        };
        let (before, now_ms) = (self.controller.index(), self.now_ms());
        let reply = self.controller.submit(&command, now_ms);
        if self.trace.is_wanted() && !matches!(command, Command::BrokerHeartbeat(_)) {
            let now = self.now;
            self.trace.note(now, format_args!("controller: {command:?} → {reply:?}"));
        }
        self.publish(before)?;
        self.answer(call, Response::Reply(reply));
        Ok(())
    }

    pub fn decider_tick(&mut self) -> Result<(), Violation> {
        self.after(DECIDER_US, Event::Decider);
        if self.controller.down_until > self.now {
            return Ok(());
        }
        let (before, now_ms) = (self.controller.index(), self.now_ms());
        self.controller.fence_expired(now_ms);
        self.controller.decide_own(elect_unclean);
        if self.rng.random_bool(0.05) {
            self.controller.decide_own(balance_leaders);
        }
        if let Some(mutation) = self.mutation {
            let records = mutation.own(self.controller.image(), &mut self.rng);
            self.controller.agree(records);
        }
        self.publish(before)
    }

    /// Checks what was agreed since `before` and sends it to the brokers.
    pub fn publish(&mut self, before: u64) -> Result<(), Violation> {
        let index = self.controller.index();
        if index == before {
            return Ok(());
        }
        for at in before + 1..=index {
            if let (Some(was), Some(is)) = (self.controller.entry(at - 1), self.controller.entry(at)) {
                if self.trace.is_wanted() {
                    for record in &is.records {
                        self.trace.note(self.now, format_args!("  [{at}] {record:?}"));
                    }
                }
                self.check.agreed(&was.image, &is.image)?;
            }
        }
        for id in 1..=self.plan.brokers {
            self.feed(id, index);
        }
        Ok(())
    }
}
