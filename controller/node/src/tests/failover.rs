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

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
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

/// Facts that are written before a leader is killed.
const ACKNOWLEDGED: usize = 20;

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
            // In the middle of their work.
            let before = load.count();
            wait_for("acknowledged facts", || (load.count() > before + ACKNOWLEDGED).then_some(()));
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

/// The longest time that a thread was not run although it wanted to, until `stop`.
fn longest_stall(stop: &AtomicBool) -> Duration {
    const NAP: Duration = Duration::from_millis(10);
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        std::thread::sleep(NAP);
        longest = longest.max(begin.elapsed().saturating_sub(NAP));
    }
    longest
}

/// Five seconds of work on two processors that are busy anyway; returns how long the machine stood still at most.
fn work_hard(processes: &[Process]) -> Duration {
    let load = Load::new();
    processes.iter().for_each(|p| load.through(p, &format!("slow{}", p.id())));
    let stall = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !load.stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let stall = scope.spawn(|| longest_stall(&load.stop));
        std::thread::sleep(Duration::from_secs(5));
        load.stop.store(true, Ordering::Relaxed);
        stall.join().unwrap()
    });
    wait_for("an acknowledged fact", || (load.count() > 0).then_some(()));
    stall
}

/// Slow disks and busy processors are no reason for an election. A machine that stands still as a whole is one: then
/// nothing was learnt, and it is tried again.
#[test]
fn stalls_cause_no_election() {
    const STILL: Duration = Duration::from_millis(400);
    const ATTEMPTS: usize = 10;
    let mut processes = machines(3);
    start_all(&mut processes);
    for process in &processes {
        process.delay_ms.store(250, Ordering::Relaxed);
    }
    let calm = (0..ATTEMPTS).any(|_| {
        let at = wait_for("a leader", || leader(&processes));
        let epoch = processes[at].controller().quorum().epoch;
        let stall = work_hard(&processes);
        let controller = processes[at].controller();
        let calm = controller.leads() && controller.quorum().epoch == epoch;
        assert!(calm || stall > STILL, "there was an election, and the longest stall was {stall:?}");
        calm
    });
    assert!(calm, "the machine stood still in each of {ATTEMPTS} attempts");
    processes.iter_mut().for_each(Process::kill);
}

/// Keeps all threads of a process busy until what is returned is dropped: it is silent with its connections open.
fn stall(process: &Process) -> Vec<std::sync::mpsc::Sender<()>> {
    let stuck = |_| {
        let (release, released) = std::sync::mpsc::channel();
        process.spawn(async move { released.recv().unwrap_or_default() });
        release
    };
    (0..8).map(stuck).collect()
}

#[test]
fn a_silent_leader_keeps_its_place_for_as_long_as_the_setting_says() {
    let mut processes = machines(3);
    processes.iter_mut().for_each(|p| p.options.fetch_timeout_ms = 6_000);
    start_all(&mut processes);
    let at = wait_for("a leader", || leader(&processes));
    let controller = processes[at].controller().clone();
    assert!(processes[at].run(write_fact(&controller, "before")));
    processes.iter().for_each(|p| wait_for("the fact everywhere", || has_fact(p, "before").then_some(())));
    let begin = Instant::now();
    let stalled = stall(&processes[at]);
    wait_for("another leader", || leader(&processes).filter(|now| *now != at));
    // Half of it is the lease, five eighths of the other half pass in any case.
    assert!(begin.elapsed() > Duration::from_millis(4_000), "{:?}", begin.elapsed());
    drop((stalled, controller));
    processes.iter_mut().for_each(Process::kill);
}
