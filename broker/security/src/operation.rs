//! Resource kinds and operations with Kafka's numbers
//! (`clients/…/common/acl/AclOperation.java`, `…/resource/ResourceType.java`).

/// What a rule protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic by name.
    Topic = 2,
    /// A consumer group by id.
    Group = 3,
    /// The cluster as a whole; its only name is `kafka-cluster`.
    Cluster = 4,
    /// A transactional id.
    TransactionalId = 5,
    /// A delegation token.
    DelegationToken = 6,
    /// A user, for token management.
    User = 7,
}

/// The name under which the cluster resource is known.
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// What a client wants to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum Operation {
    /// Fetch records, join a group.
    Read = 3,
    /// Produce records.
    Write = 4,
    /// Create a resource.
    Create = 5,
    /// Delete a resource.
    Delete = 6,
    /// Change a resource.
    Alter = 7,
    /// Learn that a resource exists and what it looks like.
    Describe = 8,
    /// Act as a broker of the cluster.
    ClusterAction = 9,
    /// Read configurations.
    DescribeConfigs = 10,
    /// Change configurations.
    AlterConfigs = 11,
    /// Produce idempotently.
    IdempotentWrite = 12,
    /// Create tokens for others.
    CreateTokens = 13,
    /// See the tokens of others.
    DescribeTokens = 14,
    /// Two-phase commit.
    TwoPhaseCommit = 15,
}

/// A set of operations as the bit field that Metadata, DescribeCluster and
/// DescribeGroups answer with: bit n stands for the operation with number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperationSet(u32);

impl OperationSet {
    /// The value that says "not asked for" on the wire.
    pub const NOT_REQUESTED: i32 = i32::MIN;

    /// With one more operation.
    #[must_use]
    pub fn with(self, operation: Operation) -> Self {
        Self(self.0 | 1 << operation as i8)
    }

    /// As the protocol carries it.
    pub fn bits(self) -> i32 {
        self.0 as i32
    }
}

impl ResourceKind {
    /// Operations that make sense for this kind
    /// (`core/…/security/authorizer/AclEntry.scala`, `supportedOperations`).
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            Self::Topic => &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs],
            Self::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
            Self::Cluster => &[Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe],
            Self::TransactionalId => &[Describe, Write, TwoPhaseCommit],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
        }
    }
}
