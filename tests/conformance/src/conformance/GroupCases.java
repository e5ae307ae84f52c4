package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;

/** Requests about offsets of groups and about groups as a whole. */
final class GroupCases {
    private GroupCases() { }

    private static final Template.Prepare COORDINATOR = (w, own) -> { w.coordinator(own + "g"); return null; };
    private static final Template.Prepare COMMITTED = (w, own) -> { w.coordinator(own + "g"); w.commit(own + "g", World.BASE, 0, 4); return null; };
    private static final Template.Prepare STABLE = (w, own) -> w.stable(own + "g");

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case OFFSET_COMMIT -> commit();
            case OFFSET_FETCH -> fetch();
            case OFFSET_DELETE -> delete();
            case LIST_GROUPS -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> new ListGroupsRequestData().setStatesFilter(v < 4 ? List.of() : List.of("Empty", "stable")).setTypesFilter(v < 5 ? List.of() : List.of("classic", "Consumer"))).prepare(COMMITTED),
                Template.of(api, "all", (w, own, v, p) -> new ListGroupsRequestData()).prepare(STABLE).once(),
                Template.of(api, "dead", (w, own, v, p) -> new ListGroupsRequestData().setStatesFilter(List.of("Dead"))).prepare(STABLE).from(4).once(),
                Template.of(api, "share", (w, own, v, p) -> new ListGroupsRequestData().setTypesFilter(List.of("share"))).prepare(STABLE).from(5).once());
            case DESCRIBE_GROUPS -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> new DescribeGroupsRequestData().setGroups(new ArrayList<>(List.of(own + "g"))).setIncludeAuthorizedOperations(true)).prepare(STABLE),
                Template.of(api, "joining", (w, own, v, p) -> new DescribeGroupsRequestData().setGroups(List.of(own + "g"))).prepare((w, own) -> w.join(own + "g")).once(),
                Template.of(api, "empty", (w, own, v, p) -> new DescribeGroupsRequestData().setGroups(List.of(own + "g"))).prepare(COMMITTED).once(),
                Template.of(api, "unknown", (w, own, v, p) -> new DescribeGroupsRequestData().setGroups(List.of(own + "g", own + "h"))).prepare(COORDINATOR).once());
            case DELETE_GROUPS -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> new DeleteGroupsRequestData().setGroupsNames(new ArrayList<>(List.of(own + "g")))).prepare(COMMITTED).skip("doubled"),
                Template.of(api, "in-use", (w, own, v, p) -> new DeleteGroupsRequestData().setGroupsNames(List.of(own + "g"))).prepare(STABLE).once(),
                Template.of(api, "unknown", (w, own, v, p) -> new DeleteGroupsRequestData().setGroupsNames(List.of(own + "g", own + "h"))).prepare(COORDINATOR).once());
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    private static OffsetCommitRequestData commit(String own, String member, int generation, String topic, int partition, String metadata) {
        return new OffsetCommitRequestData().setGroupId(own + "g").setMemberId(member).setGenerationIdOrMemberEpoch(generation).setTopics(new ArrayList<>(List.of(
            new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(topic).setPartitions(new ArrayList<>(List.of(
                new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(partition).setCommittedOffset(7).setCommittedMetadata(metadata)))))));
    }

    private static List<Template> commit() {
        ApiKeys api = ApiKeys.OFFSET_COMMIT;
        Template.After stored = (w, own) -> stored(w, own + "g");
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> commit(own, "", -1, World.BASE, 0, "m")).prepare(COORDINATOR).after(stored).skip("retentionTimeMs"),
            Template.of(api, "member", (w, own, v, p) -> commit(own, (String) p, 1, World.BASE, 0, "m")).prepare(STABLE).after(stored).skip("retentionTimeMs"),
            Template.of(api, "before-sync", (w, own, v, p) -> commit(own, (String) p, 1, World.BASE, 0, "m")).prepare((w, own) -> w.join(own + "g")).after(stored).once(),
            Template.of(api, "outsider", (w, own, v, p) -> commit(own, "", -1, World.BASE, 0, "m")).prepare(STABLE).after(stored).once(),
            Template.of(api, "old-generation", (w, own, v, p) -> commit(own, (String) p, 0, World.BASE, 0, "m")).prepare(STABLE).after(stored).once(),
            Template.of(api, "unknown-topic", (w, own, v, p) -> commit(own, "", -1, "no-such-topic", 0, "m")).prepare(COORDINATOR).once(),
            Template.of(api, "unknown-partition", (w, own, v, p) -> commit(own, "", -1, World.BASE, 9, "m")).prepare(COORDINATOR).once(),
            Template.of(api, "large-metadata", (w, own, v, p) -> commit(own, "", -1, World.BASE, 0, "m".repeat(5_000))).prepare(COORDINATOR).after(stored).once(),
            Template.of(api, "largest-metadata", (w, own, v, p) -> commit(own, "", -1, World.BASE, 0, "m".repeat(4_096))).prepare(COORDINATOR).after(stored).once());
    }

    private static String stored(World w, String group) throws java.io.IOException {
        OffsetFetchResponseData r = w.call(ApiKeys.OFFSET_FETCH, 5, new OffsetFetchRequestData().setGroupId(group).setTopics(null));
        StringBuilder out = new StringBuilder("error " + r.errorCode());
        r.topics().forEach(t -> t.partitions().forEach(p -> out.append(" ").append(t.name()).append("/").append(p.partitionIndex()).append("=").append(p.committedOffset()).append(",").append(p.metadata())));
        return out.toString();
    }

    private static OffsetFetchRequestData fetch(String group, short v, boolean all, boolean stable, String topic, Integer... partitions) {
        if (v < 8) return new OffsetFetchRequestData().setGroupId(group).setRequireStable(stable).setTopics(all ? null : new ArrayList<>(List.of(
            new OffsetFetchRequestData.OffsetFetchRequestTopic().setName(topic).setPartitionIndexes(List.of(partitions)))));
        return new OffsetFetchRequestData().setRequireStable(stable).setGroups(new ArrayList<>(List.of(new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId(group).setTopics(all ? null : new ArrayList<>(List.of(
            new OffsetFetchRequestData.OffsetFetchRequestTopics().setName(topic).setPartitionIndexes(List.of(partitions))))))));
    }

    private static List<Template> fetch() {
        ApiKeys api = ApiKeys.OFFSET_FETCH;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> fetch(own + "g", v, false, false, World.BASE, 0, 1)).prepare(COMMITTED),
            Template.of(api, "all", (w, own, v, p) -> fetch(own + "g", v, true, false, null)).prepare(COMMITTED).from(2).once(),
            Template.of(api, "stable", (w, own, v, p) -> fetch(own + "g", v, false, true, World.BASE, 0)).prepare(COMMITTED).from(7).once(),
            Template.of(api, "unknown-group", (w, own, v, p) -> fetch(own + "h", v, false, false, World.BASE, 0)).prepare((w, own) -> { w.coordinator(own + "h"); return null; }).once(),
            Template.of(api, "unknown-group-all", (w, own, v, p) -> fetch(own + "h", v, true, false, null)).prepare((w, own) -> { w.coordinator(own + "h"); return null; }).from(2).once(),
            Template.of(api, "unknown-topic", (w, own, v, p) -> fetch(own + "g", v, false, false, "no-such-topic", 0)).prepare(COMMITTED).once(),
            Template.of(api, "member", (w, own, v, p) -> {
                OffsetFetchRequestData r = fetch(own + "g", v, false, false, World.BASE, 0);
                r.groups().get(0).setMemberId((String) p).setMemberEpoch(1);
                return r;
            }).prepare(STABLE).from(9).once());
    }

    private static OffsetDeleteRequestData deleteRequest(String own, String topic, int partition) {
        OffsetDeleteRequestData r = new OffsetDeleteRequestData().setGroupId(own + "g");
        r.topics().add(new OffsetDeleteRequestData.OffsetDeleteRequestTopic().setName(topic).setPartitions(new ArrayList<>(List.of(
            new OffsetDeleteRequestData.OffsetDeleteRequestPartition().setPartitionIndex(partition)))));
        return r;
    }

    private static List<Template> delete() {
        ApiKeys api = ApiKeys.OFFSET_DELETE;
        Template.After stored = (w, own) -> stored(w, own + "g");
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> deleteRequest(own, World.BASE, 0)).prepare(COMMITTED).after(stored),
            Template.of(api, "in-use", (w, own, v, p) -> deleteRequest(own, World.BASE, 0)).prepare(STABLE).once(),
            Template.of(api, "unknown-topic", (w, own, v, p) -> deleteRequest(own, "no-such-topic", 0)).prepare(COMMITTED).after(stored).once(),
            Template.of(api, "not-committed", (w, own, v, p) -> deleteRequest(own, World.BASE, 1)).prepare(COMMITTED).after(stored).once(),
            Template.of(api, "unknown-group", (w, own, v, p) -> deleteRequest(own, World.BASE, 0)).prepare(COORDINATOR).once());
    }
}
