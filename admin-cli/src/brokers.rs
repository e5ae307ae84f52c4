//! `millrace brokers`.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_wire::kp::messages::{BrokerId, MetadataResponse, UnregisterBrokerRequest};

use crate::args::BrokersCommand;
use crate::error::{Error, check};
use crate::output::{list, table};
use crate::partitions::{moving, reassign};
use crate::placement::{Placed, drain};
use crate::session::Session;

/// Partitions that move at a time: a broker that is emptied goes on serving meanwhile.
const AT_ONCE: usize = 100;
/// Between two looks at what still moves.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs a command about brokers.
pub async fn run(session: &mut Session, command: BrokersCommand) -> Result<String, Error> {
    match command {
        BrokersCommand::Drain { broker, dry_run, no_wait } => empty(session, broker, (dry_run, no_wait)).await,
        BrokersCommand::Unregister { broker } => unregister(session, broker).await,
    }
}

async fn empty(session: &mut Session, broker: i32, (dry_run, no_wait): (bool, bool)) -> Result<String, Error> {
    let metadata = session.metadata(None).await?;
    check("topics", metadata.error_code, None)?;
    let targets: BTreeMap<i32, Option<String>> =
        metadata.brokers.iter().map(|b| (b.node_id.0, b.rack.as_ref().map(ToString::to_string))).collect();
    let plan = drain(&placed(&metadata), broker, &targets).map_err(|stuck| {
        let (topic, partition, factor) = (stuck.topic, stuck.partition, stuck.replicas.len());
        Error::Usage(format!(
            "partition {topic}-{partition} has {factor} replica(s), and no other broker could take that of broker {broker}; nothing was moved\n  Add a broker first, or lower the replication factor with `millrace partitions reassign`."
        ))
    })?;
    if plan.is_empty() {
        return Ok(format!("broker {broker} holds no replicas\n"));
    }
    if dry_run {
        let row = |p: &Placed| vec![p.topic.clone(), p.partition.to_string(), list(&p.replicas)];
        return Ok(table(&["TOPIC", "#PARTITION", "REPLICAS THEN"], plan.iter().map(row).collect()));
    }
    if no_wait {
        reassign(session, &plan).await?;
        return Ok(format!(
            "{} replica(s) move away from broker {broker}; see `millrace partitions moving`\n",
            plan.len()
        ));
    }
    let mut left = plan.len();
    for chunk in plan.chunks(AT_ONCE) {
        reassign(session, chunk).await?;
        finish(session, chunk).await?;
        left -= chunk.len();
        if left > 0 {
            eprintln!("{left} replica(s) left");
        }
    }
    Ok(format!(
        "{} replica(s) moved away from broker {broker}\nStop it, then forget it with `millrace brokers unregister {broker}`.\n",
        plan.len()
    ))
}

/// Returns when none of these partitions is being reassigned any more.
async fn finish(session: &mut Session, chunk: &[Placed]) -> Result<(), Error> {
    loop {
        let under_way = moving(session).await?;
        let ours = |p: &Placed| under_way.iter().any(|m| m.topic == p.topic && m.partition == p.partition);
        if !chunk.iter().any(ours) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn placed(metadata: &MetadataResponse) -> Vec<Placed> {
    let mut all = Vec::new();
    for topic in &metadata.topics {
        let name = topic.name.as_ref().map_or("", |name| name.as_str());
        all.extend(topic.partitions.iter().map(|partition| Placed {
            topic: name.to_owned(),
            partition: partition.partition_index,
            replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
        }));
    }
    all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    all
}

async fn unregister(session: &mut Session, broker: i32) -> Result<String, Error> {
    let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(broker));
    let answer = session.call(&request).await?;
    check(&format!("broker {broker}"), answer.error_code, answer.error_message.as_deref())?;
    Ok(format!("broker {broker} is forgotten\n"))
}
