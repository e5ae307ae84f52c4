//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// A Kafka-protocol broker.
///
/// Without arguments it is a ready single node: it listens on localhost:9092, keeps its data in ./millrace-data, and
/// prints one line with its address when clients can use it. Settings have Kafka's names. They come from the
/// properties file, from KAFKA_... environment variables (KAFKA_LOG_DIRS is log.dirs) and from --override; the later
/// one wins.
#[derive(Debug, Clone, Parser)]
#[command(name = "millrace-broker", version, about, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    millrace-broker\n  \
    millrace-broker server.properties --override log.dirs=/data/a,/data/b\n  \
    millrace-broker --override listeners=PLAINTEXT://0.0.0.0:9092\n  \
    KAFKA_NUM_PARTITIONS=6 millrace-broker --print-config\n\n\
    Stop it with SIGTERM or Ctrl-C: it answers what is in flight, flushes and exits.")]
pub struct Args {
    /// Settings in the format of Kafka's server.properties
    #[arg(value_name = "SERVER.PROPERTIES")]
    pub file: Option<PathBuf>,

    /// Sets one setting; may be given many times
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// Id of the cluster that new data directories are formatted for [default: a random one]
    #[arg(long, value_name = "ID", env = "CLUSTER_ID")]
    pub cluster_id: Option<String>,

    /// Prints every setting with its effective value and where that comes from, and exits
    #[arg(long)]
    pub print_config: bool,
}
