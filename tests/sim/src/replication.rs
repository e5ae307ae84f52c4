//! What a broker's replicas do: produce and fetch are served, followers fetch, in-sync sets change.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millrace_log::{AppendError as LogAppendError, Origin};
use millrace_metadata::command::IsrChange;
use millrace_metadata::{Command, NodeId, Reply};
use millrace_replica::{AppendCx, AppendError, CommitError, FetchSpec, Isolation, ReadError, Reader};
use rand::Rng;

use crate::calls::{CallId, Purpose, Refusal, Request, Response, Tp};
use crate::check::{Violation, records};
use crate::mutation::Mutation;
use crate::net::Addr;
use crate::node::{Phase, Wait};
use crate::world::{Tick, World};

const ISR_TIMEOUT_US: u64 = 800_000;
/// Pause after an answer, so that what stays undecided is not proposed again at once.
const ISR_PAUSE_US: u64 = 30_000;
const FETCHERS_US: u64 = 40_000;
/// The simulation gives up on acknowledgements by its own clock.
const FOREVER: Duration = Duration::from_secs(86_400);
/// Changes of one broker are seen through in so many rounds.
const ROUNDS_MAX: usize = 50;

impl World {
    pub fn serve(&mut self, id: NodeId, call: CallId, request: Request) -> Result<(), Violation> {
        match request {
            Request::Produce { tp, acks, batch } => self.serve_produce(id, call, (tp, acks, batch)),
            Request::Consume { tp, offset, anywhere } => self.serve_consume(id, call, (tp, offset, anywhere)),
            Request::Fetch { fetch, broker_epoch, fetcher, session } => {
                self.begin_fetch(id, call, (fetch, broker_epoch), (fetcher, session));
                // The leader learnt from the request itself what its follower holds.
                self.touch(id);
            }
            Request::Trim { tp, offset } => self.serve_trim(id, call, (tp, offset)),
            Request::Group(ask) => self.serve_groups(id, call, ask),
            Request::Command(_) => {}
        }
        Ok(())
    }

    fn serve_produce(&mut self, id: NodeId, call: CallId, (tp, acks, batch): (Tp, i16, bytes::BytesMut)) {
        let now_ms = self.now_ms();
        let early = acks == 1 || self.mutation == Some(Mutation::AcknowledgesEarly);
        let Some(process) = &mut self.node(id).process else {
            return;
        };
        let partition = match process.manager.partition_by_id(&tp.0, tp.1) {
            Ok(partition) => partition,
            Err(_) => return self.answer(call, Response::Produced(Err(Refusal::Retry))),
        };
        let cx = AppendCx { acks, origin: Origin::Client, api_version: 9, now_ms };
        let result = partition.append_as_leader(batch, cx);
        let now = self.now;
        self.trace.note(now, format_args!("broker {id}: produce to {tp:?}: {result:?}"));
        match result {
            Ok(appended) => {
                let (base, last) = (appended.base_offset, appended.last_offset);
                let done = match early {
                    true => Box::pin(partition.written(last, FOREVER)) as futures::future::BoxFuture<'static, _>,
                    false => Box::pin(partition.committed(last, FOREVER)),
                };
                if let Some(process) = &mut self.node(id).process {
                    process.waits.push(Wait { call, tp, base, last, done });
                }
                self.schedule_sync(id);
                self.touch(id);
            }
            Err(error) => {
                // A leader that was deposed compares with what it has; the client finds the right one and tries again.
                let agreed = self.controller.image().topic_by_id(&tp.0).and_then(|t| t.partition(tp.1));
                let refusal = match agreed.is_some_and(|p| p.leader == id) {
                    true => append_refusal(&error),
                    false => Refusal::Retry,
                };
                self.answer(call, Response::Produced(Err(refusal)));
            }
        }
    }

