//! One of two disks of a broker breaks while it leads.

use millrace_tests::cluster::{BreakableDisk, NewTopic, Plan};
use millrace_tests::harness::Peer;

use super::steady::Steady;
use super::{LIMIT, TOPIC, alone};

const BROKEN: i32 = 1;
const DISK_MIB: u64 = 256;
const PARTITIONS: usize = 8;

#[test]
fn a_broken_disk_takes_only_its_replicas() -> anyhow::Result<()> {
    let _alone = alone();
    let mut cluster = Plan::combined(Peer::Millrace, 3).lay_out()?;
    let dir = cluster.spec(BROKEN).dir.path().to_owned();
    let Some(disk) = BreakableDisk::mount(&dir.join("disk"), DISK_MIB)? else {
        eprintln!("skipped: this machine cannot mount a file system in a file");
        return Ok(());
    };
    let (kept, broken) = (dir.join("kept"), disk.path().join("data"));
    let spec = cluster.spec(BROKEN).clone().set("log.dirs", &format!("{},{}", kept.display(), broken.display()));
    *cluster.spec_mut(BROKEN)? = spec;
    (1..=3).try_for_each(|id| cluster.spawn(id))?;
    cluster.wait_whole(LIMIT)?;
    let assignment = vec![vec![BROKEN, 2, 3]; PARTITIONS];
    cluster.create(&NewTopic { name: TOPIC, partitions: 0, replicas: 0, assignment, configs: Vec::new() })?;
    let steady = Steady::start(&cluster, TOPIC)?;
    steady.go_on(&mut cluster, 500)?;
    disk.fail()?;
    // Those that lay on it have other leaders; those on the other disk have not. The broker goes on.
    let led = cluster.wait("other leaders", LIMIT, |cluster| {
        let views = cluster.leaders(TOPIC)?;
        let led = views.iter().filter(|view| view.leader == BROKEN).count();
        Ok((led < PARTITIONS && views.iter().all(|view| view.leader >= 0)).then_some(led))
    })?;
    steady.go_on(&mut cluster, 500)?;
    assert_eq!(led, PARTITIONS / 2, "partitions are spread over both disks");
    let still = cluster.leaders(TOPIC)?.iter().filter(|view| view.leader == BROKEN && view.isr.len() == 3).count();
    assert_eq!(still, PARTITIONS / 2);
    let log = cluster.log_texts();
    assert!(log.lines().any(|line| line.contains(" ERROR ") && line.contains(&broken.display().to_string())), "{log}");
    // A new disk in its place, empty: everything comes back from the others.
    cluster.kill9(BROKEN)?;
    disk.replace()?;
    cluster.start_node(BROKEN)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    let count = steady.check(&cluster, TOPIC)?;
    eprintln!("{count} acknowledged, all read once");
    Ok(())
}
