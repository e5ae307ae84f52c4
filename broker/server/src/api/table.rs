//! One row per API. From this table, and from nowhere else, come ApiVersions,
//! dispatch, the authentication and access gates, and the metric series.
//!
//! To serve an API, write its handler file and add one line to [`rows!`]:
//! `RequestType => module, first..=last, access, rule, load;`

use bytes::BytesMut;
use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::*;
use millrace_wire::produce::ProduceRequest;
use millrace_wire::{CodecError, Frame, WireRequest};

use super::Cx;
use super::dispatch::{refuse_with, start};
use crate::net::Pending;

/// Bytes in a kibibyte, for the limits below.
const KIB: usize = 1024;

/// When a connection may use an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// At any time, before authentication too.
    Open,
    /// Only once the connection is authenticated (or needs no authentication).
    Authenticated,
}

/// The access rule that holds for a request as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anyone may ask.
    Anyone,
    /// The handler asks the authorizer for each resource that is named.
    PerResource,
    /// The operation must be allowed on the cluster.
    Cluster(Operation),
}

/// Which quota a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Never throttled.
    Exempt,
    /// Time of handler threads.
    Request,
    /// Bytes produced.
    Produce,
    /// Bytes fetched.
    Fetch,
    /// Partitions created and deleted.
    Mutation,
}

/// How heavy a request may be and how it is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Longest frame in bytes; `socket.request.max.bytes` applies as well.
    pub max_frame: usize,
    /// Whether a request may start while an earlier one of the same connection
    /// that may overlap too is still unanswered. All others wait their turn, as
    /// in Kafka, where a connection has one request at a time.
    pub overlaps: bool,
    /// The quota that it counts against.
    pub quota: Quota,
}

impl Load {
    /// Requests whose size is a few names.
    pub const LIGHT: Self = Self::of(512 * KIB, Quota::Request);
    /// Requests that list many topics or partitions, or carry member metadata.
    pub const LISTS: Self = Self::of(16 * 1024 * KIB, Quota::Request);
    /// Requests that create or delete partitions.
    pub const MUTATION: Self = Self::of(8 * 1024 * KIB, Quota::Mutation);
    /// Produce: as large as the socket allows.
    pub const PRODUCE: Self = Self { max_frame: usize::MAX, overlaps: true, quota: Quota::Produce };
    /// Fetch: many partitions.
    pub const FETCH: Self = Self::of(16 * 1024 * KIB, Quota::Fetch);
    /// Requests that keep a client alive and must not be throttled.
    pub const EXEMPT: Self = Self::of(512 * KIB, Quota::Exempt);

    const fn of(max_frame: usize, quota: Quota) -> Self {
        Self { max_frame, overlaps: false, quota }
    }
}

/// What the broker knows about one API.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The API's number.
    pub key: i16,
    /// Its name, for metrics and logs.
    pub name: &'static str,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served.
    pub max: i16,
    /// First and last version that can be read and answered at all.
    pub possible: (i16, i16),
    /// When a connection may use it.
    pub access: Access,
    /// Who may use it.
    pub rule: Rule,
    /// How heavy it may be.
    pub load: Load,
    /// Decodes a body and starts its handler.
    pub start: fn(Cx, BytesMut) -> Result<Pending, CodecError>,
    /// Decodes a body and answers it with an error.
    pub refuse: fn(&Cx, BytesMut, ErrorCode) -> Result<Frame, CodecError>,
}

impl Row {
    /// Whether `version` is served.
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Lowest version that ApiVersions tells. librdkafka takes a broker whose
    /// Produce does not start at 0 for one that cannot compress (KAFKA-18659).
    pub fn advertised_min(&self) -> i16 {
        if self.key == ApiKey::Produce as i16 { 0 } else { self.min }
    }
}

macro_rules! rows {
    ($($request:ty => $module:ident, $min:literal..=$max:literal, $access:ident, $rule:expr, $load:ident;)*) => {
        /// Every API that is served, by ascending number.
        pub static ROWS: &[Row] = &[$(Row {
            key: <$request as WireRequest>::KEY,
            name: api_name(stringify!($request)),
            min: $min,
            max: $max,
            possible: <$request as WireRequest>::VERSIONS,
            access: Access::$access,
            rule: $rule,
            load: Load::$load,
            start: |cx, body| start(cx, body, super::$module::handle),
            refuse: |cx, body, error| refuse_with(cx, body, error, super::$module::refuse),
        },)*];
    };
}

