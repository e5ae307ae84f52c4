//! Voters come and go while the quorum works.

use std::sync::atomic::Ordering;

use millrace_metadata::ErrorCode;

use super::process::{PATIENCE, Process, has_fact, leader, machines, ports, start_all, wait_for, write_fact};
use crate::{ControllerOptions, NewVoter, VoterId};

fn voters(process: &Process) -> Vec<i32> {
    process.controller().quorum().voters.iter().map(|v| v.id).collect()
}

fn write(processes: &[Process], name: &str) {
    let process = processes.iter().find(|p| p.runs()).unwrap();
    let controller = process.controller().clone();
    assert!(process.run(write_fact(&controller, name)), "{name}");
}

/// A controller that finds the quorum through one of its members.
fn newcomer(id: i32, quorum: &[Process]) -> Process {
    let port = ports(1).remove(0);
    let options = ControllerOptions {
        bootstrap: vec![("127.0.0.1".into(), quorum[0].port.number)],
        advertised: Some(("127.0.0.1".into(), port.number)),
        ..ControllerOptions::new(id, "memory")
    };
    Process::new(options, port)
}

fn as_voter(process: &Process) -> NewVoter {
    NewVoter {
        id: process.id(),
        dir: process.controller().dir_id(),
        host: "127.0.0.1".into(),
        port: process.port.number,
    }
}

fn add(through: &Process, voter: NewVoter) -> Result<(), ErrorCode> {
    let controller = through.controller().clone();
    through.run(async { controller.add_voter(voter, PATIENCE).await }).map_err(|e| e.code)
}

fn remove(through: &Process, voter: VoterId) -> Result<(), ErrorCode> {
    let controller = through.controller().clone();
    through.run(async { controller.remove_voter(voter, PATIENCE).await }).map_err(|e| e.code)
}

#[test]
fn a_controller_is_replaced_online_even_the_leader() {
    let mut processes = machines(3);
    start_all(&mut processes);
    write(&processes, "before");
    let mut fourth = newcomer(4, &processes);
    fourth.start();
    processes.push(fourth);
    // It has everything, without a vote.
    wait_for("following", || has_fact(&processes[3], "before").then_some(()));
    // What is said of the quorum may come a moment later than what was agreed.
    wait_for("three voters", || (voters(&processes[3]) == [1, 2, 3]).then_some(()));
    let observed = || {
        let info = processes[leader(&processes)?].controller().quorum();
        info.observers.iter().map(|o| o.id).eq([4]).then_some(())
    };
    wait_for("an observer", observed);
    // Asked at one that does not lead.
    let voter = as_voter(&processes[3]);
    let wrong = NewVoter { dir: millrace_metadata::DirId([7; 16]), ..voter.clone() };
    assert_eq!(add(&processes[3], wrong), Err(ErrorCode::InvalidRequest));
    assert_eq!(add(&processes[3], voter.clone()), Ok(()));
    assert_eq!(add(&processes[3], voter), Err(ErrorCode::DuplicateVoter));
    // The leader goes: it hands over, and follows without a vote.
    let at = wait_for("a leader", || leader(&processes));
    let old = VoterId { id: processes[at].id(), dir: processes[at].controller().dir_id() };
    assert_eq!(remove(&processes[at], old), Ok(()));
    let left = wait_for("a new leader", || leader(&processes).filter(|now| *now != at));
    wait_for("three voters", || (voters(&processes[left]).len() == 3).then_some(()));
    assert!(!voters(&processes[left]).contains(&old.id));
    assert_eq!(remove(&processes[left], old), Err(ErrorCode::VoterNotFound));
    write(&processes[left..=left], "after");
    wait_for("the old one following", || has_fact(&processes[at], "after").then_some(()));
    // It is not needed any more.
    processes[at].kill();
    write(&processes, "without it");
    // The third voter may be heard of later than the one that made the majority.
    let real = |v: &crate::Voter| v.last_fetch_ms > 0 && v.last_caught_up_ms > 0 && v.log_end > 0;
    let all_real = || {
        let now = processes[leader(&processes)?].controller().quorum();
        now.voters.iter().all(real).then_some(())
    };
    wait_for("figures of all voters", all_real);
    processes.iter_mut().filter(|p| p.runs()).for_each(Process::kill);
}

/// Changes are made one at a time; whoever asks meanwhile waits for its turn.
#[test]
fn two_are_added_at_the_same_time() {
    let mut processes = machines(3);
    start_all(&mut processes);
    let mut more: Vec<Process> = (4..=5).map(|id| newcomer(id, &processes)).collect();
    start_all(&mut more);
    // So that a change takes its time.
    processes.iter().for_each(|process| process.delay_ms.store(50, Ordering::Relaxed));
    let added: Vec<Result<(), ErrorCode>> = std::thread::scope(|scope| {
        let through = &processes[0];
        let asked: Vec<_> = more.iter().map(|next| scope.spawn(move || add(through, as_voter(next)))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(added, [Ok(()), Ok(())]);
    processes.append(&mut more);
    wait_for("five voters", || (voters(&processes[0]) == [1, 2, 3, 4, 5]).then_some(()));
    processes.iter_mut().for_each(Process::kill);
}

#[test]
fn one_grows_to_five() {
    let port = ports(1).remove(0);
    let options = ControllerOptions {
        advertised: Some(("127.0.0.1".into(), port.number)),
        ..ControllerOptions::new(1, "memory")
    };
    let mut processes = vec![Process::new(options, port)];
    processes[0].start();
    for id in 2..=5 {
        let mut next = newcomer(id, &processes);
        next.options.auto_join = id % 2 == 0;
        next.start();
        if id % 2 != 0 {
            assert_eq!(add(&processes[0], as_voter(&next)), Ok(()));
        }
        processes.push(next);
        let id = id as usize;
        wait_for("one more voter", || (voters(&processes[0]).len() == id).then_some(()));
    }
    write(&processes, "five");
    // Two of five may be missing.
    let at = wait_for("a leader", || leader(&processes));
    processes[at].kill();
    let at = wait_for("a leader", || leader(&processes));
    processes[at].kill();
    write(&processes, "three");
    processes.iter_mut().filter(|p| p.runs()).for_each(Process::kill);
}

#[test]
fn a_voter_that_lost_its_disk_gets_its_vote_back() {
    let mut processes = machines(3);
    start_all(&mut processes);
    write(&processes, "before");
    let at = wait_for("a leader", || leader(&processes));
    let lost = (at + 1) % 3;
    processes[lost].kill();
    write(&processes, "meanwhile");
    let old = processes[at].controller().quorum().voters.iter().find(|v| v.id == processes[lost].id()).unwrap().dir;
    let port = processes[lost].port.clone();
    let options = ControllerOptions { seed: 99, ..processes[lost].options.clone() };
    processes[lost] = Process::new(options, port);
    processes[lost].start();
    let new = processes[lost].controller().dir_id();
    assert_ne!(old, new);
    let has_vote = || {
        let quorum = processes[at].controller().quorum();
        (quorum.voters.len() == 3 && quorum.voters.iter().any(|v| v.dir == new)).then_some(())
    };
    wait_for("its vote", has_vote);
    assert!(has_fact(&processes[lost], "before") && has_fact(&processes[lost], "meanwhile"));
    // Its vote counts: another one may go.
    let other = 3 - at - lost;
    processes[other].kill();
    write(&processes, "after");
    processes.iter_mut().filter(|p| p.runs()).for_each(Process::kill);
}
