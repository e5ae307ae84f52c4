use std::path::PathBuf;

use millrace_metadata::{ConfigResource, Image, Record, ResourceKind};

use super::*;

fn settings(overrides: &[&str]) -> Settings {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    Settings::gather(None, std::iter::empty(), &overrides).unwrap()
}

fn live(overrides: &[&str]) -> Result<LiveConfig, ConfigError> {
    LiveConfig::new(settings(overrides))
}

fn error(overrides: &[&str]) -> String {
    live(overrides).unwrap_err().to_string()
}

#[test]
fn nothing_configured_is_a_single_node_on_localhost() {
    let config = live(&[]).unwrap().current();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.log_dirs, [PathBuf::from("./millrace-data")]);
    assert_eq!(config.metadata_dir, PathBuf::from("./millrace-data"));
    assert_eq!((config.listeners[0].host.as_str(), config.listeners[0].port), ("localhost", 9092));
    assert!(config.advertised.is_empty());
    assert_eq!(config.flush_policy, FlushPolicy::Sync);
    assert_eq!(config.topic_defaults, Default::default());
    assert!(!config.groups.offsets_replication_pinned);
}

/// The file that comes with Kafka 4.
const KAFKA_DEFAULT_FILE: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn kafkas_own_file_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.properties");
    std::fs::write(&path, KAFKA_DEFAULT_FILE).unwrap();
    let settings = Settings::gather(Some(&path), std::iter::empty(), &[]).unwrap();
    let config = LiveConfig::new(settings).unwrap().current();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].host, "");
    assert_eq!(config.advertised.len(), 1);
    assert!(config.groups.offsets_replication_pinned);
}

#[test]
fn times_of_the_quorum() {
    let of = |overrides: &[&str]| {
        let config = live(overrides).unwrap().current();
        (config.quorum_fetch_timeout_ms, config.registration_timeout_ms)
    };
    assert_eq!(of(&[]), (1600, None));
    let set = ["controller.quorum.fetch.timeout.ms=5000", "initial.broker.registration.timeout.ms=20000"];
    assert_eq!(of(&set), (5000, Some(20000)));
    let all = settings(&[set[0], set[1], "controller.quorum.election.timeout.ms=2000"]);
    assert_eq!(all.without_effect(), ["controller.quorum.election.timeout.ms"]);
    let wrong = Settings::gather(None, std::iter::empty(), &["controller.quorum.fetch.timeout.ms=100".to_owned()]);
    assert!(wrong.unwrap_err().to_string().contains("controller.quorum.fetch.timeout.ms"));
}

#[test]
fn quorums_of_one_and_of_several() {
    let base = ["controller.listener.names=C", "listeners=PLAINTEXT://:9092,C://:9093"];
    let with = |extra: &str| live(&[base[0], base[1], extra]);
    let why = |extra: &str| with(extra).unwrap_err().to_string();
    assert!(with("controller.quorum.voters=1@localhost:9093").is_ok());
    assert!(why("controller.quorum.voters=2@localhost:9093").contains("does not name this node"));
    assert!(why("controller.quorum.voters=1@a:1,1@b:2").contains("twice"));
    assert!(why("controller.quorum.voters=1:a:1").contains("id@host:port"));
    let three = with("controller.quorum.voters=1@a:9093,2@b:9093,3@[::1]:9093").unwrap().current();
    assert_eq!(three.quorum_voters[2].host, "::1");
    assert_eq!((three.controller_listeners[0].name.as_str(), three.controller_listeners[0].port), ("C", 9093));
    assert_eq!(with("controller.quorum.bootstrap.servers=a:1,b:2").unwrap().current().quorum_bootstrap.len(), 2);
    assert!(error(&["controller.quorum.bootstrap.servers=a:1,b:2"]).contains("controller.listener.names"));
}

