//! How long the quorum is without an active controller, and that it never is without need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::process::{Process, has_fact, leader, machines, start_all, wait_for, write_fact};

/// Writers that run until they are told to stop; they note what was acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
}

impl Load {
    fn new() -> Load {
        Load { stop: Arc::default(), acknowledged: Arc::default() }
    }

    /// One more writer, through this process.
    fn through(&self, process: &Process, name: &str) {
        let (stop, acknowledged) = (self.stop.clone(), self.acknowledged.clone());
        let (controller, name) = (Arc::downgrade(process.controller()), name.to_owned());
        process.spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let Some(controller) = controller.upgrade() else { return };
                n += 1;
                let fact = format!("{name}-{n}");
                if write_fact(&controller, &fact).await {
                    acknowledged.lock().unwrap().push(fact);
                }
            }
        });
    }
}

fn rounds() -> usize {
    std::env::var("MILLRACE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// Kills the active controller over and over, with writers at the others. Prints how long it took until a survivor had
/// a new command decided; nothing acknowledged is ever missing.
#[test]
fn a_killed_leader_is_replaced_at_once_and_nothing_is_lost() {
    for count in [3, 5] {
        let mut processes = machines(count);
        start_all(&mut processes);
        let mut load = Load::new();
        let mut gaps: Vec<Duration> = Vec::new();
        for round in 0..rounds() {
            let at = wait_for("a leader", || leader(&processes));
            for (n, process) in processes.iter().enumerate().filter(|(n, _)| *n != at) {
                load.through(process, &format!("w{round}-{n}"));
            }
            std::thread::sleep(Duration::from_millis(300));
            processes[at].kill();
            let begin = Instant::now();
            let survivor = processes.iter().find(|p| p.runs()).unwrap();
            let controller = survivor.controller().clone();
            let decided = survivor.run(async { write_fact(&controller, &format!("after-{round}")).await });
            gaps.push(begin.elapsed());
            assert!(decided);
            drop(controller);
            load.stop.store(true, Ordering::Relaxed);
            processes[at].start();
            let facts = load.acknowledged.lock().unwrap().clone();
            for process in &processes {
                let last = facts.last().unwrap();
                wait_for("catching up", || has_fact(process, last).then_some(()));
                let missing = wait_for("everything", || {
                    let missing: Vec<&String> = facts.iter().filter(|f| !has_fact(process, f)).collect();
                    missing.is_empty().then_some(missing.len())
                });
                assert_eq!(missing, 0);
            }
            load = Load { stop: Arc::default(), acknowledged: load.acknowledged };
        }
        gaps.sort_unstable();
        println!("{count} voters, killed leader: median {:?}, worst {:?}", gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        // Generous: other work may share the machine.
        assert!(gaps[gaps.len() / 2] < Duration::from_secs(3));
        processes.iter_mut().for_each(Process::kill);
    }
}

/// Slow disks and busy processors are no reason for an election.
#[test]
fn stalls_cause_no_election() {
    let mut processes = machines(3);
    start_all(&mut processes);
    let at = wait_for("a leader", || leader(&processes));
    let epoch = processes[at].controller().quorum().epoch;
    for process in &processes {
        process.delay_ms.store(250, Ordering::Relaxed);
    }
    let load = Load::new();
    processes.iter().for_each(|p| load.through(p, &format!("slow{}", p.id())));
    let burning = load.stop.clone();
    let burners: Vec<_> = (0..2)
        .map(|_| {
            let burning = burning.clone();
            std::thread::spawn(move || {
                while !burning.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(5));
    load.stop.store(true, Ordering::Relaxed);
    burners.into_iter().for_each(|b| b.join().unwrap());
    assert_eq!(processes[at].controller().quorum().epoch, epoch, "there was an election");
    assert!(processes[at].controller().leads());
    assert!(!load.acknowledged.lock().unwrap().is_empty());
    processes.iter_mut().for_each(Process::kill);
}
