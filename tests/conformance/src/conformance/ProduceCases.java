package conformance;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.Crc32C;

/** Requests that write. Batches are Kafka's own, then changed byte by byte. */
final class ProduceCases {
    // Where fields of a batch stand.
    private static final int BASE_OFFSET = 0, LENGTH = 8, MAGIC = 16, CRC = 17, ATTRIBUTES = 21, LAST_DELTA = 23, BASE_TIME = 27,
        MAX_TIME = 35, PRODUCER = 43, EPOCH = 51, SEQUENCE = 53, COUNT = 57, HEADER = 61;

    private ProduceCases() { }

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case PRODUCE -> produce();
            case INIT_PRODUCER_ID -> producerIds();
            case DESCRIBE_PRODUCERS -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> producers(World.BASE, 0)),
                Template.of(api, "one", (w, own, v, p) -> producers(own + "t", 0)).prepare((w, own) -> {
                    long[] id = w.producerId();
                    w.call(ApiKeys.PRODUCE, 9, request(w, own, (short) 9, idempotent(batch(w, Compression.NONE), id[0], 0, 0)));
                    return null;
                }).withTopic().once(),
                Template.of(api, "unknown", (w, own, v, p) -> producers("no-such-topic", 0)).once());
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    private static DescribeProducersRequestData producers(String topic, int partition) {
        return new DescribeProducersRequestData().setTopics(new ArrayList<>(List.of(new DescribeProducersRequestData.TopicRequest().setName(topic).setPartitionIndexes(List.of(partition)))));
    }

    private static List<Template> producerIds() {
        ApiKeys api = ApiKeys.INIT_PRODUCER_ID;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000).setProducerId(-1).setProducerEpoch((short) -1)).skip("transactionalId=unknown"),
            Template.of(api, "with-id", (w, own, v, p) -> new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000).setProducerId(5).setProducerEpoch((short) 0)).from(3).once());
    }

    // Building

    private static byte[] batch(World w, Compression compression) {
        return bytes(MemoryRecords.withRecords(compression,
            new SimpleRecord(w.now, "k0".getBytes(), "v0".getBytes()), new SimpleRecord(w.now + 1, "k1".getBytes(), null), new SimpleRecord(w.now + 2, "k2".getBytes(), "v2".repeat(50).getBytes())));
    }

    private static byte[] bytes(MemoryRecords records) {
        ByteBuffer b = records.buffer().duplicate();
        byte[] out = new byte[b.remaining()];
        b.get(out);
        return out;
    }

    private static ByteBuffer at(byte[] b) { return ByteBuffer.wrap(b); }

    private static byte[] seal(byte[] b) {
        at(b).putInt(CRC, (int) Crc32C.compute(b, ATTRIBUTES, b.length - ATTRIBUTES));
        return b;
    }

    private static byte[] idempotent(byte[] b, long id, int epoch, int sequence) {
        at(b).putLong(PRODUCER, id).putShort(EPOCH, (short) epoch).putInt(SEQUENCE, sequence);
        return seal(b);
    }

    private static ProduceRequestData request(World w, String own, short v, byte[] records) {
        ProduceRequestData r = new ProduceRequestData().setTransactionalId(null).setAcks((short) -1).setTimeoutMs(20_000);
        ProduceRequestData.TopicProduceData t = new ProduceRequestData.TopicProduceData().setPartitionData(new ArrayList<>(List.of(
            new ProduceRequestData.PartitionProduceData().setIndex(0).setRecords(records == null ? null : MemoryRecords.readableRecords(ByteBuffer.wrap(records))))));
        if (v < 13) t.setName(own + "t"); else t.setTopicId(w.id(own + "t"));
        r.topicData().add(t);
        return r;
    }

    private static final Template.After LOG = (w, own) -> w.log(own + "t", 0);

    /** A batch that is changed and then sealed with a right checksum. */
    private static Template changed(String name, UnaryOperator<byte[]> change) {
        return raw(name, Compression.NONE, b -> seal(change.apply(b)));
    }

    private static Template raw(String name, Compression compression, UnaryOperator<byte[]> change) {
        return Template.of(ApiKeys.PRODUCE, name, (w, own, v, p) -> request(w, own, v, change.apply(batch(w, compression)))).withTopic().after(LOG).once();
    }

    interface Tune { void apply(ProduceRequestData r, World w, short v) throws Exception; }

    private static Template tuned(String name, Tune tune) {
        return Template.of(ApiKeys.PRODUCE, name, (w, own, v, p) -> {
            ProduceRequestData r = request(w, own, v, batch(w, Compression.NONE));
            tune.apply(r, w, v);
            return r;
        }).withTopic().after(LOG).once();
    }

    private static Template onTopic(String name, String key, String value, boolean compareLog) {
        Template t = Template.of(ApiKeys.PRODUCE, name, (w, own, v, p) -> request(w, own, v, batch(w, Compression.NONE))).prepare((w, own) -> w.topic(own + "t", 1, key, value)).once();
        return compareLog ? t.after(LOG) : t;
    }

    private static byte[] joined(byte[] a, byte[] b) {
        byte[] out = java.util.Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, out, a.length, b.length);
        return out;
    }

    private static List<Template> produce() {
        List<Template> out = new ArrayList<>(requests());
        out.addAll(batches());
        out.addAll(sequences());
        for (CompressionType type : CompressionType.values())
            out.add(raw("codec-" + type.name, Compression.of(type).build(), b -> b));
        return out;
    }

    private static ProduceRequestData.PartitionProduceData part(ProduceRequestData r) { return r.topicData().iterator().next().partitionData().get(0); }

    private static List<Template> requests() {
        return List.of(
            tuned("typical", (r, w, v) -> { }),
            tuned("acks-1", (r, w, v) -> r.setAcks((short) 1)),
            tuned("acks-2", (r, w, v) -> r.setAcks((short) 2)),
            tuned("acks-minus-2", (r, w, v) -> r.setAcks((short) -2)),
            tuned("no-partitions", (r, w, v) -> r.topicData().iterator().next().partitionData().clear()),
            tuned("no-topics", (r, w, v) -> r.topicData().clear()),
            tuned("unknown-partition", (r, w, v) -> part(r).setIndex(9)),
            tuned("negative-partition", (r, w, v) -> part(r).setIndex(-1)),
            tuned("unknown-topic", (r, w, v) -> { ProduceRequestData.TopicProduceData t = r.topicData().iterator().next().duplicate(); r.topicData().clear();
                if (v < 13) t.setName("no-such-topic"); else t.setTopicId(new org.apache.kafka.common.Uuid(5, 5)); r.topicData().add(t); }),
            tuned("internal-topic", (r, w, v) -> { ProduceRequestData.TopicProduceData t = r.topicData().iterator().next().duplicate(); r.topicData().clear(); r.topicData().add(t.setName("__consumer_offsets")); }).upTo(12),
            tuned("one-good-one-unknown", (r, w, v) -> r.topicData().iterator().next().partitionData().add(part(r).duplicate().setIndex(5).setRecords(part(r).records()))),
            tuned("records-null", (r, w, v) -> part(r).setRecords(null)),
            tuned("records-empty", (r, w, v) -> part(r).setRecords(MemoryRecords.EMPTY)));
    }

    private static List<Template> batches() {
        return List.of(
            raw("bad-checksum", Compression.NONE, b -> { b[CRC] ^= 1; return b; }),
            raw("cut-batch", Compression.NONE, b -> java.util.Arrays.copyOf(b, b.length - 5)),
            raw("cut-header", Compression.NONE, b -> java.util.Arrays.copyOf(b, 40)),
            raw("garbage", Compression.NONE, b -> new byte[100]),
            raw("two-batches", Compression.NONE, b -> joined(b, b)),
            raw("trailing-garbage", Compression.NONE, b -> joined(b, new byte[] {1, 2, 3})),
            raw("magic-0", Compression.NONE, b -> { b[MAGIC] = 0; return b; }),
            raw("magic-1", Compression.NONE, b -> { b[MAGIC] = 1; return b; }),
            raw("magic-3", Compression.NONE, b -> { b[MAGIC] = 3; return b; }),
            raw("length-zero", Compression.NONE, b -> { at(b).putInt(LENGTH, 0); return b; }),
            raw("length-negative", Compression.NONE, b -> { at(b).putInt(LENGTH, -1); return b; }),
            raw("length-huge", Compression.NONE, b -> { at(b).putInt(LENGTH, Integer.MAX_VALUE); return b; }),
            changed("base-offset", b -> { at(b).putLong(BASE_OFFSET, 42); return b; }),
            changed("count-more", b -> { at(b).putInt(COUNT, 4); return b; }),
            changed("count-less", b -> { at(b).putInt(COUNT, 2); return b; }),
            changed("count-zero", b -> { at(b).putInt(COUNT, 0); return b; }),
            changed("count-negative", b -> { at(b).putInt(COUNT, -1); return b; }),
            changed("count-and-delta-more", b -> { at(b).putInt(COUNT, 4).putInt(LAST_DELTA, 3); return b; }),
            changed("count-and-delta-less", b -> { at(b).putInt(COUNT, 2).putInt(LAST_DELTA, 1); return b; }),
            changed("count-and-delta-huge", b -> { at(b).putInt(COUNT, Integer.MAX_VALUE).putInt(LAST_DELTA, Integer.MAX_VALUE - 1); return b; }),
            changed("delta-negative", b -> { at(b).putInt(LAST_DELTA, -1); return b; }),
            changed("control", b -> { at(b).putShort(ATTRIBUTES, (short) 32); return b; }),
            changed("append-time-bit", b -> { at(b).putShort(ATTRIBUTES, (short) 8); return b; }),
            changed("codec-5", b -> { at(b).putShort(ATTRIBUTES, (short) 5); return b; }),
            changed("codec-7", b -> { at(b).putShort(ATTRIBUTES, (short) 7); return b; }),
            changed("not-gzip", b -> { at(b).putShort(ATTRIBUTES, (short) 1); return b; }),
            changed("not-zstd", b -> { at(b).putShort(ATTRIBUTES, (short) 4); return b; }).from(7),
            changed("max-time-wrong", b -> { at(b).putLong(MAX_TIME, 5); return b; }),
            changed("time-unset", b -> { at(b).putLong(BASE_TIME, -1).putLong(MAX_TIME, -1); return b; }),
            changed("far-future", b -> { at(b).putLong(BASE_TIME, at(b).getLong(BASE_TIME) + 40L * 24 * 3600 * 1000); return b; }),
            changed("long-ago", b -> { at(b).putLong(BASE_TIME, 1000).putLong(MAX_TIME, 1002); return b; }),
            changed("bad-record-length", b -> { b[HEADER] = (byte) 0x7f; return b; }),
            changed("bad-record-negative", b -> { b[HEADER] = 1; return b; }),
            changed("bad-key-length", b -> { b[HEADER + 4] = 0x7e; return b; }),
            changed("attributes-odd", b -> { at(b).putShort(ATTRIBUTES, (short) 0x4000); return b; }),
            onTopic("topic-append-time", "message.timestamp.type", "LogAppendTime", false),
            onTopic("topic-small-limit", "max.message.bytes", "100", true),
            onTopic("topic-gzip", "compression.type", "gzip", false),
            onTopic("topic-uncompressed", "compression.type", "uncompressed", true),
            onTopic("topic-compressed-again", "compression.type", "zstd", false).from(7),
            onTopic("topic-min-isr", "min.insync.replicas", "2", true),
            onTopic("topic-old-records", "message.timestamp.before.max.ms", "0", false));
    }

    /** Sends `first` batches of an idempotent producer before the one that is looked at. */
    private static Template sequence(String name, int[] first, int epoch, int sequence) {
        return Template.of(ApiKeys.PRODUCE, name, (w, own, v, p) -> request(w, own, v, idempotent(batch(w, Compression.NONE), (Long) p, epoch, sequence))).prepare((w, own) -> {
            long id = w.producerId()[0];
            for (int s : first) w.call(ApiKeys.PRODUCE, 9, request(w, own, (short) 9, idempotent(batch(w, Compression.NONE), id, 1, s)));
            return id;
        }).after((w, own) -> "end " + w.listOffset(own + "t", 0, -1)).withTopic().once();
    }

    private static List<Template> sequences() {
        return List.of(
            sequence("sequence-first", new int[] {}, 1, 0),
            sequence("sequence-first-not-zero", new int[] {}, 1, 7),
            sequence("sequence-negative", new int[] {}, 1, -1),
            sequence("sequence-next", new int[] {0}, 1, 3),
            sequence("sequence-again", new int[] {0, 3}, 1, 0),
            sequence("sequence-gap", new int[] {0}, 1, 9),
            sequence("sequence-inside", new int[] {0, 3}, 1, 1),
            sequence("sequence-six-ago", new int[] {0, 3, 6, 9, 12, 15, 18}, 1, 0),
            sequence("epoch-old", new int[] {0}, 0, 3),
            sequence("epoch-new", new int[] {0}, 2, 0),
            sequence("epoch-new-not-zero", new int[] {0}, 2, 3),
            sequence("epoch-negative", new int[] {0}, -1, 3));
    }
}
