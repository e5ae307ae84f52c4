//! What is done to a cluster, and how it is undone.

use std::time::Duration;

use crate::cluster::{Cluster, Plane};

/// How long a node may take to come back.
const BACK_LIMIT: Duration = Duration::from_secs(90);
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A node by what it does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Leader(i32),
    Follower(i32),
    Controller,
    /// Leads the first partition of committed offsets.
    Coordinator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill(Which),
    /// Two nodes, or all.
    KillMany {
        all: bool,
    },
    Pause(Which),
    Isolate(Which),
    /// `to` counts from the node after `from`.
    Cut {
        from: Which,
        to: usize,
        plane: Plane,
        both: bool,
    },
    Lose(Which, u32),
    RollingRestart,
    /// Takes one replica of a partition away and makes it again from nothing.
    Reassign(i32),
    DiskFull(Which),
    /// Bytes per second.
    DiskSlow(Which, u64),
    /// Milliseconds, for what the node sends.
    Delay(Which, u64),
    /// Seconds that the wall clock is set ahead.
    Clock(Which, i64),
}

impl Fault {
    /// Whether a process may end by itself because of it: Apache Kafka ends when its last disk is full.
    fn may_end_a_process(&self) -> bool {
        matches!(self, Fault::DiskFull(_))
    }
}

/// A fault and the nodes that it met.
pub struct Struck {
    pub fault: Fault,
    pub nodes: Vec<i32>,
}

fn find(cluster: &Cluster, topic: &str, which: Which) -> anyhow::Result<i32> {
    match which {
        Which::Leader(partition) => cluster.leader(topic, partition),
        Which::Controller => cluster.active_controller(),
        Which::Coordinator => cluster.leader(OFFSETS_TOPIC, 0).or_else(|_| cluster.leader(topic, 0)),
        Which::Follower(partition) => {
            let views = cluster.leaders(topic)?;
            let view = views.iter().find(|v| v.index == partition);
            let follower = view.and_then(|v| v.replicas.iter().copied().find(|id| *id != v.leader));
            follower.ok_or_else(|| anyhow::anyhow!("{topic}-{partition} has no follower"))
        }
    }
}

/// The node that a fault is to meet, if it is well: there is nothing to kill twice.
fn well(cluster: &Cluster, topic: &str, which: Which) -> Option<i32> {
    find(cluster, topic, which).ok().filter(|id| cluster.is_well(*id))
}

/// Does it. `None`: the node that it was meant for is already struck, or the machine cannot do it.
pub fn strike(cluster: &mut Cluster, topic: &str, fault: &Fault) -> anyhow::Result<Option<Struck>> {
    let struck = |nodes: Vec<i32>| Ok(Some(Struck { fault: fault.clone(), nodes }));
    let which = match fault {
        Fault::KillMany { all } => return struck(kill_many(cluster, *all)?),
        Fault::RollingRestart => return struck(rolling_restart(cluster, topic)?),
        Fault::Reassign(partition) => {
            shrink(cluster, topic, *partition)?;
            return struck(Vec::new());
        }
        Fault::Kill(which) | Fault::Pause(which) | Fault::Isolate(which) | Fault::Lose(which, _) => *which,
        Fault::Cut { from, .. } => *from,
        Fault::DiskFull(which) | Fault::DiskSlow(which, _) | Fault::Delay(which, _) | Fault::Clock(which, _) => *which,
    };
    let Some(id) = well(cluster, topic, which) else {
        return Ok(None);
    };
    match fault {
        Fault::Kill(_) => cluster.kill9(id)?,
        Fault::Pause(_) => cluster.pause(id)?,
        Fault::Isolate(_) => cluster.isolate(id)?,
        Fault::Lose(_, percent) => cluster.lose(id, *percent)?,
        Fault::DiskFull(_) => cluster.disk(id)?.fill()?,
        Fault::Delay(_, millis) => cluster.delay(id, Duration::from_millis(*millis))?,
        Fault::Clock(_, seconds) => cluster.set_clock(id, *seconds)?,
        Fault::DiskSlow(_, rate) => {
            return Ok(cluster.slow_disk(id, *rate)?.then(|| Struck { fault: fault.clone(), nodes: vec![id] }));
        }
        Fault::Cut { to, plane, both, .. } => {
            let ids = cluster.ids();
            let at = ids.iter().position(|other| *other == id).unwrap_or(0);
            let other = ids[(at + 1 + to % (ids.len() - 1)) % ids.len()];
            cluster.cut(id, other, *plane)?;
            if *both {
                cluster.cut(other, id, *plane)?;
            }
            return struck(vec![id, other]);
        }
        Fault::KillMany { .. } | Fault::RollingRestart | Fault::Reassign(_) => {}
    }
    struck(vec![id])
}

