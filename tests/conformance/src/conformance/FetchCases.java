package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;

/** Requests that read. */
final class FetchCases {
    private FetchCases() { }

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case FETCH -> fetch();
            case LIST_OFFSETS -> listOffsets();
            case OFFSET_FOR_LEADER_EPOCH -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> epoch(World.BASE, 0, 0, -1)),
                Template.of(api, "future", (w, own, v, p) -> epoch(World.BASE, 0, 5, -1)).once(),
                Template.of(api, "future-leader", (w, own, v, p) -> epoch(World.BASE, 0, 0, 9)).once(),
                Template.of(api, "empty-partition", (w, own, v, p) -> epoch(World.BASE, 1, 0, -1)).once(),
                Template.of(api, "unknown", (w, own, v, p) -> epoch("no-such-topic", 0, 0, -1)).once());
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    /** One partition; versions from 13 on name the topic by id. */
    private static FetchRequestData fetch(World w, short v, int partition, long offset) {
        FetchRequestData r = new FetchRequestData().setReplicaId(-1).setMaxWaitMs(100).setMinBytes(1).setMaxBytes(1 << 20).setIsolationLevel((byte) 0).setSessionId(0).setSessionEpoch(-1).setRackId("");
        FetchRequestData.FetchTopic t = new FetchRequestData.FetchTopic().setPartitions(new ArrayList<>(List.of(
            new FetchRequestData.FetchPartition().setPartition(partition).setFetchOffset(offset).setPartitionMaxBytes(1 << 20).setCurrentLeaderEpoch(-1).setLastFetchedEpoch(-1).setLogStartOffset(-1))));
        if (v < 13) t.setTopic(World.BASE); else t.setTopicId(w.id(World.BASE));
        r.topics().add(t);
        return r;
    }

    interface Tune { void apply(FetchRequestData r, FetchRequestData.FetchPartition p, short v); }

    private static Template once(String name, int partition, long offset, Tune tune) {
        return Template.of(ApiKeys.FETCH, name, (w, own, v, p) -> {
            FetchRequestData r = fetch(w, v, partition, offset);
            tune.apply(r, r.topics().get(0).partitions().get(0), v);
            return r;
        }).once();
    }

    private static List<Template> fetch() {
        Tune plain = (r, p, v) -> { };
        return List.of(
            // Follower fetches (replica id and state) belong to the cluster, not to clients.
            Template.of(ApiKeys.FETCH, "typical", (w, own, v, p) -> fetch(w, v, 0, 0)).skip("maxWaitMs=(127|32767|2147483647)|[rR]eplica|clusterId|highWatermark"),
            once("middle-of-a-batch", 0, 7, plain),
            once("at-the-end", 0, 10, plain),
            once("past-the-end", 0, 11, plain),
            once("empty-partition", 1, 0, plain),
            once("unknown-partition", 9, 0, plain),
            once("no-wait", 0, 10, (r, p, v) -> r.setMaxWaitMs(0)),
            once("one-byte", 0, 0, (r, p, v) -> p.setPartitionMaxBytes(1)),
            once("one-byte-in-all", 0, 0, (r, p, v) -> r.setMaxBytes(1)),
            once("two-partitions-one-byte", 0, 0, (r, p, v) -> { r.setMaxBytes(1); r.topics().get(0).partitions().add(p.duplicate().setPartition(1)); }),
            once("read-committed", 0, 0, (r, p, v) -> r.setIsolationLevel((byte) 1)),
            once("new-session", 0, 0, (r, p, v) -> r.setSessionEpoch(0)).from(7),
            once("unknown-session", 0, 0, (r, p, v) -> r.setSessionId(12345).setSessionEpoch(1)).from(7),
            once("unknown-session-closed", 0, 0, (r, p, v) -> r.setSessionId(12345).setSessionEpoch(-1)).from(7),
            once("unknown-session-renewed", 0, 0, (r, p, v) -> r.setSessionId(12345).setSessionEpoch(0)).from(7),
            once("session-epoch-without-session", 0, 0, (r, p, v) -> r.setSessionId(0).setSessionEpoch(5)).from(7),
            once("leader-epoch-right", 0, 0, (r, p, v) -> p.setCurrentLeaderEpoch(0)).from(9),
            once("leader-epoch-ahead", 0, 0, (r, p, v) -> p.setCurrentLeaderEpoch(7)).from(9),
            once("last-epoch-right", 0, 10, (r, p, v) -> p.setLastFetchedEpoch(0)).from(12),
            once("last-epoch-ahead", 0, 10, (r, p, v) -> p.setLastFetchedEpoch(7)).from(12),
            once("rack", 0, 0, (r, p, v) -> r.setRackId("here")).from(11),
            once("forgotten", 0, 0, (r, p, v) -> r.forgottenTopicsData().add(new FetchRequestData.ForgottenTopic().setTopic(v < 13 ? World.BASE : "").setPartitions(List.of(1)))).from(7),
            Template.of(ApiKeys.FETCH, "nothing-asked", (w, own, v, p) -> { FetchRequestData r = fetch(w, v, 0, 0); r.topics().clear(); return r; }).once(),
            session("session-next", 1), session("session-wrong-epoch", 5));
    }

    /** A second request in a session that was opened with partition 0; it asks for nothing new. */
    private static Template session(String name, int epoch) {
        return Template.of(ApiKeys.FETCH, name, (w, own, v, prepared) -> {
            FetchRequestData open = fetch(w, v, 0, 10).setSessionEpoch(0).setMaxWaitMs(0);
            FetchResponseData a = w.call(ApiKeys.FETCH, v, Messages.fit(open, v));
            FetchRequestData next = fetch(w, v, 0, 0).setSessionId(a.sessionId()).setSessionEpoch(epoch).setMaxWaitMs(0);
            next.topics().clear();
            return next;
        }).from(7).once();
    }

    private static ListOffsetsRequestData offsets(String topic, int partition, long timestamp) {
        return new ListOffsetsRequestData().setReplicaId(-1).setIsolationLevel((byte) 0).setTimeoutMs(5_000).setTopics(new ArrayList<>(List.of(new ListOffsetsRequestData.ListOffsetsTopic().setName(topic)
            .setPartitions(new ArrayList<>(List.of(new ListOffsetsRequestData.ListOffsetsPartition().setPartitionIndex(partition).setTimestamp(timestamp).setCurrentLeaderEpoch(-1)))))));
    }

    private static List<Template> listOffsets() {
        ApiKeys api = ApiKeys.LIST_OFFSETS;
        List<Template> out = new ArrayList<>(List.of(
            Template.of(api, "typical", (w, own, v, p) -> offsets(World.BASE, 0, -1)).skip("replicaId|timeoutMs"),
            Template.of(api, "leader-epoch-ahead", (w, own, v, p) -> { ListOffsetsRequestData r = offsets(World.BASE, 0, -1); r.topics().get(0).partitions().get(0).setCurrentLeaderEpoch(9); return r; }).once().from(4),
            Template.of(api, "read-committed", (w, own, v, p) -> offsets(World.BASE, 0, -1).setIsolationLevel((byte) 1)).once(),
            Template.of(api, "unknown", (w, own, v, p) -> offsets("no-such-topic", 0, -1)).once()));
        for (long special = -2; special >= -7; special--) {
            long t = special;
            // Version 11 brings -6; what older versions answer to it is not part of any client.
            out.add(Template.of(api, "special" + t, (w, own, v, p) -> offsets(World.BASE, 0, t)).once());
            out.add(Template.of(api, "empty-special" + t, (w, own, v, p) -> offsets(World.BASE, 1, t)).once());
        }
        for (int delta : new int[] {-1, 0, 3, 5, 9, 10}) out.add(Template.of(api, "time" + delta, (w, own, v, p) -> offsets(World.BASE, 0, w.now + delta)).once());
        return out;
    }

    private static OffsetForLeaderEpochRequestData epoch(String topic, int partition, int epoch, int leaderEpoch) {
        OffsetForLeaderEpochRequestData r = new OffsetForLeaderEpochRequestData().setReplicaId(-1);
        r.topics().add(new OffsetForLeaderEpochRequestData.OffsetForLeaderTopic().setTopic(topic).setPartitions(new ArrayList<>(List.of(
            new OffsetForLeaderEpochRequestData.OffsetForLeaderPartition().setPartition(partition).setLeaderEpoch(epoch).setCurrentLeaderEpoch(leaderEpoch)))));
        return r;
    }
}