    fn serve_consume(&mut self, id: NodeId, call: CallId, (tp, offset, anywhere): (Tp, i64, bool)) {
        let reader = if anywhere { Reader::ConsumerAnywhere } else { Reader::Consumer };
        let Some(process) = &self.node(id).process else {
            return;
        };
        let partition = process.manager.partition_by_id(&tp.0, tp.1);
        let result = partition.map_err(|_| Refusal::Retry).and_then(|partition| {
            let data = partition.read_now(spec(offset, reader)).map_err(|e| read_refusal(&e))?;
            let mut out = Vec::new();
            for batch in &data.batches {
                let records = records(batch).map_err(|_| Refusal::Unknown)?;
                out.extend(records.into_iter().filter(|(at, _)| *at >= offset));
            }
            Ok(out)
        });
        self.answer(call, Response::Consumed(result));
    }

    /// Deletes records of the front (DeleteRecords).
    fn serve_trim(&mut self, id: NodeId, call: CallId, (tp, offset): (Tp, i64)) {
        let runtime = self.runtime.clone();
        if let Some(process) = &self.node(id).process
            && let Ok(partition) = process.manager.partition_by_id(&tp.0, tp.1)
        {
            // Refused unless it leads and all of it is committed.
            drop(runtime.block_on(partition.delete_records(offset)));
        }
        self.answer(call, Response::Trimmed);
        self.schedule_sync(id);
        self.touch(id);
    }

    /// Something may have changed on this broker: whoever waits is served, and what follows from it is begun.
    pub fn settle(&mut self, id: NodeId) -> Result<(), Violation> {
        for _ in 0..ROUNDS_MAX {
            self.check.look(&self.nodes[id as usize - 1])?;
            self.pump_groups(id);
            if !self.settle_waits(id) {
                break;
            }
        }
        self.settle_parked(id);
        self.propose_isr(id);
        self.fetch(id);
        self.check.look(&self.nodes[id as usize - 1])
    }

