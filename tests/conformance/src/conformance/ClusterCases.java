package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;

/** Requests about the cluster. */
final class ClusterCases {
    private ClusterCases() { }

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case API_VERSIONS -> List.of(Template.of(api, "typical", (w, own, v, p) -> new ApiVersionsRequestData().setClientSoftwareName("a-client").setClientSoftwareVersion("1.2.3")));
            case METADATA -> metadata();
            case DESCRIBE_CLUSTER -> List.of(Template.of(api, "typical", (w, own, v, p) -> new DescribeClusterRequestData().setIncludeClusterAuthorizedOperations(true).setEndpointType((byte) 1).setIncludeFencedBrokers(true)));
            case DESCRIBE_TOPIC_PARTITIONS -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> partitions(null)).skip("responsePartitionLimit=(-|0)"),
                Template.of(api, "cursor", (w, own, v, p) -> partitions(new DescribeTopicPartitionsRequestData.Cursor().setTopicName(World.BASE).setPartitionIndex(1))).skip("responsePartitionLimit"),
                Template.of(api, "one-at-a-time", (w, own, v, p) -> partitions(null).setResponsePartitionLimit(1)).once(),
                Template.of(api, "nothing-named", (w, own, v, p) -> new DescribeTopicPartitionsRequestData().setResponsePartitionLimit(2000)).once());
            case DESCRIBE_QUORUM -> List.of(Template.of(api, "typical", (w, own, v, p) -> new DescribeQuorumRequestData().setTopics(List.of(
                new DescribeQuorumRequestData.TopicData().setTopicName("__cluster_metadata").setPartitions(List.of(new DescribeQuorumRequestData.PartitionData().setPartitionIndex(0)))))));
            case UPDATE_FEATURES -> features();
            case DESCRIBE_CLIENT_QUOTAS -> List.of(Template.of(api, "typical", (w, own, v, p) -> new DescribeClientQuotasRequestData().setComponents(List.of(
                new DescribeClientQuotasRequestData.ComponentData().setEntityType("user").setMatchType((byte) 0).setMatch("nobody")))));
            case FIND_COORDINATOR -> List.of(Template.of(api, "typical", (w, own, v, p) -> v < 4 ? new FindCoordinatorRequestData().setKey(own + "g").setKeyType((byte) 0)
                : new FindCoordinatorRequestData().setCoordinatorKeys(List.of(own + "g", "base-group")).setKeyType((byte) 0)));
            case UNREGISTER_BROKER -> List.of(Template.of(api, "typical", (w, own, v, p) -> new UnregisterBrokerRequestData().setBrokerId(4711)).once());
            // Only what must be refused: a voter that is not there would take the majority from a single controller.
            case ADD_RAFT_VOTER -> List.of(Template.of(api, "another-cluster", (w, own, v, p) -> new AddRaftVoterRequestData().setClusterId("another-cluster").setTimeoutMs(5_000)
                .setVoterId(4711).setVoterDirectoryId(new Uuid(7, 7)).setListeners(listeners())).skip("clusterId"));
            case REMOVE_RAFT_VOTER -> List.of(Template.of(api, "another-cluster", (w, own, v, p) -> new RemoveRaftVoterRequestData().setClusterId("another-cluster")
                .setVoterId(4711).setVoterDirectoryId(new Uuid(7, 7))).skip("clusterId"));
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    private static AddRaftVoterRequestData.ListenerCollection listeners() {
        AddRaftVoterRequestData.ListenerCollection listeners = new AddRaftVoterRequestData.ListenerCollection();
        listeners.add(new AddRaftVoterRequestData.Listener().setName("CONTROLLER").setHost("127.0.0.1").setPort(9));
        return listeners;
    }

    private static DescribeTopicPartitionsRequestData partitions(DescribeTopicPartitionsRequestData.Cursor cursor) {
        return new DescribeTopicPartitionsRequestData().setTopics(List.of(new DescribeTopicPartitionsRequestData.TopicRequest().setName(World.BASE),
            new DescribeTopicPartitionsRequestData.TopicRequest().setName("no-such-topic"))).setResponsePartitionLimit(2000).setCursor(cursor);
    }

    private static MetadataRequestData names(String... names) {
        MetadataRequestData m = new MetadataRequestData().setAllowAutoTopicCreation(false).setIncludeTopicAuthorizedOperations(true).setIncludeClusterAuthorizedOperations(true).setTopics(new ArrayList<>());
        for (String n : names) m.topics().add(new MetadataRequestData.MetadataRequestTopic().setName(n));
        return m;
    }

    private static List<Template> metadata() {
        return List.of(
            // Before version 4 an unknown topic is created on sight, so those variants are left to `auto-create`.
            Template.of(ApiKeys.METADATA, "typical", (w, own, v, p) -> names(World.BASE)).skip("topics/0/name=(unknown|odd|long|empty)").upTo(3),
            Template.of(ApiKeys.METADATA, "typical", (w, own, v, p) -> names(World.BASE)).from(4),
            Template.of(ApiKeys.METADATA, "two", (w, own, v, p) -> names(World.BASE, "no-such-topic")).from(4).once(),
            Template.of(ApiKeys.METADATA, "all", (w, own, v, p) -> names().setTopics(v == 0 ? new ArrayList<>() : null)).once(),
            Template.of(ApiKeys.METADATA, "auto-create", (w, own, v, p) -> names(own + "auto").setAllowAutoTopicCreation(true)).once(),
            Template.of(ApiKeys.METADATA, "auto-create-bad-name", (w, own, v, p) -> names("bad name").setAllowAutoTopicCreation(true)).once(),
            Template.of(ApiKeys.METADATA, "by-id", (w, own, v, p) -> {
                MetadataRequestData m = names();
                m.topics().add(new MetadataRequestData.MetadataRequestTopic().setName(null).setTopicId(w.id(World.BASE)));
                return m;
            }).from(12),
            Template.of(ApiKeys.METADATA, "by-unknown-id", (w, own, v, p) -> {
                MetadataRequestData m = names();
                m.topics().add(new MetadataRequestData.MetadataRequestTopic().setName(null).setTopicId(new Uuid(5, 5)));
                m.topics().add(new MetadataRequestData.MetadataRequestTopic().setName(null).setTopicId(w.id(World.BASE)));
                return m;
            }).from(12).once());
    }

    private static UpdateFeaturesRequestData feature(String name, int level, int type) {
        UpdateFeaturesRequestData u = new UpdateFeaturesRequestData().setValidateOnly(true).setTimeoutMs(20_000);
        u.featureUpdates().add(new UpdateFeaturesRequestData.FeatureUpdateKey().setFeature(name).setMaxVersionLevel((short) level).setUpgradeType((byte) type));
        return u;
    }

    private static List<Template> features() {
        return List.of(
            Template.of(ApiKeys.UPDATE_FEATURES, "typical", (w, own, v, p) -> feature("group.version", 1, 1)).skip("timeoutMs|upgradeType|maxVersionLevel=0|allowDowngrade").from(1),
            Template.of(ApiKeys.UPDATE_FEATURES, "typical", (w, own, v, p) -> feature("group.version", 1, 1)).once().upTo(0),
            Template.of(ApiKeys.UPDATE_FEATURES, "unknown", (w, own, v, p) -> feature("no.such.feature", 1, 1)).once(),
            Template.of(ApiKeys.UPDATE_FEATURES, "too-high", (w, own, v, p) -> feature("metadata.version", 999, 1)).once(),
            Template.of(ApiKeys.UPDATE_FEATURES, "odd-type", (w, own, v, p) -> feature("group.version", 1, 9)).once().from(1),
            Template.of(ApiKeys.UPDATE_FEATURES, "nothing", (w, own, v, p) -> new UpdateFeaturesRequestData().setTimeoutMs(20_000)).once());
    }
}
