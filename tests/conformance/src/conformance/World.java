package conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;

/** One broker under comparison: what was created on it, and calls that put it into a wanted state. */
final class World {
    static final int ANSWER_MS = 8_000;
    /** `RUN` in the environment keeps the names of several runs against one broker apart. */
    static final String RUN = System.getenv().getOrDefault("RUN", "");
    static final String BASE = "base" + RUN;
    private static final int SETTLE_MS = 20_000;
    final String label;
    final InetSocketAddress address;
    /** The same on both brokers, so that records are alike; recent, so that no retention applies. */
    final long now;
    private final Map<String, Uuid> ids = new ConcurrentHashMap<>();
    private final Map<Uuid, String> names = new ConcurrentHashMap<>();
    /** Set-up calls of each thread have a connection of their own. */
    private final ThreadLocal<Wire> wires = new ThreadLocal<>();
    private String logDir = "";

    World(String label, InetSocketAddress address, long now) {
        this.label = label;
        this.address = address;
        this.now = now;
    }

    Wire open() throws IOException { return new Wire(address, ANSWER_MS); }

    @SuppressWarnings("unchecked")
    <T extends ApiMessage> T call(ApiKeys api, int version, ApiMessage request) throws IOException {
        if (wires.get() == null) wires.set(new Wire(address, 60_000));
        Wire wire = wires.get();
        Wire.Outcome o = wire.call(api, (short) version, request);
        if (!o.kind().equals("answer")) {
            wire.close();
            wires.remove();
            throw new IOException("set-up " + api + " on " + label + ": " + o.kind() + " " + o.detail());
        }
        return (T) o.answer();
    }

    void ok(int code, String what) throws IOException {
        if (code != 0) throw new IOException("set-up " + what + " on " + label + ": " + Errors.forCode((short) code));
    }

    interface Attempt { boolean done() throws IOException; }

    void until(String what, Attempt attempt) throws IOException {
        for (long end = System.currentTimeMillis() + SETTLE_MS; System.currentTimeMillis() < end; ) {
            if (attempt.done()) return;
            try { Thread.sleep(10); } catch (InterruptedException e) { throw new IOException(e); }
        }
        throw new IOException("set-up " + what + " on " + label + ": not in time");
    }

    /** What every case may read: topic `base` with two batches of five records in partition 0 and an empty partition 1. */
    void setUp() throws IOException {
        topic(BASE, 2, "retention.ms", "-1");
        produce(BASE, 0, 0, 5);
        produce(BASE, 0, 5, 5);
        for (String group : List.of("base-group", "warm")) coordinator(group);
        commit("base-group", BASE, 0, 3);
        DescribeLogDirsResponseData dirs = call(ApiKeys.DESCRIBE_LOG_DIRS, 4, new DescribeLogDirsRequestData().setTopics(null));
        producerId();
        logDir = dirs.results().get(0).logDir();
    }

    String logDir() { return logDir; }

    void coordinator(String key) throws IOException {
        until("coordinator", () -> {
            FindCoordinatorResponseData r = call(ApiKeys.FIND_COORDINATOR, 4, new FindCoordinatorRequestData().setKeyType((byte) 0).setCoordinatorKeys(List.of(key)));
            return r.coordinators().get(0).errorCode() == 0;
        });
        // The coordinator is named a moment before it has loaded the group's partition.
        until("coordinator loaded", () -> {
            OffsetFetchResponseData r = call(ApiKeys.OFFSET_FETCH, 7, new OffsetFetchRequestData().setGroupId(key).setTopics(null));
            return r.errorCode() == 0;
        });
    }

    Uuid id(String topic) { return ids.getOrDefault(topic, new Uuid(7, 7)); }

    /** Creates the topics of many cases at once; one by one they would take most of the run. */
    void topics(List<String> all) throws IOException {
        CreateTopicsRequestData request = new CreateTopicsRequestData().setTimeoutMs(20_000);
        for (String name : all) request.topics().add(new CreateTopicsRequestData.CreatableTopic().setName(name).setNumPartitions(1).setReplicationFactor((short) 1));
        CreateTopicsResponseData r = call(ApiKeys.CREATE_TOPICS, 7, request);
        for (CreateTopicsResponseData.CreatableTopicResult t : r.topics()) {
            ok(t.errorCode(), "create " + t.name());
            learn(t.name(), t.topicId());
        }
        for (String name : all) until("partition of " + name, () -> listOffset(name, 0, -1) >= 0);
    }