rows! {
    ProduceRequest => produce, 3..=13, Authenticated, Rule::PerResource, PRODUCE;
    FetchRequest => fetch, 4..=18, Authenticated, Rule::PerResource, FETCH;
    ListOffsetsRequest => list_offsets, 1..=10, Authenticated, Rule::PerResource, LISTS;
    MetadataRequest => metadata, 0..=13, Authenticated, Rule::PerResource, LISTS;
    OffsetCommitRequest => offset_commit, 2..=9, Authenticated, Rule::PerResource, LISTS;
    OffsetFetchRequest => offset_fetch, 1..=9, Authenticated, Rule::PerResource, LISTS;
    FindCoordinatorRequest => find_coordinator, 0..=6, Authenticated, Rule::PerResource, LISTS;
    JoinGroupRequest => join_group, 0..=9, Authenticated, Rule::PerResource, LISTS;
    HeartbeatRequest => heartbeat, 0..=4, Authenticated, Rule::PerResource, EXEMPT;
    LeaveGroupRequest => leave_group, 0..=5, Authenticated, Rule::PerResource, LISTS;
    SyncGroupRequest => sync_group, 0..=5, Authenticated, Rule::PerResource, LISTS;
    DescribeGroupsRequest => describe_groups, 0..=6, Authenticated, Rule::PerResource, LISTS;
    ListGroupsRequest => list_groups, 0..=5, Authenticated, Rule::PerResource, LIGHT;
    ApiVersionsRequest => api_versions, 0..=4, Open, Rule::Anyone, EXEMPT;
    CreateTopicsRequest => create_topics, 2..=7, Authenticated, Rule::PerResource, MUTATION;
    DeleteTopicsRequest => delete_topics, 1..=6, Authenticated, Rule::PerResource, MUTATION;
    DeleteRecordsRequest => delete_records, 0..=2, Authenticated, Rule::PerResource, LISTS;
    InitProducerIdRequest => init_producer_id, 0..=5, Authenticated, Rule::PerResource, LIGHT;
    OffsetForLeaderEpochRequest => offset_for_leader_epoch, 2..=4, Authenticated, Rule::PerResource, LISTS;
    DescribeConfigsRequest => describe_configs, 1..=4, Authenticated, Rule::PerResource, LISTS;
    AlterConfigsRequest => alter_configs, 0..=2, Authenticated, Rule::PerResource, LISTS;
    AlterReplicaLogDirsRequest => alter_replica_log_dirs, 1..=2, Authenticated, Rule::Cluster(Operation::Alter), LISTS;
    DescribeLogDirsRequest => describe_log_dirs, 1..=4, Authenticated, Rule::Cluster(Operation::Describe), LISTS;
    CreatePartitionsRequest => create_partitions, 0..=3, Authenticated, Rule::PerResource, MUTATION;
    DeleteGroupsRequest => delete_groups, 0..=2, Authenticated, Rule::PerResource, LISTS;
    ElectLeadersRequest => elect_leaders, 0..=2, Authenticated, Rule::Cluster(Operation::Alter), LISTS;
    IncrementalAlterConfigsRequest => incremental_alter_configs, 0..=1, Authenticated, Rule::PerResource, LISTS;
    AlterPartitionReassignmentsRequest => alter_partition_reassignments, 0..=1, Authenticated, Rule::Cluster(Operation::Alter), LISTS;
    ListPartitionReassignmentsRequest => list_partition_reassignments, 0..=0, Authenticated, Rule::Cluster(Operation::Describe), LISTS;
    OffsetDeleteRequest => offset_delete, 0..=0, Authenticated, Rule::PerResource, LISTS;
    DescribeClientQuotasRequest => describe_client_quotas, 0..=1, Authenticated, Rule::Cluster(Operation::DescribeConfigs), LIGHT;
    DescribeQuorumRequest => describe_quorum, 0..=2, Authenticated, Rule::Cluster(Operation::Describe), LIGHT;
    UpdateFeaturesRequest => update_features, 0..=2, Authenticated, Rule::Cluster(Operation::Alter), LIGHT;
    DescribeClusterRequest => describe_cluster, 0..=2, Authenticated, Rule::Anyone, LIGHT;
    DescribeProducersRequest => describe_producers, 0..=0, Authenticated, Rule::PerResource, LISTS;
    UnregisterBrokerRequest => unregister_broker, 0..=0, Authenticated, Rule::Cluster(Operation::Alter), LIGHT;
    ListConfigResourcesRequest => list_config_resources, 0..=1, Authenticated, Rule::Cluster(Operation::DescribeConfigs), LIGHT;
    DescribeTopicPartitionsRequest => describe_topic_partitions, 0..=0, Authenticated, Rule::PerResource, LISTS;
    AddRaftVoterRequest => add_raft_voter, 0..=0, Authenticated, Rule::Cluster(Operation::Alter), LIGHT;
    RemoveRaftVoterRequest => remove_raft_voter, 0..=0, Authenticated, Rule::Cluster(Operation::Alter), LIGHT;
}

/// `MetadataRequest` without its last seven letters.
const fn api_name(request: &'static str) -> &'static str {
    request.split_at(request.len() - "Request".len()).0
}

/// API numbers that exist, with room for those to come.
pub const KEYS: usize = 128;

/// Position in [`ROWS`] for each API number.
static INDEX: [Option<&'static Row>; KEYS] = index();

const fn index() -> [Option<&'static Row>; KEYS] {
    let mut index = [None; KEYS];
    let mut i = 0;
    while i < ROWS.len() {
        index[ROWS[i].key as usize] = Some(&ROWS[i]);
        i += 1;
    }
    index
}

/// The row of an API, `None` when it is not served.
pub fn row(api_key: i16) -> Option<&'static Row> {
    INDEX.get(usize::try_from(api_key).ok()?).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_are_found() {
        assert!(ROWS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for r in ROWS {
            assert_eq!(row(r.key).unwrap().name, r.name);
        }
        assert!(row(-1).is_none());
        assert!(row(i16::MAX).is_none());
    }

    /// An API whose requests cannot be walked over would refuse them all.
    #[test]
    fn every_request_can_be_checked_before_it_is_decoded() {
        for r in ROWS {
            let own_decoder = r.key == ApiKey::Produce as i16;
            assert!(own_decoder || millrace_wire::guard::knows(r.key), "{}", r.name);
        }
    }

    #[test]
    fn only_versions_that_can_be_read_and_answered_are_served() {
        for r in ROWS {
            let (min, max) = r.possible;
            assert!(min <= r.min && r.min <= r.max && r.max <= max, "{}", r.name);
        }
    }
}
