//! The command line.

use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Administers a cluster that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, about)]
pub struct Args {
    /// Brokers to connect to first, host:port, separated by commas.
    #[arg(long, short = 'b', global = true, env = "MILLRACE_BOOTSTRAP_SERVER", default_value = "localhost:9092")]
    pub bootstrap_server: String,

    /// Seconds to wait for a connection or an answer.
    #[arg(long, global = true, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,

    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// Time to wait for each connection and answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe and delete topics.
    Topics {
        #[command(subcommand)]
        command: TopicsCommand,
    },
    /// Look at the cluster.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Empty and remove brokers.
    Brokers {
        #[command(subcommand)]
        command: BrokersCommand,
    },
    /// Move replicas and leaderships.
    Partitions {
        #[command(subcommand)]
        command: PartitionsCommand,
    },
    /// Look at consumer groups.
    Groups {
        #[command(subcommand)]
        command: GroupsCommand,
    },
    /// Show which APIs the broker serves, and in which versions.
    ApiVersions,
}

#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// List topics.
    List {
        /// Internal topics as well.
        #[arg(long)]
        internal: bool,
    },
    /// Create a topic.
    Create(CreateTopic),
    /// Show partitions and settings of topics.
    Describe {
        /// The topics; all of them when none is named.
        topics: Vec<String>,
    },
    /// Delete topics with all their records.
    Delete {
        /// The topics.
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub struct CreateTopic {
    /// Name of the topic.
    pub topic: String,
    /// Number of partitions; the broker's default when left out.
    #[arg(long, short = 'p', default_value_t = -1, hide_default_value = true)]
    pub partitions: i32,
    /// Replicas of each partition; the broker's default when left out.
    #[arg(long, short = 'r', default_value_t = -1, hide_default_value = true)]
    pub replication_factor: i16,
    /// A setting of the topic, may be repeated.
    #[arg(long, short = 'c', value_name = "KEY=VALUE", value_parser = setting)]
    pub config: Vec<(String, String)>,
    /// Do nothing when the topic exists.
    #[arg(long)]
    pub if_not_exists: bool,
    /// Only check whether the topic could be created.
    #[arg(long)]
    pub validate_only: bool,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, its brokers and its controllers.
    Describe,
}

#[derive(Debug, Subcommand)]
pub enum BrokersCommand {
    /// Move every replica away from a broker, so that it can be removed.
    Drain {
        /// Id of the broker.
        broker: i32,
        /// Only show what would be moved.
        #[arg(long)]
        dry_run: bool,
        /// Return when the reassignments have begun, without waiting for their end.
        #[arg(long)]
        no_wait: bool,
    },
    /// Forget a broker that does not come back.
    Unregister {
        /// Id of the broker.
        broker: i32,
    },
}

#[derive(Debug, Subcommand)]
pub enum PartitionsCommand {
    /// Give a partition other replicas; the first one becomes the preferred leader.
    Reassign {
        /// The topic.
        topic: String,
        /// Index of the partition.
        partition: i32,
        /// Ids of brokers, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        replicas: Vec<i32>,
    },
    /// Show reassignments that are under way.
    Moving,
    /// Give up reassignments that are under way.
    Cancel {
        /// The topic; all of them when left out.
        topic: Option<String>,
    },
    /// Give leadership back to preferred leaders.
    Elect {
        /// The topics; all of them when none is named.
        topics: Vec<String>,
        /// Let a replica lead that may lack records, where no other can. Such records are lost.
        #[arg(long, requires = "topics")]
        unclean: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum GroupsCommand {
    /// List groups.
    List,
    /// Show members, committed offsets and lag of groups.
    Describe {
        /// The groups.
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected key=value".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn settings_are_split_at_the_first_equals_sign() {
        assert_eq!(setting("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(setting("a").is_err());
        assert!(setting("=b").is_err());
    }
}
