//! The command line of Apache Kafka 4.3.1, fetched by Maven into the cache folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::spec::Spec;
use super::{cache_dir, repo_root};

const VERSION: &str = "4.3.1";
/// Any cluster id will do; a fixed one keeps runs alike.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";
/// What the start script of Kafka's distribution gives to the JVM.
const JVM_FLAGS: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
];
const LOG4J: &str = "rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=STDOUT
appender.console.type=Console
appender.console.name=STDOUT
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
";

/// The folder with Kafka's jars; Maven fills it on first use.
pub fn jars() -> anyhow::Result<PathBuf> {
    let libs = cache_dir().join(format!("kafka-{VERSION}/libs"));
    if libs.join(format!("kafka-tools-{VERSION}.jar")).exists() {
        return Ok(libs);
    }
    // Renamed when it is complete, so that nobody starts with half of it.
    let part = cache_dir().join(format!("kafka-{VERSION}/libs.{}", std::process::id()));
    let ok = Command::new("bash")
        .arg(repo_root().join("tests/retry.sh"))
        .args(["mvn", "-q", "-f"])
        .arg(repo_root().join("tests/conformance/pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", part.display()))
        .stdin(Stdio::null())
        .status()
        .context("mvn")?;
    anyhow::ensure!(ok.success(), "mvn could not fetch Apache Kafka {VERSION}");
    if libs.exists() {
        fs::remove_dir_all(&libs)?;
    }
    fs::rename(&part, &libs)?;
    Ok(libs)
}

fn properties(spec: &Spec) -> String {
    let (host, controller) = (spec.host, spec.controller_port);
    let node = spec.setting("node.id").unwrap_or("0");
    let defaults = [
        ("process.roles", "broker,controller".to_owned()),
        ("listeners", format!("PLAINTEXT://{},CONTROLLER://{host}:{controller}", spec.addr())),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ("controller.quorum.voters", format!("{node}@{host}:{controller}")),
        ("log.dirs", spec.data_dir().display().to_string()),
    ];
    let own = ["log.dirs", "flush.policy", "memory.limit", "http.listeners"];
    let mut lines: Vec<String> = defaults
        .into_iter()
        .filter(|(key, _)| own.contains(key) || spec.setting(key).is_none())
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    lines.extend(spec.settings.iter().filter(|(k, _)| !own.contains(&k.as_str())).map(|(k, v)| format!("{k}={v}")));
    lines.join("\n") + "\n"
}

/// Formats the data directory when it is new, and returns the command that runs the broker.
pub fn command(spec: &Spec) -> anyhow::Result<Vec<String>> {
    let libs = jars()?;
    let home = spec.dir.path();
    fs::create_dir_all(home)?;
    let config = home.join("server.properties");
    fs::write(&config, properties(spec))?;
    fs::write(home.join("log4j2.properties"), LOG4J)?;
    let classpath = format!("{}/*", libs.display());
    if !spec.data_dir().join("meta.properties").exists() {
        let out = Command::new("java")
            .args([
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &classpath,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                CLUSTER_ID,
                "-c",
            ])
            .arg(&config)
            .stdin(Stdio::null())
            .output()
            .context("java")?;
        anyhow::ensure!(out.status.success(), "format: {}", String::from_utf8_lossy(&out.stderr));
    }
    let mut command = vec!["java".to_owned(), format!("-Xmx{0}m", spec.heap_mib), format!("-Xms{0}m", spec.heap_mib)];
    command.extend(JVM_FLAGS.map(str::to_owned));
    command.push(format!("-Dlog4j2.configurationFile={}", home.join("log4j2.properties").display()));
    command.extend(["-cp".to_owned(), classpath, "kafka.Kafka".to_owned(), config.display().to_string()]);
    Ok(command)
}
