//! What a controller is started with, and why it may refuse.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_metadata::NodeId;
use millrace_metadata::features::TooNew;
use millrace_state::Defaults;
use millrace_store::StoreError;

use crate::duties::DutyOptions;
use crate::timing::FETCH_TIMEOUT_MS;

/// Where the time comes from, in ms since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A voter as `controller.quorum.voters` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoterAddress {
    pub node_id: NodeId,
    pub host: String,
    pub port: u16,
}

/// Settings of one controller.
#[derive(Clone)]
pub struct ControllerOptions {
    /// `node.id`.
    pub node_id: NodeId,
    /// Directory of the metadata log; created if it is missing.
    pub dir: PathBuf,
    /// The cluster to belong to; a random id on the first start if it is not given.
    pub cluster_id: Option<String>,
    pub defaults: Defaults,
    /// `controller.quorum.voters`: where each voter is, this one among them. A new quorum is made of them.
    pub voters: Vec<VoterAddress>,
    /// `controller.quorum.bootstrap.servers`, used if `voters` is empty: a new quorum is made of the controllers that
    /// answer there, if this one is among them. Both empty: this node alone.
    pub bootstrap: Vec<(String, u16)>,
    /// A controller that is no voter of the quorum that it finds becomes one by itself.
    pub auto_join: bool,
    /// Host and port that others are told, where `voters` and `bootstrap` do not say it.
    pub advertised: Option<(String, u16)>,
    /// Where other controllers and brokers reach this one; needed with other voters only.
    pub listener: Option<Arc<std::net::TcpListener>>,
    /// `controller.quorum.fetch.timeout.ms`: after so much silence of the leader a voter campaigns, at the latest.
    pub fetch_timeout_ms: u64,
    /// After so much silence a broker is fenced.
    pub broker_session_timeout_ms: i64,
    /// What the active controller does unasked.
    pub duties: DutyOptions,
    pub clock: Clock,
    /// Seed of the ids that decisions need; random in production.
    pub seed: u64,
}

impl ControllerOptions {
    /// Whether this controller has no others to look for.
    pub(crate) fn is_alone(&self) -> bool {
        match self.voters.as_slice() {
            [] => self.bootstrap.is_empty(),
            [voter] => voter.node_id == self.node_id,
            _ => false,
        }
    }

    /// The settings of a controller on its own, with the operating system's clock and randomness.
    pub fn new(node_id: NodeId, dir: impl Into<PathBuf>) -> ControllerOptions {
        let since_1970 = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        ControllerOptions {
            node_id,
            dir: dir.into(),
            cluster_id: None,
            defaults: Defaults::default(),
            voters: Vec::new(),
            bootstrap: Vec::new(),
            auto_join: false,
            advertised: None,
            listener: None,
            fetch_timeout_ms: FETCH_TIMEOUT_MS,
            broker_session_timeout_ms: 3000,
            duties: DutyOptions::default(),
            clock: Arc::new(move || since_1970().map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))),
            seed: rand::random(),
        }
    }
}

/// Why a controller does not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the metadata log: {0}")]
    Store(#[from] StoreError),
    #[error(
        "{dir}: the metadata belongs to cluster {found}, not {wanted}; set the cluster id to {found}, or use another directory"
    )]
    WrongCluster { dir: String, found: String, wanted: String },
    #[error(
        "{dir}: the metadata belongs to node {found}, not {wanted}; set node.id to {found}, or use another directory"
    )]
    WrongNode { dir: String, found: NodeId, wanted: NodeId },
    #[error("{dir}: {what}")]
    Unreadable { dir: String, what: String },
    #[error("the metadata log does not work: {0}")]
    Raft(String),
    #[error("node {node} is none of the voters in controller.quorum.voters; name it there, or correct node.id")]
    NotAVoter { node: NodeId },
    #[error("the controllers were given different cluster ids ({found}); give all of them the same one, or none")]
    ClusterIds { found: String },
    #[error("controllers at different addresses have the same id {node}; give each a node.id of its own")]
    SameId { node: NodeId },
    #[error(
        "the cluster runs at {name}={level}, and this version knows levels up to {known}; start the version that the other nodes run"
    )]
    TooNew { name: String, level: i16, known: i16 },
    #[error("no leader was elected within {0} s")]
    NoLeader(u64),
}

impl From<TooNew> for StartError {
    fn from(newer: TooNew) -> Self {
        let TooNew { name, level, known } = newer;
        StartError::TooNew { name, level, known }
    }
}
