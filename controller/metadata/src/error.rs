//! Kafka's error codes (`clients/…/common/protocol/Errors.java`) and the error that a command answers with.

use std::fmt;

macro_rules! codes {
    ($($variant:ident $name:literal $code:literal $message:literal;)*) => {
        /// One of the error codes of the Kafka protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, in numerical order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The code with this number, if there is one.
            pub fn from_code(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name of the code, as in `UNKNOWN_TOPIC_OR_PARTITION`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// A sentence for a reader who has nothing better.
            pub fn default_message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)*
                }
            }
        }
    };
}

codes! {
    UnknownServerError "UNKNOWN_SERVER_ERROR" -1 "The server met an error that it did not expect.";
    None "NONE" 0 "No error.";
    OffsetOutOfRange "OFFSET_OUT_OF_RANGE" 1 "The offset lies outside of what the partition holds.";
    CorruptMessage "CORRUPT_MESSAGE" 2 "The records fail their checksum, size or format check.";
    UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" 3 "This server has no such topic or partition.";
    InvalidFetchSize "INVALID_FETCH_SIZE" 4 "The fetch size is not valid.";
    LeaderNotAvailable "LEADER_NOT_AVAILABLE" 5 "The partition has no leader at the moment.";
    NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" 6 "This broker does not hold the role that the request needs for the partition.";
    RequestTimedOut "REQUEST_TIMED_OUT" 7 "The request was not done in time.";
    BrokerNotAvailable "BROKER_NOT_AVAILABLE" 8 "The broker is not available.";
    ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" 9 "The replica is not available here.";
    MessageTooLarge "MESSAGE_TOO_LARGE" 10 "The record batch is larger than the limit.";
    StaleControllerEpoch "STALE_CONTROLLER_EPOCH" 11 "The controller epoch is out of date.";
    OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE" 12 "The offset's metadata text is too long.";
    NetworkException "NETWORK_EXCEPTION" 13 "The connection was lost before the answer came.";
    CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" 14 "The coordinator is still loading its state.";
    CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" 15 "The coordinator is not available.";
    NotCoordinator "NOT_COORDINATOR" 16 "This broker is not the coordinator asked for.";
    InvalidTopicException "INVALID_TOPIC_EXCEPTION" 17 "The operation is not allowed on a topic of this name.";
    RecordListTooLarge "RECORD_LIST_TOO_LARGE" 18 "The batch is larger than a log segment.";
    NotEnoughReplicas "NOT_ENOUGH_REPLICAS" 19 "Fewer replicas are in sync than the topic requires; nothing was written.";
    NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" 20 "The records were written, to fewer in-sync replicas than the topic requires.";
    InvalidRequiredAcks "INVALID_REQUIRED_ACKS" 21 "Acks must be 0, 1 or -1.";
    IllegalGeneration "ILLEGAL_GENERATION" 22 "The generation is not the group's current one.";
    InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL" 23 "The member's protocol type or protocols do not fit the group's.";
    InvalidGroupId "INVALID_GROUP_ID" 24 "The group id is not valid.";
    UnknownMemberId "UNKNOWN_MEMBER_ID" 25 "The group has no such member.";
    InvalidSessionTimeout "INVALID_SESSION_TIMEOUT" 26 "The session timeout lies outside of the range that the broker allows.";
    RebalanceInProgress "REBALANCE_IN_PROGRESS" 27 "The group is rebalancing: join again.";
    InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE" 28 "The offset data to commit is too large.";
    TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED" 29 "No permission for the topic.";
    GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED" 30 "No permission for the group.";
    ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED" 31 "No permission for the cluster.";
    InvalidTimestamp "INVALID_TIMESTAMP" 32 "The record's timestamp is outside of the range that is accepted.";
    UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM" 33 "The SASL mechanism is not enabled.";
    IllegalSaslState "ILLEGAL_SASL_STATE" 34 "The request does not fit the state of the SASL exchange.";
    UnsupportedVersion "UNSUPPORTED_VERSION" 35 "The API version is not supported.";
    TopicAlreadyExists "TOPIC_ALREADY_EXISTS" 36 "A topic of this name exists.";
    InvalidPartitions "INVALID_PARTITIONS" 37 "The number of partitions is not valid.";
    InvalidReplicationFactor "INVALID_REPLICATION_FACTOR" 38 "The replication factor is below 1 or above the number of brokers.";
    InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT" 39 "The replica assignment is not valid.";
    InvalidConfig "INVALID_CONFIG" 40 "The configuration is not valid.";
    NotController "NOT_CONTROLLER" 41 "This node is not the active controller.";
    InvalidRequest "INVALID_REQUEST" 42 "The request contradicts itself or lacks something.";
    UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT" 43 "The stored record format does not allow this.";
    PolicyViolation "POLICY_VIOLATION" 44 "The request breaks a policy of the cluster.";
    OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER" 45 "The producer's sequence number does not follow the last one.";
    DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER" 46 "The producer's sequence number was seen before.";
    InvalidProducerEpoch "INVALID_PRODUCER_EPOCH" 47 "The producer's epoch is older than the current one.";
    InvalidTxnState "INVALID_TXN_STATE" 48 "The transaction's state does not allow this.";
    InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING" 49 "The producer id does not belong to the transactional id.";
    InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT" 50 "The transaction timeout is above the broker's limit.";
    ConcurrentTransactions "CONCURRENT_TRANSACTIONS" 51 "Another operation on the transaction is under way.";
    TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED" 52 "The transaction coordinator has been replaced.";
    TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" 53 "No permission for the transactional id.";
    SecurityDisabled "SECURITY_DISABLED" 54 "No authorizer is configured.";
    OperationNotAttempted "OPERATION_NOT_ATTEMPTED" 55 "Not attempted, because another part of the request failed.";
    KafkaStorageError "KAFKA_STORAGE_ERROR" 56 "The storage of the partition failed on this broker.";
    LogDirNotFound "LOG_DIR_NOT_FOUND" 57 "The broker has no such log directory.";
    SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED" 58 "Authentication failed.";
    UnknownProducerId "UNKNOWN_PRODUCER_ID" 59 "Nothing is known of this producer id.";
    ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS" 60 "A reassignment of the partition is under way.";
    DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED" 61 "Delegation tokens are not enabled.";
    DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND" 62 "There is no such delegation token.";
    DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH" 63 "The principal is neither owner nor renewer of the token.";
    DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" 64 "Token requests are not allowed on this connection.";
    DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED" 65 "No permission for the delegation token.";
    DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED" 66 "The delegation token has expired.";
    InvalidPrincipalType "INVALID_PRINCIPAL_TYPE" 67 "The principal type is not supported.";
    NonEmptyGroup "NON_EMPTY_GROUP" 68 "The group has members.";
    GroupIdNotFound "GROUP_ID_NOT_FOUND" 69 "There is no such group.";
    FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" 70 "There is no such fetch session.";
    InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" 71 "The fetch session's epoch is not the expected one.";
    ListenerNotFound "LISTENER_NOT_FOUND" 72 "The leader has no listener of the name that this request came in on.";
    TopicDeletionDisabled "TOPIC_DELETION_DISABLED" 73 "Topic deletion is disabled.";
    FencedLeaderEpoch "FENCED_LEADER_EPOCH" 74 "The leader epoch is older than the current one.";
    UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" 75 "The leader epoch is newer than the one known here.";
    UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE" 76 "The compression is not supported at this version.";
    StaleBrokerEpoch "STALE_BROKER_EPOCH" 77 "The broker epoch is not the registered one.";
    OffsetNotAvailable "OFFSET_NOT_AVAILABLE" 78 "The new leader does not know the high watermark yet.";
    MemberIdRequired "MEMBER_ID_REQUIRED" 79 "Join again with the member id of this answer.";
    PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" 80 "The preferred leader is not available.";
    GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED" 81 "The group has as many members as it may have.";
    FencedInstanceId "FENCED_INSTANCE_ID" 82 "Another member took over this group instance id.";
    EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" 83 "No eligible replica is available.";
    ElectionNotNeeded "ELECTION_NOT_NEEDED" 84 "The partition needs no election.";
    NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS" 85 "No reassignment of the partition is under way.";
    GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC" 86 "A member of the group is subscribed to the topic.";
    InvalidRecord "INVALID_RECORD" 87 "A record failed validation.";
    UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" 88 "An offset commit of a transaction is still open.";
    ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" 89 "The quota is exceeded.";
    ProducerFenced "PRODUCER_FENCED" 90 "A newer producer uses the same transactional id.";
    ResourceNotFound "RESOURCE_NOT_FOUND" 91 "The resource does not exist.";
    DuplicateResource "DUPLICATE_RESOURCE" 92 "The resource is named more than once.";
    UnacceptableCredential "UNACCEPTABLE_CREDENTIAL" 93 "The credential does not meet the rules.";
    InconsistentVoterSet "INCONSISTENT_VOTER_SET" 94 "The sender or receiver is not one of the voters.";
    InvalidUpdateVersion "INVALID_UPDATE_VERSION" 95 "The update's version is not the current one.";
    FeatureUpdateFailed "FEATURE_UPDATE_FAILED" 96 "The features could not be updated.";
    PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE" 97 "The forwarded principal could not be read.";
    SnapshotNotFound "SNAPSHOT_NOT_FOUND" 98 "There is no such snapshot.";
    PositionOutOfRange "POSITION_OUT_OF_RANGE" 99 "The position lies outside of the snapshot.";
    UnknownTopicId "UNKNOWN_TOPIC_ID" 100 "This server has no topic with this id.";
    DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION" 101 "Another live broker uses this id.";
    BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED" 102 "No broker of this id is registered.";
    InconsistentTopicId "INCONSISTENT_TOPIC_ID" 103 "The topic id is not the one stored in the log.";
    InconsistentClusterId "INCONSISTENT_CLUSTER_ID" 104 "The cluster id is not the one of this cluster.";
    TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND" 105 "There is no such transactional id.";
    FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" 106 "The fetch session mixes topics with and without ids.";
    IneligibleReplica "INELIGIBLE_REPLICA" 107 "A replica may not enter the in-sync set now.";
    NewLeaderElected "NEW_LEADER_ELECTED" 108 "The change moved the leadership to another broker.";
    OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE" 109 "The offset is in tiered storage.";
    FencedMemberEpoch "FENCED_MEMBER_EPOCH" 110 "The member's epoch is fenced: join again.";
    UnreleasedInstanceId "UNRELEASED_INSTANCE_ID" 111 "Another member still uses this instance id.";
    UnsupportedAssignor "UNSUPPORTED_ASSIGNOR" 112 "The assignor is not supported.";
    StaleMemberEpoch "STALE_MEMBER_EPOCH" 113 "The member's epoch is out of date.";
    MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE" 114 "The request went to an endpoint of the wrong type.";
    UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE" 115 "The endpoint type is not supported.";
    UnknownControllerId "UNKNOWN_CONTROLLER_ID" 116 "There is no such controller.";
    UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID" 117 "The telemetry subscription is out of date.";
    TelemetryTooLarge "TELEMETRY_TOO_LARGE" 118 "The telemetry data is larger than the limit.";
    InvalidRegistration "INVALID_REGISTRATION" 119 "The broker registration is not valid.";
    TransactionAbortable "TRANSACTION_ABORTABLE" 120 "The transaction must be aborted.";
    InvalidRecordState "INVALID_RECORD_STATE" 121 "The record's delivery state does not allow this.";
    ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" 122 "There is no such share session.";
    InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" 123 "The share session's epoch is not the expected one.";
    FencedStateEpoch "FENCED_STATE_EPOCH" 124 "The share state epoch is older than the current one.";
    InvalidVoterKey "INVALID_VOTER_KEY" 125 "The voter key is not the receiver's.";
    DuplicateVoter "DUPLICATE_VOTER" 126 "The voter is already in the set.";
    VoterNotFound "VOTER_NOT_FOUND" 127 "The set has no such voter.";
    InvalidRegularExpression "INVALID_REGULAR_EXPRESSION" 128 "The regular expression is not valid.";
    RebootstrapRequired "REBOOTSTRAP_REQUIRED" 129 "The client's metadata is of no use here: bootstrap again.";
    StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY" 130 "The streams topology is not valid.";
    StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH" 131 "The streams topology epoch is not valid.";
    StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED" 132 "The streams topology epoch is older than the current one.";
    ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" 133 "The broker has as many share sessions as it may have.";
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something was refused, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub code: ErrorCode,
    pub message: String,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into() }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        ApiError::new(code, code.default_message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_complete_and_round_trip() {
        let numbers: Vec<i16> = ErrorCode::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(numbers, (-1..=133).collect::<Vec<i16>>());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
            assert!(!code.name().is_empty() && !code.default_message().is_empty());
        }
        assert_eq!(ErrorCode::from_code(134), None);
        assert_eq!(ErrorCode::from_code(-2), None);
    }
}
