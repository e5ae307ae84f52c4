//! Runs several programs as one cluster: each of the roles alone, who is refused, and how they wait and stop.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Longest wait for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports that nobody else gets as long as this lives: their sockets are bound, and do not listen.
struct Ports<const N: usize> {
    numbers: [u16; N],
    _sockets: [Socket; N],
}

impl<const N: usize> Ports<N> {
    fn reserve() -> Ports<N> {
        let sockets = [(); N].map(|()| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            // As listeners have it: two such sockets may share a port until one of them listens.
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            socket
        });
        let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
        Ports { numbers: sockets.each_ref().map(port), _sockets: sockets }
    }
}

struct Node {
    child: Child,
    out: std::path::PathBuf,
}

impl Node {
    fn spawn(dir: &Path, name: &str, overrides: &[String]) -> Node {
        let out = dir.join(format!("{name}.log"));
        let log = std::fs::File::create(&out).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-broker"));
        command.env_clear().stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let data = format!("log.dirs={}", dir.join(name).display());
        for each in overrides.iter().map(String::as_str).chain([data.as_str()]) {
            command.args(["--override", each]);
        }
        Node { child: command.spawn().unwrap(), out }
    }

    fn says(&self, what: &str) -> bool {
        let log = BufReader::new(std::fs::File::open(&self.out).unwrap());
        log.lines().any(|line| line.is_ok_and(|line| line.contains(what)))
    }

    fn wait_for(&mut self, what: &str) {
        let since = Instant::now();
        while !self.says(what) {
            assert!(since.elapsed() < PATIENCE, "{what:?} is not in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it ended well, and how long that took.
    fn ended(&mut self) -> (bool, Duration) {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.success(), since.elapsed());
            }
            assert!(since.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) -> Duration {
        self.signal(rustix::process::Signal::TERM);
        let (well, took) = self.ended();
        assert!(well, "{}", self.log());
        took
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines(list: &[&str]) -> Vec<String> {
    list.iter().map(|line| (*line).to_owned()).collect()
}

fn broker(id: i32, port: u16, controller: u16) -> Vec<String> {
    let mut all = lines(&["process.roles=broker", "controller.listener.names=CONTROLLER"]);
    all.push(format!("node.id={id}"));
    all.push(format!("listeners=PLAINTEXT://127.0.0.1:{port}"));
    all.push(format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}"));
    all
}

fn controller(id: i32, port: u16) -> Vec<String> {
    let mut all = lines(&["process.roles=controller", "controller.listener.names=CONTROLLER"]);
    all.push(format!("node.id={id}"));
    all.push(format!("listeners=CONTROLLER://127.0.0.1:{port}"));
    all.push(format!("controller.quorum.voters={id}@127.0.0.1:{port}"));
    all
}

#[test]
fn a_broker_waits_for_its_controllers_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let [port, other, control] = ports.numbers;
    let mut waiting = Node::spawn(dir.path(), "b1", &broker(1, port, control));
    waiting.wait_for(&format!("waiting for a controller: 127.0.0.1:{control}"));
    assert!(!waiting.says("ready"), "{}", waiting.log());
    let mut gives_up = Node::spawn(dir.path(), "b2", &broker(2, other, control));
    gives_up.wait_for("waiting for a controller");
    assert!(gives_up.stop() < Duration::from_secs(2));
    // The controller comes at last.
    let mut controller = Node::spawn(dir.path(), "c", &controller(9, control));
    controller.wait_for("ready");
    waiting.wait_for("ready: 127.0.0.1");
    let mut second = Node::spawn(dir.path(), "b2", &broker(2, other, control));
    second.wait_for("2 brokers");
    waiting.stop();
    second.stop();
    controller.stop();
}

#[test]
fn a_broker_gives_up_when_its_registration_may_take_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let [port, control] = ports.numbers;
    let limit = lines(&["initial.broker.registration.timeout.ms=700"]);
    let mut lonely = Node::spawn(dir.path(), "b", &[broker(1, port, control), limit].concat());
    let begun = Instant::now();
    let (well, _) = lonely.ended();
    assert!(!well && begun.elapsed() >= Duration::from_millis(700), "{}", lonely.log());
    assert!(lonely.says("not registered within 700 ms"), "{}", lonely.log());
    assert!(lonely.says("initial.broker.registration.timeout.ms"), "{}", lonely.log());
}

#[test]
fn a_dead_broker_is_missed_at_once_and_comes_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let [one, two, control] = ports.numbers;
    // Whoever only misses its reports does so after a minute.
    let patient = [controller(9, control), lines(&["broker.session.timeout.ms=60000"])].concat();
    let mut controller = Node::spawn(dir.path(), "c", &patient);
    let mut first = Node::spawn(dir.path(), "b1", &broker(1, one, control));
    let mut second = Node::spawn(dir.path(), "b2", &broker(2, two, control));
    first.wait_for("ready: 127.0.0.1");
    second.wait_for("ready: 127.0.0.1");
    let killed = Instant::now();
    second.signal(rustix::process::Signal::KILL);
    controller.wait_for("the broker is fenced broker=2");
    let took = killed.elapsed();
    println!("fenced {took:?} after the kill");
    assert!(took < Duration::from_secs(2), "only its silence was noticed");
    assert!(controller.says("its connection broke"), "{}", controller.log());
    let again = Instant::now();
    let mut second = Node::spawn(dir.path(), "b2", &broker(2, two, control));
    second.wait_for("2 brokers");
    assert!(again.elapsed() < Duration::from_millis(2500), "it waited for its old session");
    // The controller goes and comes: nobody has to be restarted.
    controller.stop();
    let brief = [self::controller(9, control), lines(&["broker.session.timeout.ms=9000"])].concat();
    let mut controller = Node::spawn(dir.path(), "c", &brief);
    controller.wait_for("this node is the active controller");
    // Longer than a session.
    std::thread::sleep(Duration::from_millis(9500));
    assert!(!controller.says("is fenced"), "{}", controller.log());
    first.stop();
    second.stop();
    assert!(first.says("what this broker led is led elsewhere"), "{}", first.log());
}

#[test]
fn strangers_and_doubles_are_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let [one, two, three, home, abroad] = ports.numbers;
    let mut here = Node::spawn(dir.path(), "c1", &controller(9, home));
    let mut there = Node::spawn(dir.path(), "c2", &controller(9, abroad));
    here.wait_for("ready");
    there.wait_for("ready");
    let mut first = Node::spawn(dir.path(), "b1", &broker(1, one, home));
    first.wait_for("ready: 127.0.0.1");
    let mut double = Node::spawn(dir.path(), "other", &broker(1, two, home));
    assert!(!double.ended().0);
    assert!(
        double.says("Another broker with id 1 is alive. Stop the other broker, or give this one"),
        "{}",
        double.log()
    );
    first.stop();
    let mut moved = Node::spawn(dir.path(), "b1", &broker(1, three, abroad));
    assert!(!moved.ended().0);
    assert!(moved.says("controller.quorum.bootstrap.servers"), "{}", moved.log());
}
