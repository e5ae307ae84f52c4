package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.message.CreateTopicsRequestData.CreatableReplicaAssignment;
import org.apache.kafka.common.message.CreateTopicsRequestData.CreatableTopic;
import org.apache.kafka.common.message.CreateTopicsRequestData.CreatableTopicConfig;
import org.apache.kafka.common.protocol.ApiKeys;

/** Requests that make, change and remove topics. */
final class TopicCases {
    private TopicCases() { }

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case CREATE_TOPICS -> create();
            case DELETE_TOPICS -> delete();
            case CREATE_PARTITIONS -> grow();
            case DELETE_RECORDS -> deleteRecords();
            case ELECT_LEADERS -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> elect(World.BASE, 0)).skip("timeoutMs|topicPartitions=null"),
                Template.of(api, "unclean", (w, own, v, p) -> elect(World.BASE, 0).setElectionType((byte) 1)).once(),
                Template.of(api, "unknown", (w, own, v, p) -> elect("no-such-topic", 7)).once());
            case ALTER_PARTITION_REASSIGNMENTS -> reassign();
            case LIST_PARTITION_REASSIGNMENTS -> List.of(Template.of(api, "typical", (w, own, v, p) -> new ListPartitionReassignmentsRequestData().setTimeoutMs(20_000).setTopics(List.of(
                new ListPartitionReassignmentsRequestData.ListPartitionReassignmentsTopics().setName(World.BASE).setPartitionIndexes(List.of(0, 1))))).skip("timeoutMs"));
            case DESCRIBE_LOG_DIRS -> logDirs();
            case ALTER_REPLICA_LOG_DIRS -> List.of(Template.of(api, "typical", (w, own, v, p) -> {
                AlterReplicaLogDirsRequestData.AlterReplicaLogDirTopicCollection topics = new AlterReplicaLogDirsRequestData.AlterReplicaLogDirTopicCollection();
                topics.add(new AlterReplicaLogDirsRequestData.AlterReplicaLogDirTopic().setName(World.BASE).setPartitions(List.of(0)));
                AlterReplicaLogDirsRequestData a = new AlterReplicaLogDirsRequestData();
                a.dirs().add(new AlterReplicaLogDirsRequestData.AlterReplicaLogDir().setPath(w.logDir()).setTopics(topics));
                return a;
            }));
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    private static CreatableTopic topic(String name, int partitions, int replicas) {
        return new CreatableTopic().setName(name).setNumPartitions(partitions).setReplicationFactor((short) replicas);
    }

    private static CreateTopicsRequestData create(CreatableTopic... topics) {
        CreateTopicsRequestData r = new CreateTopicsRequestData().setTimeoutMs(20_000);
        for (CreatableTopic t : topics) r.topics().mustAdd(t);
        return r;
    }

    private static CreatableTopic assigned(String name, int[]... replicas) {
        CreatableTopic t = topic(name, -1, -1);
        for (int i = 0; i < replicas.length; i++) {
            CreatableReplicaAssignment a = new CreatableReplicaAssignment().setPartitionIndex(replicas[i][0]);
            List<Integer> brokers = new ArrayList<>();
            for (int k = 1; k < replicas[i].length; k++) brokers.add(replicas[i][k]);
            t.assignments().add(a.setBrokerIds(brokers));
        }
        return t;
    }

    private static CreatableTopic configured(String name, String... kv) {
        CreatableTopic t = topic(name, 1, 1);
        for (int i = 0; i < kv.length; i += 2) t.configs().add(new CreatableTopicConfig().setName(kv[i]).setValue(kv[i + 1]));
        return t;
    }

    private static Template createOnce(String name, java.util.function.Function<String, CreateTopicsRequestData> make) {
        return Template.of(ApiKeys.CREATE_TOPICS, name, (w, own, v, p) -> make.apply(own)).once();
    }

    private static List<Template> create() {
        return List.of(
            Template.of(ApiKeys.CREATE_TOPICS, "typical", (w, own, v, p) -> create(configured(own + "t", "retention.ms", "3600000").setNumPartitions(2)))
                .skip("timeoutMs|topics/0/name=(unknown|long)|assignments"),
            createOnce("defaults", own -> create(topic(own + "t", -1, -1))),
            createOnce("validate-only", own -> create(topic(own + "t", 2, 1)).setValidateOnly(true)),
            createOnce("existing", own -> create(topic(World.BASE, 1, 1))),
            createOnce("two-of-one-name", own -> { CreateTopicsRequestData r = create(topic(own + "t", 1, 1), topic(own + "u", 1, 1)); r.topics().add(topic(own + "t", 1, 1)); return r; }),
            createOnce("collision", own -> create(topic(own + "a.b", 1, 1), topic(own + "a_b", 1, 1))),
            createOnce("dot", own -> create(topic(".", 1, 1), topic("..", 1, 1), topic(own + "ok", 1, 1))),
            createOnce("longest", own -> create(topic((own + "x".repeat(300)).substring(0, 249), 1, 1))),
            createOnce("internal-name", own -> create(topic("__consumer_offsets", 1, 1))),
            createOnce("metadata-name", own -> create(topic("__cluster_metadata", 1, 1))),
            createOnce("too-many-replicas", own -> create(topic(own + "t", 1, 2))),
            createOnce("assigned", own -> create(assigned(own + "t", new int[] {0, 0}, new int[] {1, 0}))),
            createOnce("assigned-unknown-broker", own -> create(assigned(own + "t", new int[] {0, 42}))),
            createOnce("assigned-same-twice", own -> create(assigned(own + "t", new int[] {0, 0, 0}))),
            createOnce("assigned-gap", own -> create(assigned(own + "t", new int[] {1, 0}))),
            createOnce("assigned-double", own -> create(assigned(own + "t", new int[] {0, 0}, new int[] {0, 0}))),
            createOnce("assigned-nobody", own -> create(assigned(own + "t", new int[] {0}))),
            createOnce("assigned-and-counted", own -> create(assigned(own + "t", new int[] {0, 0}).setNumPartitions(1).setReplicationFactor((short) 1))),
            createOnce("config-null", own -> create(configured(own + "t", "retention.ms", null))),
            createOnce("config-unknown", own -> create(configured(own + "t", "no.such.config", "1"))),
            createOnce("config-wrong-type", own -> create(configured(own + "t", "retention.ms", "soon"))),
            createOnce("config-out-of-range", own -> create(configured(own + "t", "segment.bytes", "1"))),
            createOnce("config-wrong-choice", own -> create(configured(own + "t", "compression.type", "zip"))),
            createOnce("config-many", own -> create(configured(own + "t", "max.message.bytes", "2000000", "message.timestamp.type", "LogAppendTime", "compression.type", "lz4", "retention.bytes", "-1"))));
    }

    private static DeleteTopicsRequestData deleteRequest(short v, String... names) {
        DeleteTopicsRequestData r = new DeleteTopicsRequestData().setTimeoutMs(20_000);
        for (String n : names) {
            if (v < 6) r.topicNames().add(n);
            else r.topics().add(new DeleteTopicsRequestData.DeleteTopicState().setName(n));
        }
        return r;
    }

    private static List<Template> delete() {
        return List.of(
            Template.of(ApiKeys.DELETE_TOPICS, "typical", (w, own, v, p) -> deleteRequest(v, own + "t")).withTopic().skip("timeoutMs"),
            Template.of(ApiKeys.DELETE_TOPICS, "unknown", (w, own, v, p) -> deleteRequest(v, "no-such-topic", "also-not")).once(),
            Template.of(ApiKeys.DELETE_TOPICS, "by-id", (w, own, v, p) -> {
                DeleteTopicsRequestData r = deleteRequest(v);
                r.topics().add(new DeleteTopicsRequestData.DeleteTopicState().setName(null).setTopicId(w.id(own + "t")));
                return r;
            }).withTopic().skip("timeoutMs").from(6),
            Template.of(ApiKeys.DELETE_TOPICS, "by-name-and-id", (w, own, v, p) -> {
                DeleteTopicsRequestData r = deleteRequest(v);
                r.topics().add(new DeleteTopicsRequestData.DeleteTopicState().setName(own + "t").setTopicId(w.id(own + "t")));
                return r;
            }).withTopic().once().from(6));
    }

    private static CreatePartitionsRequestData growTo(String topic, int count, Consumer<CreatePartitionsRequestData.CreatePartitionsTopic> more) {
        CreatePartitionsRequestData.CreatePartitionsTopic t = new CreatePartitionsRequestData.CreatePartitionsTopic().setName(topic).setCount(count).setAssignments(null);
        more.accept(t);
        CreatePartitionsRequestData r = new CreatePartitionsRequestData().setTimeoutMs(20_000).setValidateOnly(false);
        r.topics().add(t);
        return r;
    }

    private static CreatePartitionsRequestData.CreatePartitionsAssignment on(Integer... brokers) {
        return new CreatePartitionsRequestData.CreatePartitionsAssignment().setBrokerIds(List.of(brokers));
    }

    private static List<Template> grow() {
        ApiKeys api = ApiKeys.CREATE_PARTITIONS;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> growTo(own + "t", 3, t -> { })).withTopic().skip("timeoutMs|count=(32767|2147483647)|assignments"),
            Template.of(api, "assigned", (w, own, v, p) -> growTo(own + "t", 2, t -> t.setAssignments(List.of(on(0))))).withTopic().once(),
            Template.of(api, "assigned-too-many", (w, own, v, p) -> growTo(own + "t", 2, t -> t.setAssignments(List.of(on(0), on(0))))).withTopic().once(),
            Template.of(api, "assigned-unknown-broker", (w, own, v, p) -> growTo(own + "t", 2, t -> t.setAssignments(List.of(on(42))))).withTopic().once(),
            Template.of(api, "assigned-nobody", (w, own, v, p) -> growTo(own + "t", 2, t -> t.setAssignments(List.of(on())))).withTopic().once(),
            Template.of(api, "same-count", (w, own, v, p) -> growTo(own + "t", 1, t -> { })).withTopic().once(),
            Template.of(api, "unknown", (w, own, v, p) -> growTo("no-such-topic", 3, t -> { })).once());
    }

    private static DeleteRecordsRequestData upTo(String topic, int partition, long offset) {
        return new DeleteRecordsRequestData().setTimeoutMs(20_000).setTopics(List.of(new DeleteRecordsRequestData.DeleteRecordsTopic().setName(topic)
            .setPartitions(List.of(new DeleteRecordsRequestData.DeleteRecordsPartition().setPartitionIndex(partition).setOffset(offset)))));
    }

    private static List<Template> deleteRecords() {
        Template.Prepare filled = (w, own) -> { w.produce(own + "t", 0, 0, 5); w.produce(own + "t", 0, 5, 5); return null; };
        ApiKeys api = ApiKeys.DELETE_RECORDS;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> upTo(own + "t", 0, 5)).prepare(filled).withTopic().skip("timeoutMs").after((w, own) -> "earliest " + w.listOffset(own + "t", 0, -2)),
            Template.of(api, "inside-a-batch", (w, own, v, p) -> upTo(own + "t", 0, 7)).prepare(filled).withTopic().once().after((w, own) -> "earliest " + w.listOffset(own + "t", 0, -2)),
            Template.of(api, "all", (w, own, v, p) -> upTo(own + "t", 0, -1)).prepare(filled).withTopic().once().after((w, own) -> "earliest " + w.listOffset(own + "t", 0, -2)),
            Template.of(api, "past-the-end", (w, own, v, p) -> upTo(own + "t", 0, 11)).prepare(filled).withTopic().once(),
            Template.of(api, "internal-topic", (w, own, v, p) -> upTo("__consumer_offsets", 0, 0)).once(),
            Template.of(api, "unknown", (w, own, v, p) -> upTo("no-such-topic", 0, 0)).once());
    }

    private static ElectLeadersRequestData elect(String topic, int partition) {
        ElectLeadersRequestData.TopicPartitionsCollection c = new ElectLeadersRequestData.TopicPartitionsCollection();
        c.add(new ElectLeadersRequestData.TopicPartitions().setTopic(topic).setPartitions(List.of(partition)));
        return new ElectLeadersRequestData().setElectionType((byte) 0).setTimeoutMs(20_000).setTopicPartitions(c);
    }

    private static AlterPartitionReassignmentsRequestData move(String topic, int partition, List<Integer> replicas) {
        return new AlterPartitionReassignmentsRequestData().setTimeoutMs(20_000).setTopics(List.of(new AlterPartitionReassignmentsRequestData.ReassignableTopic().setName(topic)
            .setPartitions(List.of(new AlterPartitionReassignmentsRequestData.ReassignablePartition().setPartitionIndex(partition).setReplicas(replicas)))));
    }

    private static List<Template> reassign() {
        ApiKeys api = ApiKeys.ALTER_PARTITION_REASSIGNMENTS;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> move(World.BASE, 0, List.of(0))).skip("timeoutMs"),
            Template.of(api, "cancel", (w, own, v, p) -> move(World.BASE, 0, null)).once(),
            Template.of(api, "nobody", (w, own, v, p) -> move(World.BASE, 0, List.of())).once(),
            Template.of(api, "same-twice", (w, own, v, p) -> move(World.BASE, 0, List.of(0, 0))).once(),
            Template.of(api, "unknown-broker", (w, own, v, p) -> move(World.BASE, 0, List.of(42))).once(),
            Template.of(api, "unknown", (w, own, v, p) -> move("no-such-topic", 0, List.of(0))).once());
    }

    private static List<Template> logDirs() {
        ApiKeys api = ApiKeys.DESCRIBE_LOG_DIRS;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> {
                DescribeLogDirsRequestData.DescribableLogDirTopicCollection c = new DescribeLogDirsRequestData.DescribableLogDirTopicCollection();
                c.add(new DescribeLogDirsRequestData.DescribableLogDirTopic().setTopic(World.BASE).setPartitions(List.of(0, 1)));
                return new DescribeLogDirsRequestData().setTopics(c);
            }),
            Template.of(api, "all", (w, own, v, p) -> new DescribeLogDirsRequestData().setTopics(null)).once());
    }
}