    String topic(String name, int partitions, String... configs) throws IOException {
        CreateTopicsRequestData.CreatableTopicConfigCollection c = new CreateTopicsRequestData.CreatableTopicConfigCollection();
        for (int i = 0; i < configs.length; i += 2) c.add(new CreateTopicsRequestData.CreatableTopicConfig().setName(configs[i]).setValue(configs[i + 1]));
        CreateTopicsRequestData request = new CreateTopicsRequestData().setTimeoutMs(20_000);
        request.topics().add(new CreateTopicsRequestData.CreatableTopic().setName(name).setNumPartitions(partitions).setReplicationFactor((short) 1).setConfigs(c));
        CreateTopicsResponseData r = call(ApiKeys.CREATE_TOPICS, 7, request);
        CreateTopicsResponseData.CreatableTopicResult t = r.topics().iterator().next();
        ok(t.errorCode(), "create " + name);
        learn(name, t.topicId());
        until("leaders of " + name, () -> {
            MetadataResponseData m = call(ApiKeys.METADATA, 9, new MetadataRequestData().setTopics(new ArrayList<>(List.of(new MetadataRequestData.MetadataRequestTopic().setName(name)))).setAllowAutoTopicCreation(false));
            MetadataResponseData.MetadataResponseTopic found = m.topics().iterator().next();
            return found.errorCode() == 0 && found.partitions().size() == partitions && found.partitions().stream().allMatch(p -> p.errorCode() == 0 && p.leaderId() >= 0);
        });
        // A leader may be named a moment before it accepts requests.
        for (int p = 0; p < partitions; p++) {
            int partition = p;
            until("partition of " + name, () -> listOffset(name, partition, -1) >= 0);
        }
        return name;
    }

    void learn(String name, Uuid id) {
        ids.put(name, id);
        names.put(id, name);
    }

    long listOffset(String topic, int partition, long timestamp) throws IOException {
        ListOffsetsRequestData request = new ListOffsetsRequestData().setReplicaId(-1).setTopics(List.of(new ListOffsetsRequestData.ListOffsetsTopic().setName(topic)
            .setPartitions(List.of(new ListOffsetsRequestData.ListOffsetsPartition().setPartitionIndex(partition).setTimestamp(timestamp)))));
        ListOffsetsResponseData r = call(ApiKeys.LIST_OFFSETS, 5, request);
        ListOffsetsResponseData.ListOffsetsPartitionResponse p = r.topics().get(0).partitions().get(0);
        return p.errorCode() == 0 ? p.offset() : -1;
    }

    MemoryRecords records(int first, int count) {
        SimpleRecord[] records = new SimpleRecord[count];
        for (int i = 0; i < count; i++) records[i] = new SimpleRecord(now + first + i, ("k" + (first + i)).getBytes(), ("v" + (first + i)).getBytes());
        return MemoryRecords.withRecords(Compression.NONE, records);
    }

    void produce(String topic, int partition, int first, int count) throws IOException {
        ProduceRequestData request = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(20_000);
        request.topicData().add(new ProduceRequestData.TopicProduceData().setName(topic).setPartitionData(new ArrayList<>(List.of(
            new ProduceRequestData.PartitionProduceData().setIndex(partition).setRecords(records(first, count))))));
        ProduceResponseData r = call(ApiKeys.PRODUCE, 9, request);
        ok(r.responses().iterator().next().partitionResponses().get(0).errorCode(), "produce");
    }

    void commit(String group, String topic, int partition, long offset) throws IOException {
        OffsetCommitRequestData request = new OffsetCommitRequestData().setGroupId(group).setTopics(List.of(new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(topic)
            .setPartitions(List.of(new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(partition).setCommittedOffset(offset).setCommittedMetadata("m")))));
        OffsetCommitResponseData r = call(ApiKeys.OFFSET_COMMIT, 8, request);
        ok(r.topics().get(0).partitions().get(0).errorCode(), "commit");
    }

