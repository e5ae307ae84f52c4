//! The log when everything is over.

use std::time::{Duration, Instant};

use super::readers::id_of;
use crate::checker::{At, Logged};
use crate::cluster::Cluster;
use crate::raw::{Conn, FetchPart, records};

/// All records of a topic, each partition from its start to its end, from its leader. `connect` reaches a broker by its
/// id, and any broker by −1.
pub fn read_log(connect: impl Fn(i32) -> anyhow::Result<Conn>, topic: &str) -> anyhow::Result<Vec<Logged>> {
    patiently(|| read_once(&connect, topic))
}

/// A broker may have heard of a new leader a moment later than that leader.
fn patiently<T>(mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    const LIMIT: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_millis(100);
    let begin = Instant::now();
    loop {
        match attempt() {
            Err(_) if begin.elapsed() < LIMIT => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

fn read_once(connect: &impl Fn(i32) -> anyhow::Result<Conn>, topic: &str) -> anyhow::Result<Vec<Logged>> {
    let mut out = Vec::new();
    for view in connect(-1)?.partitions(topic)? {
        let (partition, mut offset) = (view.index, 0);
        let mut conn = connect(view.leader)?;
        let (error, end) = conn.list_offset(topic, partition, -1)?;
        anyhow::ensure!(error == 0, "the end of {topic}-{partition}: error {error}");
        while offset < end {
            let part = FetchPart { topic, partition, offset, max_bytes: 4 << 20 };
            let got = conn.fetch(&part, 500)?;
            anyhow::ensure!(got.error == 0, "fetch {topic}-{partition} at {offset}: error {}", got.error);
            let before = offset;
            for record in records(&got.records)?.into_iter().filter(|r| r.offset >= before) {
                let at = At { partition, offset: record.offset, id: id_of(&record.value) };
                out.push(Logged { at, epoch: record.epoch });
                offset = record.offset + 1;
            }
            anyhow::ensure!(offset > before, "no progress at {offset} of {topic}-{partition}, which ends at {end}");
        }
    }
    Ok(out)
}

/// The end of each partition; `connect` as in [`read_log`].
pub fn ends(connect: impl Fn(i32) -> anyhow::Result<Conn>, topic: &str) -> anyhow::Result<Vec<i64>> {
    let end = |leader, partition| {
        let (error, end) = connect(leader)?.list_offset(topic, partition, -1)?;
        anyhow::ensure!(error == 0, "the end of {topic}-{partition}: error {error}");
        Ok(end)
    };
    patiently(|| connect(-1)?.partitions(topic)?.iter().map(|v| end(v.leader, v.index)).collect())
}

/// Lets each partition's next replica lead, so that a second read meets the copies that the first did not.
pub fn rotate(cluster: &mut Cluster, topic: &str) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    let views = cluster.leaders(topic)?;
    let mut wanted = Vec::new();
    for view in &views {
        let mut replicas = view.replicas.clone();
        let leads = replicas.iter().position(|id| *id == view.leader).unwrap_or(0);
        replicas.rotate_left((leads + 1) % view.replicas.len());
        let error = cluster.ask(|conn| conn.reassign(topic, view.index, Some(&replicas)))?;
        anyhow::ensure!(error == 0, "reorder the replicas of {topic}-{}: error {error}", view.index);
        wanted.push(replicas[0]);
    }
    cluster.wait("leaders in another order", LIMIT, |cluster| {
        // What is elected already answers with an error of its own.
        cluster.ask(|conn| conn.elect_preferred())?;
        let leaders = cluster.leaders(topic)?;
        Ok(leaders.iter().map(|v| v.leader).eq(wanted.iter().copied()).then_some(()))
    })
}
