//! One running broker.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::logs::{LogScan, Problem};
use super::spec::{Peer, Spec};
use super::{kafka, proc, repo_root};
use crate::raw::Conn;

/// How long a broker may take to answer Metadata; a JVM on a busy machine needs most of it.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Millrace promises 2 s; the rest is allowance for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const KAFKA_STOP_LIMIT: Duration = Duration::from_secs(60);

/// How a start went.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// From the start of the process to its line that says *ready*.
    pub ready: Duration,
    /// From the start of the process to the first answer to Metadata that names a broker.
    pub metadata: Duration,
}

/// A broker process that this program owns; it is killed when the value is dropped.
pub struct Broker {
    pub spec: Spec,
    pub launch: Launch,
    child: Child,
    out_path: PathBuf,
    err_path: PathBuf,
    /// Bytes of the two log files that belong to earlier starts on the same directory.
    log_start: (u64, u64),
    ended: bool,
}

impl Broker {
    /// Starts the broker and waits until it is usable.
    pub fn start(spec: &Spec) -> anyhow::Result<Broker> {
        let mut broker = Broker::spawn(spec)?;
        let start = Instant::now();
        let ready = broker.wait_ready_line(start)?;
        let metadata = broker.wait_metadata(start)?;
        broker.launch = Launch { ready, metadata };
        Ok(broker)
    }

    /// Starts the process and returns at once; the caller waits for what it wants to see.
    pub fn spawn(spec: &Spec) -> anyhow::Result<Broker> {
        fs::create_dir_all(spec.dir.path())?;
        let command = match spec.peer {
            Peer::Kafka => kafka::command(spec)?,
            Peer::Millrace => millrace_command(spec)?,
        };
        let words: Vec<&String> = spec.wrapper.iter().chain(command.iter()).collect();
        let out_path = spec.dir.path().join("stdout.log");
        let err_path = spec.dir.path().join("stderr.log");
        let (out, out_start) = append_to(&out_path)?;
        let (err, err_start) = append_to(&err_path)?;
        let child = Command::new(words[0])
            .args(&words[1..])
            .envs(spec.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("start {}", words[0]))?;
        let zero = Launch { ready: Duration::ZERO, metadata: Duration::ZERO };
        Ok(Broker {
            spec: spec.clone(),
            launch: zero,
            child,
            out_path,
            err_path,
            log_start: (out_start, err_start),
            ended: false,
        })
    }

    fn wait_ready_line(&mut self, start: Instant) -> anyhow::Result<Duration> {
        let (marker, address) = match self.spec.peer {
            Peer::Kafka => ("Kafka Server started", String::new()),
            Peer::Millrace => ("ready", self.spec.addr()),
        };
        loop {
            let text = read_from(&self.out_path, self.log_start.0)?;
            if text.lines().any(|line| line.contains(marker) && line.contains(&address)) {
                return Ok(start.elapsed());
            }
            self.fail_if_dead_or_late(start, "printed no line that says it is ready")?;
        }
    }

    fn wait_metadata(&mut self, start: Instant) -> anyhow::Result<Duration> {
        loop {
            let answer = Conn::connect(self.spec.socket()).and_then(|mut conn| conn.broker_count());
            if matches!(answer, Ok(n) if n > 0) {
                return Ok(start.elapsed());
            }
            self.fail_if_dead_or_late(start, "did not answer Metadata")?;
        }
    }

    fn fail_if_dead_or_late(&mut self, start: Instant, what: &str) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            self.ended = true;
            anyhow::bail!("the broker ended with {status} and {what}\n{}", self.log_text());
        }
        anyhow::ensure!(start.elapsed() < START_LIMIT, "the broker {what} within {START_LIMIT:?}\n{}", self.log_text());
        std::thread::sleep(Duration::from_millis(2));
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn addr(&self) -> String {
        self.spec.addr()
    }

    pub fn port(&self) -> u16 {
        self.spec.port
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What this start printed on both streams.
    pub fn log_text(&self) -> String {
        let out = read_from(&self.out_path, self.log_start.0).unwrap_or_default();
        out + &read_from(&self.err_path, self.log_start.1).unwrap_or_default()
    }

    /// WARN and ERROR lines that the spec does not expect. Kafka's own are not judged.
    pub fn problems(&self) -> Vec<Problem> {
        match self.spec.peer {
            Peer::Kafka => Vec::new(),
            Peer::Millrace => LogScan { expected: &self.spec.expected_log }.problems(&self.log_text()),
        }
    }

    /// SIGTERM; fails unless the broker exits with 0 in time and left no unexpected WARN or ERROR.
    pub fn stop(mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let status = self.end(Signal::TERM)?;
        let took = start.elapsed();
        // Kafka's JVM reports the signal itself.
        let clean = status.success() || self.spec.peer == Peer::Kafka;
        anyhow::ensure!(clean, "exit after SIGTERM: {status}\n{}", self.log_text());
        self.check_log()?;
        Ok(took)
    }

    /// SIGKILL, and a wait until the process is gone.
    pub fn kill9(mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL)?;
        self.check_log()
    }

    /// Fails with the first unexpected lines of the log.
    pub fn check_log(&self) -> anyhow::Result<()> {
        const SHOWN: usize = 10;
        let problems = self.problems();
        let shown: Vec<&str> = problems.iter().take(SHOWN).map(|p| p.0.as_str()).collect();
        anyhow::ensure!(
            problems.is_empty(),
            "{} unexpected WARN or ERROR lines:\n{}",
            problems.len(),
            shown.join("\n")
        );
        Ok(())
    }

    /// Waits until the process ends by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let status = proc::wait_for("exit of the broker", limit, || Ok(self.child.try_wait()?))?;
        self.ended = true;
        Ok(status)
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        proc::signal(self.child.id(), signal)?;
        let limit = if self.spec.peer == Peer::Kafka { KAFKA_STOP_LIMIT } else { STOP_LIMIT };
        self.wait_exit(limit).with_context(|| format!("after {signal:?}\n{}", self.log_text()))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !self.ended {
            // Errors mean that it is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the broker on port {}\n{}", self.spec.port, tail(&self.log_text()));
        }
    }
}

/// Where the release binary is; `MILLRACE_BROKER` names another.
pub fn millrace_binary() -> PathBuf {
    std::env::var_os("MILLRACE_BROKER").map_or_else(|| program("millrace-broker"), PathBuf::from)
}

/// Where a program of the release build is.
pub fn program(name: &str) -> PathBuf {
    repo_root().join("target/release").join(name)
}

fn millrace_command(spec: &Spec) -> anyhow::Result<Vec<String>> {
    let binary = spec.binary.clone().unwrap_or_else(millrace_binary);
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release -p millrace-broker", binary.display());
    let mut command = vec![binary.display().to_string()];
    let mut push = |key: &str, value: &str| command.extend(["--override".to_owned(), format!("{key}={value}")]);
    if spec.setting("listeners").is_none() {
        push("listeners", &format!("PLAINTEXT://{}", spec.addr()));
    }
    if spec.setting("log.dirs").is_none() {
        push("log.dirs", &spec.data_dir().display().to_string());
    }
    for (key, value) in &spec.settings {
        push(key, value);
    }
    Ok(command)
}

fn append_to(path: &Path) -> anyhow::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn read_from(path: &Path, start: u64) -> anyhow::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8_lossy(bytes.get(start as usize..).unwrap_or_default()).into_owned())
}

fn tail(text: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
