//! Questions to the authorizer that several handlers ask.

use millrace_security::{CLUSTER_NAME, Operation, OperationSet, ResourceKind};

use crate::api::Cx;

impl Cx {
    /// Whether the client may do `operation` on the topic.
    pub fn may_topic(&self, operation: Operation, topic: &str) -> bool {
        self.broker.authorizer.allows(self.subject(), operation, ResourceKind::Topic, topic)
    }

    /// Whether the client may do `operation` on the cluster.
    pub fn may_cluster(&self, operation: Operation) -> bool {
        self.broker.authorizer.allows(self.subject(), operation, ResourceKind::Cluster, CLUSTER_NAME)
    }

    /// Whether the client may do `operation` on the group.
    pub fn may_group(&self, operation: Operation, group: &str) -> bool {
        self.broker.authorizer.allows(self.subject(), operation, ResourceKind::Group, group)
    }

    /// Whether the client may write under the transactional id.
    pub fn may_transactional_id(&self, operation: Operation, id: &str) -> bool {
        self.broker.authorizer.allows(self.subject(), operation, ResourceKind::TransactionalId, id)
    }

    /// What the client may do with the topic, as KIP-430 has it.
    pub fn topic_operations(&self, topic: &str) -> i32 {
        self.operations(ResourceKind::Topic, topic).bits()
    }

    /// What the client may do with the group.
    pub fn group_operations(&self, group: &str) -> i32 {
        self.operations(ResourceKind::Group, group).bits()
    }

    /// What the client may do with the cluster: 0 for one that may not even see it.
    pub fn cluster_operations(&self) -> i32 {
        if self.may_cluster(Operation::Describe) {
            self.operations(ResourceKind::Cluster, CLUSTER_NAME).bits()
        } else {
            OperationSet::default().bits()
        }
    }

    fn operations(&self, kind: ResourceKind, name: &str) -> OperationSet {
        self.broker.authorizer.operations(self.subject(), kind, name)
    }
}
