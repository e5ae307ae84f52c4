package conformance;

import java.util.List;
import org.apache.kafka.common.protocol.ApiKeys;

/** The requests that are tried, by API. */
final class Templates {
    private Templates() { }

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case API_VERSIONS, METADATA, DESCRIBE_CLUSTER, DESCRIBE_TOPIC_PARTITIONS, DESCRIBE_QUORUM, UPDATE_FEATURES,
                DESCRIBE_CLIENT_QUOTAS, FIND_COORDINATOR, UNREGISTER_BROKER, ADD_RAFT_VOTER, REMOVE_RAFT_VOTER -> ClusterCases.of(api);
            case CREATE_TOPICS, DELETE_TOPICS, CREATE_PARTITIONS, DELETE_RECORDS, ELECT_LEADERS, ALTER_PARTITION_REASSIGNMENTS,
                LIST_PARTITION_REASSIGNMENTS, DESCRIBE_LOG_DIRS, ALTER_REPLICA_LOG_DIRS -> TopicCases.of(api);
            case DESCRIBE_CONFIGS, ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS, LIST_CONFIG_RESOURCES -> ConfigCases.of(api);
            case PRODUCE, INIT_PRODUCER_ID, DESCRIBE_PRODUCERS -> ProduceCases.of(api);
            case FETCH, LIST_OFFSETS, OFFSET_FOR_LEADER_EPOCH -> FetchCases.of(api);
            case JOIN_GROUP, SYNC_GROUP, HEARTBEAT, LEAVE_GROUP -> MemberCases.of(api);
            case OFFSET_COMMIT, OFFSET_FETCH, OFFSET_DELETE, LIST_GROUPS, DESCRIBE_GROUPS, DELETE_GROUPS -> GroupCases.of(api);
            default -> throw new IllegalArgumentException("no requests for " + api);
        };
    }
}
