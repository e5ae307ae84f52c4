//! Counters of the broker in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_metadata::image::PartitionImage;

use crate::api::table::{KEYS, ROWS};
use crate::broker::Broker;
use crate::net::NetStats;

/// Requests by API, counted by dispatch.
#[derive(Debug)]
pub struct Metrics {
    requests: [AtomicU64; KEYS],
    malformed: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { requests: [const { AtomicU64::new(0) }; KEYS], malformed: AtomicU64::new(0) }
    }
}

impl Metrics {
    /// Counts a request that dispatch accepted.
    pub fn count_request(&self, api_key: i16) {
        if let Some(counter) = usize::try_from(api_key).ok().and_then(|key| self.requests.get(key)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request that could not be decoded or is not served.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }
}

/// All series, in the text format of Prometheus 0.0.4.
pub fn render(broker: &Broker, net: &NetStats, request_memory: usize) -> String {
    let mut page = Page::default();
    page.head("millrace_requests_total", "counter", "Requests by API.");
    for row in ROWS {
        let count = &broker.metrics.requests[row.key as usize];
        page.line("millrace_requests_total", &format!("{{api=\"{}\"}}", row.name), count.load(Ordering::Relaxed));
    }
    page.one(
        "millrace_malformed_requests_total",
        "counter",
        "Requests that could not be decoded or are not served.",
        broker.metrics.malformed.load(Ordering::Relaxed),
    );
    network(&mut page, net);
    page.one(
        "millrace_request_memory_bytes",
        "gauge",
        "Bytes of requests being read or handled.",
        request_memory as u64,
    );
    page.one(
        "millrace_answer_memory_bytes",
        "gauge",
        "Bytes of answers that wait for slow readers.",
        broker.answers.waiting() as u64,
    );
    let image = broker.image();
    page.one("millrace_metadata_index", "gauge", "Index of the newest metadata record that is applied.", image.index);
    storage(&mut page, broker);
    replication(&mut page, broker);
    process(&mut page);
    page.text
}

fn network(page: &mut Page, net: &NetStats) {
    let series: [(&str, &str, &str, &AtomicU64); 8] = [
        ("millrace_connections", "gauge", "Connections open now.", &net.open),
        ("millrace_connections_accepted_total", "counter", "Connections accepted.", &net.accepted),
        (
            "millrace_connections_turned_away_total",
            "counter",
            "Connections turned away for max.connections.per.ip.",
            &net.turned_away,
        ),
        (
            "millrace_connections_refused_total",
            "counter",
            "Connections ended because the client broke the protocol or dawdled.",
            &net.refused,
        ),
        (
            "millrace_connections_panicked_total",
            "counter",
            "Connections ended by an error of the broker's own.",
            &net.panicked,
        ),
        ("millrace_connections_idle_total", "counter", "Connections ended for silence.", &net.idle),
        ("millrace_received_bytes_total", "counter", "Bytes of requests.", &net.bytes_in),
        ("millrace_sent_bytes_total", "counter", "Bytes of answers.", &net.bytes_out),
    ];
    for (name, kind, help, value) in series {
        page.one(name, kind, help, value.load(Ordering::Relaxed));
    }
}

fn storage(page: &mut Page, broker: &Broker) {
    let partitions = broker.replicas.partitions();
    page.one("millrace_partitions", "gauge", "Partitions on this broker.", partitions.len() as u64);
    page.one(
        "millrace_log_bytes",
        "gauge",
        "Bytes of record batches kept.",
        partitions.iter().map(|p| p.size_bytes()).sum(),
    );
    let dirs = broker.replicas.dirs();
    page.one(
        "millrace_offline_log_dirs",
        "gauge",
        "Data directories that failed.",
        dirs.iter().filter(|dir| dir.is_offline()).count() as u64,
    );
}

/// The series that Kafka has under `kafka.server:type=ReplicaManager`, `BrokerTopicMetrics` and
/// `ReplicaFetcherManager`, with the same meaning.
fn replication(page: &mut Page, broker: &Broker) {
    let (mut leaders, mut under, mut under_min, mut at_min) = (0, 0, 0, 0);
    for partition in broker.replicas.partitions().iter().filter(|partition| partition.is_leader()) {
        let state = partition.state();
        let (in_sync, replicas) = (state.isr.len(), state.replicas.len());
        let least = usize::try_from(partition.log().config().min_insync_replicas).unwrap_or(1).min(replicas);
        leaders += 1;
        under += u64::from(in_sync < replicas);
        under_min += u64::from(in_sync < least);
        at_min += u64::from(in_sync == least);
    }
    let hosted = |p: &PartitionImage| p.replicas.contains(&broker.node_id);
    let hosted = broker.image().topics().flat_map(|topic| topic.partitions.iter()).filter(|p| hosted(p)).count();
    let online = broker.replicas.partitions().len();
    let meters = &broker.meters;
    let series: [(&str, &str, &str, u64); 11] = [
        ("millrace_leader_partitions", "gauge", "Partitions that this broker leads.", leaders),
        ("millrace_under_replicated_partitions", "gauge", "Led partitions with replicas out of sync.", under),
        (
            "millrace_under_min_isr_partitions",
            "gauge",
            "Led partitions with fewer in sync than writes need.",
            under_min,
        ),
        ("millrace_at_min_isr_partitions", "gauge", "Led partitions with just as many in sync as writes need.", at_min),
        (
            "millrace_offline_replicas",
            "gauge",
            "Replicas here that are not online.",
            hosted.saturating_sub(online) as u64,
        ),
        ("millrace_isr_shrinks_total", "counter", "In-sync sets that shrank.", meters.shrinks()),
        ("millrace_isr_expands_total", "counter", "In-sync sets that grew.", meters.expands()),
        (
            "millrace_failed_isr_updates_total",
            "counter",
            "Changes of in-sync sets that failed.",
            meters.failed_updates(),
        ),
        ("millrace_replication_received_bytes_total", "counter", "Bytes fetched from leaders.", meters.bytes_in()),
        ("millrace_replication_sent_bytes_total", "counter", "Bytes fetched by followers.", meters.bytes_out()),
        (
            "millrace_replica_max_lag",
            "gauge",
            "Offsets that the farthest follower here lacks.",
            meters.max_lag().unsigned_abs(),
        ),
    ];
    for (name, kind, help, value) in series {
        page.one(name, kind, help, value);
    }
}

/// What the kernel knows about the process; left out where it does not tell.
fn process(page: &mut Page) {
    /// Bytes of a page of memory on the platforms that are served.
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()) {
        page.one("process_resident_memory_bytes", "gauge", "Resident memory.", pages * PAGE_BYTES);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.one("process_open_fds", "gauge", "Open files and sockets.", files.count() as u64);
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }
}
