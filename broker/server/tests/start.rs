//! Runs the program: every way in which it may refuse to start, and the way in which it starts and stops.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the program to be ready or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-broker"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with(overrides: &[&str]) -> Command {
    let mut command = program();
    overrides.iter().for_each(|o| {
        command.args(["--override", o]);
    });
    command
}

fn in_dir(dir: &Path, overrides: &[&str]) -> Command {
    let mut command = with(overrides);
    command.args(["--override", &format!("log.dirs={}", dir.display())]);
    if !overrides.iter().any(|o| o.starts_with("listeners=")) {
        command.args(["--override", "listeners=PLAINTEXT://127.0.0.1:0"]);
    }
    command
}

/// Runs to the end and returns the only line on standard error.
fn refusal(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "it started: {}", String::from_utf8_lossy(&stdout));
    assert_eq!(stdout, b"", "nothing is ready");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("millrace-broker: "), "{text}");
    lines[0].to_owned()
}

fn refuses(command: Command, words: &[&str]) {
    let line = refusal(command);
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
}

/// A broker that is ready, with the line that said so.
struct Broker {
    child: Child,
    line: String,
}

impl Broker {
    fn start(mut command: Command) -> Broker {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut text = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
            panic!("not ready: {text}");
        }
        Broker { child, line: line.trim_end().to_owned() }
    }

    /// Returns how long it took.
    fn stop(mut self) -> Duration {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(asked.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}");
        asked.elapsed()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn bad_settings_are_named() {
    refuses(
        with(&["log.retention.hour=1"]),
        &["log.retention.hour", "--override", "did you mean log.retention.hours?"],
    );
    refuses(with(&["num.partitions=0"]), &["num.partitions=0", "at least 1"]);
    refuses(with(&["num.partitions=many"]), &["num.partitions=many", "not a 32-bit integer"]);
    refuses(with(&["node.id=1", "broker.id=2"]), &["node.id=1", "broker.id=2"]);
    refuses(with(&["listeners=SSL://localhost:9093"]), &["listeners", "TLS", "PLAINTEXT"]);
    refuses(with(&["controller.quorum.voters=1@a:1,2@b:1"]), &["controller.listener.names", "CONTROLLER://:9093"]);
    refuses(with(&["process.roles=controller"]), &["process.roles=controller", "remove listener PLAINTEXT"]);
    let controller =
        ["process.roles=controller", "listeners=CONTROLLER://localhost:0", "controller.listener.names=CONTROLLER"];
    let with_http = with(&[&controller[..], &["http.listeners=localhost:8080"]].concat());
    refuses(with_http, &["http.listeners=localhost:8080", "remove http.listeners"]);
    refuses(with(&["log.cleanup.policy=compact"]), &["log.cleanup.policy=compact", "delete"]);
    refuses(
        with(&["authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"]),
        &["authorizer.class.name", "remove"],
    );
    let mut command = program();
    command.env("KAFKA_NUM_PARTITIONS", "0");
    refuses(command, &["num.partitions=0", "environment variable KAFKA_NUM_PARTITIONS"]);
}

#[test]
fn bad_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    let command = || {
        let mut command = program();
        command.arg(&file);
        command
    };
    refuses(command(), &["server.properties", "cannot be read"]);
    std::fs::write(&file, "node.id=1\nnum.partitions=-3\n").unwrap();
    refuses(command(), &["num.partitions=-3", "server.properties line 2", "at least 1"]);
}

#[test]
fn a_busy_port_is_found_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    refuses(in_dir(&data, &[&listeners]), &["PLAINTEXT", &format!("127.0.0.1:{port}"), "in use", "listeners"]);
    assert!(!data.exists());
    refuses(in_dir(&data, &["listeners=PLAINTEXT://no-such-host.invalid:0"]), &["no-such-host.invalid", "listeners"]);
}

#[test]
fn directories_of_others_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let first = Broker::start(in_dir(&data, &[]));
    refuses(in_dir(&data, &[]), &["data", "another broker", "log.dirs"]);
    first.stop();
    refuses(in_dir(&data, &["node.id=2"]), &["belongs to node 1", "set node.id=1"]);
    let mut command = in_dir(&data, &[]);
    command.args(["--cluster-id", "5L6g3nShT-eMCtK--X86sw"]);
    refuses(command, &["belongs to cluster", "5L6g3nShT-eMCtK--X86sw", "log.dirs"]);
    let identity = data.join("millrace.properties");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("version=1", "version=2")).unwrap();
    refuses(in_dir(&data, &[]), &["format 2", "newer version"]);
    std::fs::write(&identity, text).unwrap();
    Broker::start(in_dir(&data, &[])).stop();
}

