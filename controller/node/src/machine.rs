//! The state machine: agreed entries become images. The image lives in memory; snapshots and the log restore it.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use millrace_metadata::Image;
use millrace_store::Kv;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::compact::Growth;
use crate::feed::{Fed, Feed};
use crate::raft::{Applied, LogId, Proposal, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::snapshot;

/// Images published to their watchers, and what a new snapshot is measured by.
#[derive(Clone)]
pub struct Outlet {
    pub images: watch::Sender<Arc<Image>>,
    pub growth: Arc<Growth>,
    pub feed: Arc<Feed>,
}

/// Applies entries in order.
pub struct Machine {
    kv: Arc<dyn Kv>,
    outlet: Outlet,
    image: Image,
    applied: Option<LogId>,
    membership: StoredMembership,
    current: Arc<Mutex<Option<Snapshot>>>,
}

impl Machine {
    /// Starts from the snapshot in the store, if there is one. Blocks on the disk.
    pub fn open(kv: Arc<dyn Kv>, outlet: Outlet) -> io::Result<Machine> {
        let current = snapshot::load(&*kv)?;
        let mut machine = Machine {
            kv,
            outlet,
            image: Image::default(),
            applied: None,
            membership: StoredMembership::default(),
            current: Arc::default(),
        };
        if let Some(snapshot) = current {
            machine.take_over(snapshot);
        }
        Ok(machine)
    }

    fn take_over(&mut self, snapshot: Snapshot) {
        self.image = (*snapshot.snapshot).clone();
        self.applied = snapshot.meta.last_log_id;
        self.membership = snapshot.meta.last_membership.clone();
        self.outlet.feed.clear();
        self.outlet.images.send_replace(Arc::clone(&snapshot.snapshot));
        *self.current.lock() = Some(snapshot);
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    /// Whether the proposal became facts.
    fn take_in(&mut self, proposal: &Proposal) -> bool {
        if proposal.term != self.image.term {
            return false;
        }
        proposal.records.iter().for_each(|record| self.image.apply(record));
        self.outlet.growth.add(proposal.records.len());
        true
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Arc<Image>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            self.image.index = entry.log_id.index();
            self.image.term = entry.log_id.committed_leader_id().term;
            let mut records = Arc::from([]);
            let applied = match &entry.payload {
                EntryPayload::Blank => true,
                EntryPayload::Normal(proposal) => {
                    let applied = self.take_in(proposal);
                    if applied {
                        records = Arc::clone(&proposal.records);
                    }
                    applied
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    true
                }
            };
            self.outlet.feed.push(Fed { index: self.image.index, term: self.image.term, records });
            answers.extend(responder.map(|responder| (responder, applied)));
        }
        // The image first: who gets an answer finds it in there.
        self.outlet.images.send_replace(Arc::new(self.image.clone()));
        for (responder, applied) in answers {
            responder.send(Applied(applied));
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.outlet.growth.reset();
        let snapshot = Snapshot { meta: self.meta(), snapshot: Arc::new(self.image.clone()) };
        Builder { kv: Arc::clone(&self.kv), snapshot, current: Arc::clone(&self.current) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Arc<Image>) -> Result<(), io::Error> {
        let snapshot = Snapshot { meta: meta.clone(), snapshot: image };
        store(Arc::clone(&self.kv), snapshot.clone()).await?;
        self.take_over(snapshot);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.current.lock().clone())
    }
}

async fn store(kv: Arc<dyn Kv>, snapshot: Snapshot) -> io::Result<()> {
    tokio::task::spawn_blocking(move || snapshot::store(&*kv, &snapshot)).await.map_err(io::Error::other)?
}

/// Writes one snapshot while the machine goes on.
pub struct Builder {
    kv: Arc<dyn Kv>,
    snapshot: Snapshot,
    current: Arc<Mutex<Option<Snapshot>>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Arc<Image>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        store(Arc::clone(&self.kv), self.snapshot.clone()).await?;
        let mut current = self.current.lock();
        let newer = |c: &Snapshot| c.meta.last_log_id > self.snapshot.meta.last_log_id;
        if !current.as_ref().is_some_and(newer) {
            *current = Some(self.snapshot.clone());
        }
        Ok(self.snapshot.clone())
    }
}