    /// Answers producers whose records are committed, or not going to be.
    fn settle_waits(&mut self, id: NodeId) -> bool {
        let Some(process) = &mut self.node(id).process else {
            return false;
        };
        let mut done = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        process.waits.retain_mut(|wait| match wait.done.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                done.push((wait.call, wait.tp, wait.base, wait.last, result));
                false
            }
        });
        let some = !done.is_empty();
        for (call, tp, base, last, result) in done {
            let now = self.now;
            self.trace.note(now, format_args!("broker {id}: {tp:?} {base}..={last}: {result:?}"));
            let result = result.map(|()| base).map_err(|error| match error {
                CommitError::TimedOut
                | CommitError::NotEnoughReplicas
                | CommitError::Storage
                | CommitError::NotLeader => Refusal::Unknown,
            });
            self.answer(call, Response::Produced(result));
        }
        some
    }

    fn propose_isr(&mut self, id: NodeId) {
        let (now, now_ms) = (self.now, self.now_ms());
        let Some(process) = self.node(id).process.as_ref().filter(|p| p.isr_pause_until <= now) else {
            return;
        };
        let (Phase::Registered(broker_epoch), None) = (process.phase, process.isr_call) else {
            return;
        };
        let changes = process.manager.isr_changes(now_ms);
        if changes.is_empty() {
            return;
        }
        let command = Command::AlterPartition { broker: id, broker_epoch, changes: changes.clone() };
        let purpose = Purpose::Isr { changes };
        let request = Request::Command(Box::new(command));
        let call = self.call((Addr::Node(id), Addr::Controller), request, purpose, ISR_TIMEOUT_US);
        if let Some(process) = &mut self.node(id).process {
            process.isr_call = Some(call);
        }
    }

    pub fn isr_returned(&mut self, id: NodeId, changes: Vec<IsrChange>, response: Option<Response>) {
        let now = self.now;
        let Some(process) = &mut self.node(id).process else {
            return;
        };
        process.isr_call = None;
        process.isr_pause_until = now + ISR_PAUSE_US;
        let answers = match response {
            Some(Response::Reply(Reply::AlterPartition(Ok(answers)))) => Some(answers),
            _ => None,
        };
        process.manager.isr_answered(changes, answers);
        // What is still wanted is proposed with a later tick.
        self.touch(id);
    }

    /// The mistake of a follower that counts what is only in its memory: it tells its leader so.
    pub fn claim_unsynced(&mut self, id: NodeId, leader: NodeId) {
        let now_ms = self.now_ms();
        let own = self.nodes[id as usize - 1].process.as_ref();
        let theirs = self.nodes[leader as usize - 1].process.as_ref();
        let (Some(own), Some(theirs)) = (own, theirs) else {
            return;
        };
        let Phase::Registered(broker_epoch) = own.phase else {
            return;
        };
        for partition in own.manager.partitions() {
            let leading = theirs.manager.partition_by_id(&partition.topic_id(), partition.index());
            if let Ok(leading) = leading
                && leading.is_leader()
                && leading.leader_epoch() == partition.leader_epoch()
            {
                let reader = Reader::Replica { id, broker_epoch, log_start: 0, now_ms };
                // What it reads does not matter, only what the leader takes it for.
                drop(leading.read_now(spec(partition.log_end_offset(), reader)));
            }
        }
        self.touch(leader);
    }

    /// After each image: what a mistaken follower does with its log.
    pub fn applied(&mut self, id: NodeId) {
        if self.mutation != Some(Mutation::TruncatesToWatermark) {
            return;
        }
        if let Some(process) = &self.nodes[id as usize - 1].process {
            for partition in process.manager.partitions() {
                let high_watermark = partition.high_watermark();
                if !partition.is_leader() && partition.log_end_offset() > high_watermark {
                    drop(partition.log().truncate(high_watermark));
                }
            }
        }
    }

    /// What is queued in the store will be synced.
    pub fn schedule_sync(&mut self, id: NodeId) {
        let slow = self.node(id).sync_us;
        let Some(process) = &mut self.node(id).process else {
            return;
        };
        if std::mem::replace(&mut process.sync_scheduled, true) {
            return;
        }
        let usual = self.rng.random_range(50..=self.plan.sync_us.max(51));
        self.tick(id, slow.max(usual), Tick::Sync);
    }

    pub fn sync(&mut self, id: NodeId) {
        let fold = self.rng.random_bool(0.01);
        if let Some(process) = &mut self.node(id).process {
            process.sync_scheduled = false;
            process.store.commit();
            if fold {
                // Fails when the directory has failed; whoever writes next finds out.
                drop(process.store.ingest());
            }
        }
        self.touch(id);
    }

    pub fn replicas_tick(&mut self, id: NodeId) {
        let (now_ms, every) = (self.now_ms(), self.plan.replica_lag_ms as u64 * 500);
        if let Some(process) = &self.node(id).process {
            process.manager.tick(now_ms);
        }
        self.assign_dirs(id);
        self.tick(id, every, Tick::Replicas);
        self.touch(id);
    }

    pub fn fetchers_tick(&mut self, id: NodeId) {
        self.tick(id, FETCHERS_US, Tick::Fetchers);
        self.touch(id);
    }
}

pub fn spec(offset: i64, reader: Reader) -> FetchSpec {
    FetchSpec {
        offset,
        max_bytes: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        reader,
    }
}

fn read_refusal(error: &ReadError) -> Refusal {
    match error {
        ReadError::OutOfRange { log_start, .. } => Refusal::OutOfRange(*log_start),
        _ => Refusal::Retry,
    }
}

fn append_refusal(error: &AppendError) -> Refusal {
    match error {
        AppendError::Log(LogAppendError::OutOfOrderSequence { .. } | LogAppendError::InvalidProducerEpoch { .. }) => {
            Refusal::Sequence
        }
        AppendError::NotLeader | AppendError::NotEnoughReplicas { .. } | AppendError::Log(_) => Refusal::Retry,
    }
}
