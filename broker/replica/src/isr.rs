//! In-sync sets: what is proposed to the controller, and what it answers (`AlterPartitionManager.scala`).

use millrace_metadata::ErrorCode;
use millrace_metadata::command::{IsrChange, IsrState, PerPartition};

use crate::manager::ReplicaManager;
use crate::partition::Partition;
use crate::shared::{ReplicationSettings, Shared};

/// Changes that are proposed in one call.
const MAX_CHANGES: usize = 5_000;

/// Whether the proposal is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The set stays as it was.
    Refused,
    /// The metadata will tell.
    Wait,
    Again,
}

/// What an error says of the proposal (`Partition.handleAlterPartitionError`).
fn verdict(error: ErrorCode) -> Verdict {
    match error {
        ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica => Verdict::Refused,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InvalidUpdateVersion
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::NewLeaderElected
        | ErrorCode::InvalidRequest => Verdict::Wait,
        // Whatever else goes wrong between the brokers may be over the next time.
        _ => Verdict::Again,
    }
}

impl ReplicaManager {
    /// Resolves when there is an in-sync set to propose. For one task at a time.
    pub async fn isr_wanted(&self) {
        self.shared().isr.filled().await;
    }

    /// The in-sync sets to propose to the controller now (AlterPartition). Each is in flight until it is answered, and
    /// until then its partition proposes no other. `now_ms`: ms since 1970.
    pub fn isr_changes(&self, now_ms: i64) -> Vec<IsrChange> {
        self.shared().saw(now_ms);
        let brokers = self.shared().brokers();
        let keys = self.shared().isr.take(MAX_CHANGES);
        let propose = |(topic, index)| {
            let partition = self.partition_by_id(&topic, index).ok()?;
            let state = partition.locked_state();
            let (isr, partition_epoch) = partition.progress().propose(&brokers)?;
            // What is led is recovered: an unclean election ends with the leader's own log (`Partition.makeLeader`).
            let (leader_epoch, recovering) = (state.leader_epoch, false);
            Some(IsrChange { topic, partition: index, leader_epoch, partition_epoch, isr, recovering })
        };
        keys.into_iter().filter_map(propose).collect()
    }

    /// What became of proposals. A decision counts when an image shows it. `None`: they were not decided as a whole, or it is not known whether they were; they
    /// stay pending, which keeps acknowledged records safe either way, and are proposed again.
    pub fn isr_answered(&self, sent: Vec<IsrChange>, answer: Option<PerPartition<IsrState>>) {
        let answer = answer.unwrap_or_default();
        for change in &sent {
            let key = (change.topic, change.partition);
            let Ok(partition) = self.partition_by_id(&key.0, key.1) else {
                continue;
            };
            let told = answer.iter().find(|(k, _)| *k == key).map(|(_, result)| result);
            match told {
                Some(Ok(state)) => {
                    partition.progress().with_remotes(|remotes, _| remotes.decided(state));
                }
                Some(Err(error)) => {
                    let (topic, index, code) = (partition.topic(), partition.index(), error.code);
                    tracing::info!(%topic, partition = index, ?code, "the in-sync set was not changed");
                    self.isr_failed(&partition, change, verdict(error.code));
                }
                None => self.isr_failed(&partition, change, Verdict::Again),
            }
        }
    }

    fn isr_failed(&self, partition: &Partition, change: &IsrChange, verdict: Verdict) {
        let epochs = (change.leader_epoch, change.partition_epoch);
        let progress = partition.progress();
        match verdict {
            Verdict::Wait => {}
            Verdict::Refused => {
                progress.with_remotes(|remotes, _| remotes.refused(epochs.0, epochs.1));
            }
            Verdict::Again => {
                if progress.with_remotes(|remotes, _| remotes.ask_again(epochs.0, epochs.1)) == Some(true) {
                    self.shared().isr.push(partition.key());
                }
            }
        }
    }

    /// Looks at all replicas of what is led here: those that lag for longer than `replica.lag.time.max.ms` shall leave
    /// the in-sync set, those that may join it shall. To be called every half of that time.
    pub fn tick(&self, now_ms: i64) {
        self.shared().saw(now_ms);
        self.review_replicas();
    }

    pub(crate) fn review_replicas(&self) {
        for partition in self.partitions().iter().filter(|partition| partition.is_leader()) {
            partition.review_replicas();
        }
    }

    /// Settings of replication, from now on.
    pub fn set_replication(&self, settings: ReplicationSettings) {
        self.shared().set_settings(settings);
    }

    pub fn replication(&self) -> ReplicationSettings {
        self.shared().settings()
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.shared_state()
    }
}

impl Partition {
    pub(crate) fn review_replicas(&self) {
        let shared = self.shared();
        let brokers = shared.brokers();
        let cx = crate::remotes::FetchCx {
            now_ms: shared.now_ms(),
            lag_time_max_ms: shared.settings().lag_time_max_ms,
            brokers: &brokers,
        };
        if self.progress().review(&cx) {
            shared.isr.push(self.key());
        }
    }
}