#[test]
fn unusable_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = dir.path().join("kafka");
    std::fs::create_dir(&kafka).unwrap();
    std::fs::write(kafka.join("meta.properties"), "version=1\n").unwrap();
    refuses(in_dir(&kafka, &[]), &["kafka", "Apache Kafka", "log.dirs"]);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    refuses(in_dir(&file, &[]), &["file", "in the way", "log.dirs"]);
    refuses(in_dir(Path::new("/proc/millrace"), &[]), &["/proc/millrace", "log.dirs"]);
}

/// The files below `dir` and what is in them, sorted.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The program as a user who owns nothing; `home` gets a copy of it, as the build may lie where only root may look.
/// Whoever is not root runs it as he is.
fn as_nobody(home: &Path, data: &Path) -> Command {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-broker"));
    if rustix::process::geteuid().is_root() {
        set_mode(home, 0o755);
        let copy = home.join("millrace-broker");
        // Not by this process: a child that another test forks meanwhile would have the copy open for writing, and
        // nobody may run a file that is written.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_millrace-broker")).arg(&copy).status();
        assert!(copied.unwrap().success());
        set_mode(&copy, 0o755);
        command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env_clear().current_dir(home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["--override", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.args(["--override", &format!("log.dirs={}", data.display())]);
    command
}

#[test]
fn a_directory_without_the_right_to_write_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let remedy = ["Permission denied", "right to write", "log.dirs"];
    let says = |data: &Path| {
        let line = refusal(as_nobody(home.path(), data));
        assert!(line.contains(&data.display().to_string()), "{line}");
        remedy.iter().for_each(|word| assert!(line.contains(word), "{word:?} is not in {line:?}"));
    };
    let (empty, used) = (home.path().join("empty"), home.path().join("used"));
    Broker::start(in_dir(&used, &[])).stop();
    std::fs::create_dir(&empty).unwrap();
    let before = contents(&used);
    set_mode(&empty, 0o555);
    set_mode(&used, 0o555);
    // Root's file is not writable for others; who runs this as the owner gets the same by its mode.
    set_mode(&used.join(".lock"), 0o444);
    says(&empty);
    says(&empty.join("below"));
    says(&used);
    assert_eq!(contents(&used), before);
    assert_eq!(contents(&empty), []);
    set_mode(&used.join(".lock"), 0o644);
    set_mode(&empty, 0o755);
    set_mode(&used, 0o755);
    Broker::start(in_dir(&used, &[])).stop();
}

/// A mounted tmpfs of some MiB; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// None without the right to mount.
    fn mount(path: &Path, mib: u32) -> Option<Disk> {
        std::fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|s| s.success()).then(|| Disk(path.to_owned()))
    }

    /// Writes a file until nothing fits any more.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_refused_and_left_alone() {
    // `tests/sweep.sh` knows by its name whose it is, should this process be killed.
    let prefix = format!("millrace-test-{}-", std::process::id());
    let home = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
    let Some(disk) = Disk::mount(&home.path().join("disk"), 128) else {
        assert!(!rustix::process::geteuid().is_root(), "root can mount");
        return;
    };
    let (used, new) = (disk.0.join("used"), disk.0.join("new"));
    Broker::start(in_dir(&used, &[])).stop();
    let before = contents(&used);
    let filler = disk.fill();
    for data in [&used, &new] {
        let path = data.display().to_string();
        refuses(in_dir(data, &[]), &[&path, "no space left", "free some space", "log.dirs"]);
    }
    assert_eq!(contents(&used), before);
    std::fs::remove_file(filler).unwrap();
    for data in [&used, &new] {
        Broker::start(in_dir(data, &[])).stop();
    }
}

#[test]
fn it_starts_says_where_and_stops_soon() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let broker = Broker::start(in_dir(&data, &[]));
    let line = broker.line.clone();
    assert!(line.starts_with("millrace-broker "), "{line}");
    let address = line.split("ready: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(!address.ends_with(":0"), "{line}");
    std::net::TcpStream::connect(address).unwrap();
    assert!(line.contains(&format!("data {}", data.display())), "{line}");
    let cluster = line.split("(cluster ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    broker.stop();
    let again = Broker::start(in_dir(&data, &[]));
    assert!(again.line.contains(&cluster), "{}", again.line);
    assert!(again.stop() < Duration::from_secs(2), "it takes its time to stop");
}

#[test]
fn it_tells_about_itself() {
    let say = |args: &[&str]| {
        let output = program().args(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(say(&["--version"]).starts_with("millrace-broker 0."));
    assert!(say(&["--help"]).contains("--override <KEY=VALUE>"));
    let printed = say(&["--print-config", "--override", "num.partitions=4", "--override", "ssl.key.password=hunter2"]);
    assert!(printed.contains("num.partitions=4    # --override"));
    assert!(printed.contains("ssl.key.password=[hidden]"));
    assert!(!printed.contains("hunter2"));
}