#[test]
fn each_role_has_its_listeners() {
    let names = "controller.listener.names=C";
    assert!(error(&["process.roles=broker"]).contains("controller.quorum.bootstrap.servers"));
    let servers = "controller.quorum.bootstrap.servers=a:1";
    let broker = live(&["process.roles=broker", servers, names]).unwrap().current();
    assert_eq!(broker.roles, Roles { broker: true, controller: false });
    assert!(error(&["process.roles=broker", servers, names, "listeners=PLAINTEXT://:1,C://:2"]).contains("none"));
    assert!(error(&["process.roles=broker", "controller.quorum.voters=1@a:1"]).contains("no controller role"));
    let controller = live(&["process.roles=controller", names, "listeners=C://:9093"]).unwrap().current();
    assert!(controller.listeners.is_empty() && !controller.roles.broker);
    assert!(error(&["process.roles=controller", names, "listeners=C://:2,PLAINTEXT://:1"]).contains("no clients"));
}

#[test]
fn contradictions_are_named() {
    assert!(error(&["node.id=1", "broker.id=2"]).contains("contradict"));
    assert!(error(&["log.retention.hours=0"]).contains("log.retention.hours=0"));
    assert!(error(&["group.min.session.timeout.ms=10", "group.max.session.timeout.ms=5"]).contains("=10"));
    assert!(error(&["listeners=SSL://:9093"]).contains("TLS"));
    assert!(error(&["listeners=FOO://:9093"]).contains("listener.security.protocol.map"));
    assert!(error(&["advertised.listeners=PLAINTEXT://0.0.0.0:9092"]).contains("cannot be reached"));
    assert!(error(&["advertised.listeners=SSL://h:9092"]).contains("no listener SSL"));
    assert!(error(&["inter.broker.listener.name=FOO"]).contains("FOO"));
    assert!(error(&["broker.heartbeat.interval.ms=5000"]).contains("half"));
    assert!(error(&["max.connections.per.ip.overrides=nonsense"]).contains("10.0.0.1:5"));
    assert!(error(&["http.listeners=8080"]).contains("host:port"));
    assert_eq!(live(&["broker.id=5"]).unwrap().current().node_id, 5);
}

fn image(values: &[(&str, &str, &str)]) -> Image {
    let mut image = Image::default();
    for (broker, key, value) in values {
        let resource = ConfigResource::new(ResourceKind::Broker, *broker);
        image.apply(&Record::config(resource, *key, Some((*value).to_owned())));
    }
    image
}

#[test]
fn dynamic_values_win_and_are_announced() {
    let live = live(&["log.retention.ms=1000", "message.max.bytes=5000"]).unwrap();
    let mut changes = live.subscribe();
    assert!(!live.update(&Image::default()));
    let image =
        image(&[("", "log.retention.ms", "2000"), ("1", "log.retention.ms", "3000"), ("", "num.partitions", "9")]);
    assert!(live.update(&image));
    assert!(changes.has_changed().unwrap());
    assert_eq!(changes.borrow_and_update().topic_defaults.0.retention_ms, 3000);
    assert_eq!(live.topic_config(&image, "t").max_message_bytes, 5000);
    assert_eq!(live.current().topics.num_partitions, 1, "not dynamic");
    assert_eq!(live.of_broker("log.retention.ms").as_deref(), Some("3000"));
    assert_eq!(live.of_cluster("log.retention.ms").as_deref(), Some("2000"));
    assert!(!live.update(&image), "the same image again");
    assert!(live.update(&Image::default()));
    assert_eq!(live.current().topic_defaults.0.retention_ms, 1000);
}

#[test]
fn printed_settings_hide_secrets_and_tell_sources() {
    let text = print(&settings(&["ssl.keystore.password=hunter2", "num.partitions=4", "zookeeper.connect=zk"]));
    assert!(!text.contains("hunter2"));
    assert!(text.contains("num.partitions=4    # --override\n"));
    assert!(text.contains("default.replication.factor=1    # default\n"));
    assert!(text.contains("ssl.keystore.password=[hidden]    # --override, without effect\n"));
    assert!(text.contains("zookeeper.connect=[hidden]    # --override, without effect\n"));
}
