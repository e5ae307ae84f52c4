//! Changes of the in-sync sets that this broker leads, proposed to the controller (Kafka's `AlterPartitionManager`):
//! one command at a time, whose outcome, if it stays unknown, leaves the change pending.

use std::time::Duration;

use millrace_metadata::command::{Command, IsrChange, IsrState, PerPartition, Reply};
use tokio::time::sleep;

use super::Replication;

/// Pause before a command without an answer is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Proposes changes as they come up until the future is dropped.
pub async fn keep(parts: Replication) {
    loop {
        parts.replicas.isr_wanted().await;
        loop {
            let changes = parts.replicas.isr_changes(parts.clock.steady_ms());
            if changes.is_empty() {
                break;
            }
            let answer = propose(&parts, &changes).await;
            let unknown = answer.is_none();
            parts.replicas.isr_answered(changes, answer);
            if unknown {
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// `None` if nothing was decided, or nobody knows whether it was.
async fn propose(parts: &Replication, changes: &[IsrChange]) -> Option<PerPartition<IsrState>> {
    let before: Vec<usize> = changes.iter().map(|change| in_sync(parts, change)).collect();
    let command = Command::AlterPartition {
        broker: parts.node_id,
        broker_epoch: *parts.epoch.borrow(),
        changes: changes.to_vec(),
    };
    match parts.controller.submit(command).await {
        Ok(Reply::AlterPartition(Ok(answers))) => {
            // What else the same decision changed, like the number of replicas that are needed, comes first.
            let index = parts.controller.images().borrow().index;
            drop(parts.served.clone().wait_for(|served| *served >= index).await);
            count(parts, changes, &before, &answers);
            Some(answers)
        }
        Ok(Reply::AlterPartition(Err(error))) | Err(error) => {
            parts.meters.updates_failed(changes.len());
            tracing::info!(%error, changes = changes.len(), "in-sync sets were not changed; trying again");
            None
        }
        Ok(_) => None,
    }
}

fn in_sync(parts: &Replication, change: &IsrChange) -> usize {
    let partition = parts.replicas.partition_by_id(&change.topic, change.partition);
    partition.map_or(0, |partition| partition.state().isr.len())
}

/// Answers stand in the order of the changes.
fn count(parts: &Replication, changes: &[IsrChange], before: &[usize], answers: &PerPartition<IsrState>) {
    for ((change, before), (key, answer)) in changes.iter().zip(before).zip(answers) {
        match answer {
            Ok(state) if *key == (change.topic, change.partition) => parts.meters.in_sync(*before, state.isr.len()),
            Ok(_) => {}
            Err(_) => parts.meters.updates_failed(1),
        }
    }
}
