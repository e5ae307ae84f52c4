//! One thread writes everything that Raft must not lose, in the order in which Raft asked for it. It takes whatever
//! waits into one group, so that a sync serves many writes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use millrace_store::{Kv, KvBatch};
use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use crate::raft::Types;

/// Writes that one group may join. More wait for the next one.
const GROUP_MAX: usize = 256;
const STACK_BYTES: usize = 256 << 10;

/// Whom to tell when a write is done.
pub enum Done {
    Raft(IOFlushed<Types>),
    Caller(oneshot::Sender<io::Result<()>>),
    Nobody,
}

pub struct Job {
    pub batch: KvBatch,
    pub durable: bool,
    pub done: Done,
    /// Called before `done`, with the last log index that the write made durable.
    pub flushed: Option<u64>,
}

/// Hands jobs to the thread, which ends when the last handle is gone.
#[derive(Clone)]
pub struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    /// `flushed` is told about durable log entries, in order.
    pub fn start(kv: Arc<dyn Kv>, flushed: impl Fn(u64) + Send + 'static) -> io::Result<Writer> {
        // Not bounded here: Raft itself stops at `log_stage_capacity` appends that are not flushed, and its other
        // writes wait for their end.
        let (jobs, queue) = channel();
        std::thread::Builder::new()
            .name("raft-log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&*kv, &queue, flushed))?;
        Ok(Writer { jobs })
    }

    pub fn submit(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| io::Error::other("the metadata log is closed"))
    }

    /// Writes and waits until that is durable.
    pub async fn write(&self, batch: KvBatch) -> io::Result<()> {
        let (done, end) = oneshot::channel();
        self.submit(Job { batch, durable: true, done: Done::Caller(done), flushed: None })?;
        end.await.map_err(|_| io::Error::other("the metadata log is closed"))?
    }
}

fn run(kv: &dyn Kv, queue: &Receiver<Job>, flushed: impl Fn(u64)) {
    // After a failed write nothing is known about the ones behind it, so they all fail, until a restart.
    let mut broken: Option<String> = None;
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        let mut batch = KvBatch::default();
        let durable = group.iter().any(|job| job.durable);
        group.iter_mut().for_each(|job| batch.ops.append(&mut job.batch.ops));
        if broken.is_none()
            && let Err(error) = kv.write(batch, durable)
        {
            tracing::error!(%error, "the metadata log cannot be written; the controller stops");
            broken = Some(error.to_string());
        }
        for job in group {
            let result = broken.as_ref().map_or(Ok(()), |what| Err(io::Error::other(what.clone())));
            if let (Ok(()), Some(index)) = (&result, job.flushed) {
                flushed(index);
            }
            match job.done {
                Done::Raft(callback) => callback.io_completed(result),
                Done::Caller(sender) => drop(sender.send(result)),
                Done::Nobody => {}
            }
        }
    }
}
