//! How controllers find each other.

use std::time::Duration;

use super::process::{Process, leader, machines, ports, start_all, wait_for, write_fact};
use crate::{ControllerOptions, StartError};

#[test]
fn whoever_is_early_waits_for_the_others() {
    let mut processes = machines(3);
    let first = processes[0].launch();
    let second = processes[1].launch();
    assert!(first.started.recv_timeout(Duration::from_millis(1200)).is_err(), "it went on alone");
    let third = processes[2].launch();
    processes[0].settle(first);
    processes[1].settle(second);
    processes[2].settle(third);
    let cluster = processes[0].controller().cluster_id().to_owned();
    assert!(processes.iter().all(|p| p.controller().cluster_id() == cluster));
    // A majority is enough from now on, and the last one may come when it likes.
    processes.iter_mut().for_each(Process::kill);
    let (a, b) = (processes[0].launch(), processes[2].launch());
    processes[0].settle(a);
    processes[2].settle(b);
    let at = wait_for("a leader", || leader(&processes));
    let controller = processes[at].controller().clone();
    assert!(processes[at].run(write_fact(&controller, "x")));
    drop(controller);
    processes.iter_mut().filter(|p| p.runs()).for_each(Process::kill);
}

#[test]
fn bootstrap_servers_are_enough() {
    let ports = ports(3);
    let bootstrap: Vec<(String, u16)> = ports.iter().map(|port| ("127.0.0.1".to_owned(), port.number)).collect();
    let options = |id| ControllerOptions { bootstrap: bootstrap.clone(), ..ControllerOptions::new(id, "memory") };
    let mut processes: Vec<Process> =
        [30, 10, 20].into_iter().zip(ports).map(|(id, port)| Process::new(options(id), port)).collect();
    start_all(&mut processes);
    let voters = |process: &Process| process.controller().quorum().voters.iter().map(|v| v.id).collect::<Vec<_>>();
    wait_for("three voters", || (voters(&processes[0]) == [10, 20, 30]).then_some(()));
    // Once more, from what the disks say.
    processes.iter_mut().for_each(Process::kill);
    start_all(&mut processes);
    wait_for("three voters again", || (voters(&processes[1]) == [10, 20, 30]).then_some(()));
    processes.iter_mut().for_each(Process::kill);
}

#[test]
fn other_clusters_keep_apart() {
    let mut processes = machines(3);
    start_all(&mut processes);
    let cluster = processes[0].controller().cluster_id().to_owned();
    // A new directory that is meant for another cluster.
    processes[2].kill();
    let mut wrong = Process::new(processes[2].options.clone(), processes[2].port.clone());
    wrong.options.seed = 98;
    wrong.options.cluster_id = Some("another".into());
    assert!(matches!(wrong.refused(), StartError::WrongCluster { found, .. } if found == cluster));
    // A directory of another cluster.
    let mut alone = Process::new(ControllerOptions::new(3, "memory"), processes[2].port.clone());
    alone.start();
    alone.kill();
    alone.options = processes[2].options.clone();
    assert!(matches!(alone.refused(), StartError::WrongCluster { found, .. } if found == cluster));
    processes.iter_mut().filter(|p| p.runs()).for_each(Process::kill);
}

#[test]
fn different_wishes_are_named() {
    let mut processes = machines(2);
    processes[0].options.cluster_id = Some("a".into());
    processes[1].options.cluster_id = Some("b".into());
    let other = processes[1].launch();
    assert!(matches!(processes[0].refused(), StartError::ClusterIds { .. }));
    other.abandon();
}
