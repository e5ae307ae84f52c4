//! Controllers of two versions in one quorum, and the level that says when the new one may write what the old one does
//! not know.

use millrace_metadata::command::{FeatureChange, FeatureChangeKind};
use millrace_metadata::features::{Feature, MILLRACE_VERSION, TABLE, UNSAID};
use millrace_metadata::{Command, ErrorCode, Reply};

use super::process::{Process, has_fact, leader, machines, ports, start_all, wait_for, write_fact};
use crate::{ControllerOptions, StartError};

fn restart(process: &mut Process, table: &'static [Feature]) {
    process.kill();
    process.options.defaults.features = table;
    process.start();
}

fn write(processes: &[Process], name: &str) {
    let at = wait_for("a leader", || leader(processes));
    let controller = processes[at].controller().clone();
    assert!(processes[at].run(write_fact(&controller, name)), "{name}");
    for process in processes.iter().filter(|p| p.runs()) {
        wait_for("the fact everywhere", || has_fact(process, name).then_some(()));
    }
}

/// Why the level is not raised.
fn raise(processes: &[Process], at: usize) -> Option<String> {
    let change = FeatureChange { name: MILLRACE_VERSION.into(), level: 1, kind: FeatureChangeKind::Upgrade };
    let command = Command::UpdateFeatures { changes: vec![change], validate_only: false };
    wait_for("a leader", || leader(processes));
    let controller = processes[at].controller().clone();
    let reply = processes[at].run(async move { controller.submit(command).await });
    let Reply::UpdateFeatures(done) = reply.unwrap() else { panic!("wrong reply") };
    let error = done.err()?;
    assert_eq!(error.code, ErrorCode::InvalidUpdateVersion);
    Some(error.message)
}

fn registered(process: &Process) -> Vec<i32> {
    process.controller().images().borrow().controllers().map(|c| c.id).collect()
}

#[test]
fn what_is_new_waits_for_the_last_controller_and_for_the_word() {
    let mut processes = machines(3);
    processes.iter_mut().for_each(|p| p.options.defaults.features = UNSAID);
    start_all(&mut processes);
    write(&processes, "before");
    // One after the other; the first one back and forth.
    for (at, table) in [(0, TABLE), (0, UNSAID), (0, TABLE), (1, TABLE), (2, TABLE)] {
        assert!(raise(&processes, at).is_some());
        restart(&mut processes[at], table);
        write(&processes, &format!("{at} of {}", table.len()));
    }
    assert!(processes.iter().all(|p| registered(p).is_empty()));
    // Who is not there cannot be asked.
    processes[2].kill();
    let why = raise(&processes, 0).expect("it was raised without asking everybody");
    assert!(why.contains("Controller 3 cannot be asked"), "{why}");
    processes[2].start();
    assert_eq!(raise(&processes, 0), None);
    for process in &processes {
        wait_for("all registered", || (registered(process) == [1, 2, 3]).then_some(()));
    }

    // There is no way back: with its own disk, nor as somebody new.
    processes[1].kill();
    processes[1].options.defaults.features = UNSAID;
    let too_new = |error| matches!(error, StartError::TooNew { name, level: 1, known: 0 } if name == MILLRACE_VERSION);
    assert!(too_new(processes[1].refused()));
    let port = ports(1).remove(0);
    let bootstrap = vec![("127.0.0.1".to_owned(), processes[0].port.number)];
    let advertised = Some(("127.0.0.1".to_owned(), port.number));
    let mut late = ControllerOptions { bootstrap, advertised, ..ControllerOptions::new(4, "memory") };
    late.defaults.features = UNSAID;
    assert!(too_new(Process::new(late.clone(), port.clone()).refused()));
    // The right one is taken in, and registers as an observer does.
    late.defaults.features = TABLE;
    late.seed = 5;
    let mut late = Process::new(late, port);
    late.start();
    wait_for("the fourth registered", || (registered(&late) == [1, 2, 3, 4]).then_some(()));
    processes.push(late);
    processes.iter_mut().filter(|p| p.runs()).for_each(Process::kill);
}

#[test]
fn a_new_cluster_starts_with_its_founder_registered() {
    let port = ports(1).remove(0);
    let mut alone = Process::new(ControllerOptions::new(1, "memory"), port);
    alone.start();
    let index = alone.controller().images().borrow().index;
    assert_eq!(registered(&alone), [1]);
    // There is nothing left to say after a restart.
    alone.kill();
    alone.start();
    assert_eq!(registered(&alone), [1]);
    write(std::slice::from_ref(&alone), "after");
    // Blank entry of the new term, and the fact.
    assert_eq!(alone.controller().images().borrow().index, index + 2);
    alone.kill();
}