    static JoinGroupRequestData joinRequest(String group, String memberId, String instance) {
        JoinGroupRequestData request = new JoinGroupRequestData().setGroupId(group).setMemberId(memberId).setGroupInstanceId(instance).setProtocolType("consumer")
            .setSessionTimeoutMs(30_000).setRebalanceTimeoutMs(30_000);
        request.protocols().add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName("range").setMetadata(new byte[] {0, 1, 0, 0, 0, 0, -1, -1, -1, -1}));
        return request;
    }

    /** Joins as the only member; the group waits for its assignment. */
    String join(String group) throws IOException {
        coordinator(group);
        JoinGroupResponseData first = call(ApiKeys.JOIN_GROUP, 5, joinRequest(group, "", null));
        JoinGroupResponseData second = call(ApiKeys.JOIN_GROUP, 5, joinRequest(group, first.memberId(), null));
        ok(second.errorCode(), "join");
        return second.memberId();
    }

    /** Joins and synchronises: the group is stable in generation 1. */
    String stable(String group) throws IOException {
        String member = join(group);
        SyncGroupResponseData r = call(ApiKeys.SYNC_GROUP, 3, new SyncGroupRequestData().setGroupId(group).setGenerationId(1).setMemberId(member)
            .setAssignments(List.of(new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(member).setAssignment(new byte[] {0, 1, 0, 0, 0, 0, -1, -1, -1, -1}))));
        ok(r.errorCode(), "sync");
        return member;
    }

    long[] producerId() throws IOException {
        long[] id = new long[2];
        until("producer id", () -> {
            InitProducerIdResponseData r = call(ApiKeys.INIT_PRODUCER_ID, 1, new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000));
            id[0] = r.producerId();
            id[1] = r.producerEpoch();
            return r.errorCode() == 0;
        });
        return id;
    }

    /** The partition's records as stored, to see that both logs hold the same bytes. */
    String log(String topic, int partition) throws IOException {
        FetchRequestData request = new FetchRequestData().setReplicaId(-1).setMaxWaitMs(0).setMinBytes(0).setMaxBytes(8 << 20).setIsolationLevel((byte) 0).setSessionEpoch(-1);
        request.topics().add(new FetchRequestData.FetchTopic().setTopic(topic).setPartitions(new ArrayList<>(List.of(
            new FetchRequestData.FetchPartition().setPartition(partition).setFetchOffset(0).setPartitionMaxBytes(8 << 20)))));
        FetchResponseData r = call(ApiKeys.FETCH, 11, request);
        FetchResponseData.PartitionData p = r.responses().get(0).partitions().get(0);
        return p.errorCode() + " " + p.highWatermark() + " " + hex(p.records());
    }

    static String hex(Object records) {
        if (!(records instanceof MemoryRecords m)) return String.valueOf(records);
        ByteBuffer b = m.buffer().duplicate();
        StringBuilder out = new StringBuilder();
        while (b.hasRemaining() && out.length() < 4_000) out.append(String.format("%02x", b.get()));
        return out.toString();
    }

    /** The answer as a tree in which names that chance made are replaced by what they stand for. */
    JsonNode normal(ApiMessage answer, short version) {
        JsonNode tree = Messages.toJson(answer, version);
        if (answer instanceof FetchResponseData f) putRecords((ArrayNode) tree.path("responses"), f);
        replace(tree);
        return tree;
    }

    private static void putRecords(ArrayNode topics, FetchResponseData f) {
        for (int t = 0; t < topics.size(); t++) {
            ArrayNode parts = (ArrayNode) topics.get(t).path("partitions");
            for (int p = 0; p < parts.size(); p++)
                ((ObjectNode) parts.get(p)).put("records", hex(f.responses().get(t).partitions().get(p).records()));
        }
    }

    private void replace(JsonNode node) {
        if (node instanceof ObjectNode o) {
            for (String f : List.of("memberId", "leader", "clusterId", "assignment"))
                if (o.path(f).isTextual() && !o.path(f).asText().isEmpty()) o.put(f, "*");
            if (o.path("logAppendTimeMs").asLong(-1) > 0) o.put("logAppendTimeMs", "*");
            if (o.path("topicId").isTextual()) o.set("topicId", TextNode.valueOf(topicName(o.path("topicId").asText())));
            for (String f : List.of("sessionId", "producerId"))
                if (o.path(f).asLong(0) > 0 || f.equals("producerId") && o.path(f).isNumber() && o.path(f).asLong() == 0) o.set(f, IntNode.valueOf(1));
        }
        node.forEach(this::replace);
    }

    private String topicName(String id) {
        Uuid uuid = Uuid.fromString(id);
        if (uuid.equals(Uuid.ZERO_UUID)) return "zero";
        return names.containsKey(uuid) ? "id:" + names.get(uuid) : "other";
    }
}