fn kill_many(cluster: &mut Cluster, all: bool) -> anyhow::Result<Vec<i32>> {
    let mut ids: Vec<i32> = cluster.ids().into_iter().filter(|id| cluster.pid(*id).is_some()).collect();
    if !all {
        ids.truncate(2);
    }
    ids.iter().try_for_each(|id| cluster.kill9(*id))?;
    Ok(ids)
}

fn rolling_restart(cluster: &mut Cluster, topic: &str) -> anyhow::Result<Vec<i32>> {
    let ids: Vec<i32> = cluster.ids().into_iter().filter(|id| cluster.is_well(*id)).collect();
    for id in &ids {
        cluster.restart(*id)?;
        if cluster.ids().iter().all(|id| cluster.is_well(*id)) {
            cluster.wait_in_sync(topic, BACK_LIMIT)?;
        }
    }
    Ok(ids)
}

fn shrink(cluster: &mut Cluster, topic: &str, partition: i32) -> anyhow::Result<()> {
    let Ok(leader) = cluster.leader(topic, partition) else {
        return Ok(());
    };
    let views = cluster.leaders(topic)?;
    let Some(view) = views.iter().find(|v| v.index == partition) else {
        return Ok(());
    };
    // Now and then it is the leader that goes.
    let gone =
        if view.leader_epoch % 2 == 0 { Some(leader) } else { view.replicas.iter().copied().find(|r| *r != leader) };
    let rest: Vec<i32> = view.replicas.iter().copied().filter(|r| Some(*r) != gone).collect();
    change(cluster, topic, partition, &rest)
}

fn change(cluster: &mut Cluster, topic: &str, partition: i32, replicas: &[i32]) -> anyhow::Result<()> {
    // Refused while brokers are away: then there is no reassignment this time.
    let error = cluster.ask(|conn| conn.reassign(topic, partition, Some(replicas)))?;
    if error != 0 {
        eprintln!("reassignment of {topic}-{partition} to {replicas:?}: error {error}");
    }
    Ok(())
}

/// Undoes all faults: every node runs, hears and answers, and every partition has all its replicas assigned again.
pub fn heal(cluster: &mut Cluster, topic: &str, struck: &[Struck]) -> anyhow::Result<()> {
    cluster.heal()?;
    cluster.right_clocks()?;
    for id in cluster.ids() {
        cluster.resume(id)?;
        cluster.normal_disk(id)?;
        if let Ok(disk) = cluster.disk(id) {
            disk.free()?;
        }
    }
    let excused = struck.iter().any(|s| s.fault.may_end_a_process());
    let ended = cluster.reap()?;
    anyhow::ensure!(ended.is_empty() || excused, "nodes {ended:?} ended by themselves\n{}", cluster.logs());
    // All at once: some of them may need each other to start.
    let down: Vec<i32> = cluster.ids().into_iter().filter(|id| cluster.pid(*id).is_none()).collect();
    down.iter().try_for_each(|id| cluster.spawn(*id))?;
    down.iter().try_for_each(|id| cluster.wait_up(*id))?;
    if struck.iter().any(|s| matches!(s.fault, Fault::Reassign(_))) {
        restore(cluster, topic)?;
    }
    Ok(())
}

/// Every broker holds every partition again.
pub fn restore(cluster: &mut Cluster, topic: &str) -> anyhow::Result<()> {
    let brokers = cluster.brokers();
    cluster.wait("all replicas assigned", BACK_LIMIT, |cluster| {
        let views = cluster.leaders(topic)?;
        let busy = cluster.ask(|conn| conn.reassigning())?;
        let short: Vec<_> = views.iter().filter(|v| brokers.iter().any(|id| !v.replicas.contains(id))).collect();
        for view in &short {
            if !busy.iter().any(|(name, index)| name == topic && *index == view.index) {
                let mut replicas = view.replicas.clone();
                replicas.extend(brokers.iter().filter(|id| !view.replicas.contains(id)));
                change(cluster, topic, view.index, &replicas)?;
            }
        }
        Ok(short.is_empty().then_some(()))
    })
}
