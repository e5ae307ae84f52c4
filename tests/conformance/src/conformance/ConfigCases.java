package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;

/** Requests about settings. Resource types: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. */
final class ConfigCases {
    private static final byte TOPIC = 2, BROKER = 4, LOGGER = 8, METRICS = 16, GROUP = 32;

    private ConfigCases() { }

    static List<Template> of(ApiKeys api) {
        return switch (api) {
            case DESCRIBE_CONFIGS -> describe();
            case ALTER_CONFIGS -> alter();
            case INCREMENTAL_ALTER_CONFIGS -> incremental();
            case LIST_CONFIG_RESOURCES -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> new ListConfigResourcesRequestData().setResourceTypes(v == 0 ? List.of() : List.of(TOPIC))),
                Template.of(api, "all", (w, own, v, p) -> new ListConfigResourcesRequestData().setResourceTypes(List.of())).once(),
                Template.of(api, "brokers", (w, own, v, p) -> new ListConfigResourcesRequestData().setResourceTypes(List.of(BROKER))).once().from(1),
                Template.of(api, "groups", (w, own, v, p) -> new ListConfigResourcesRequestData().setResourceTypes(List.of(GROUP, METRICS))).once().from(1));
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    private static DescribeConfigsRequestData describe(byte type, String name, List<String> keys) {
        DescribeConfigsRequestData r = new DescribeConfigsRequestData().setIncludeSynonyms(true).setIncludeDocumentation(true);
        r.resources().add(new DescribeConfigsRequestData.DescribeConfigsResource().setResourceType(type).setResourceName(name).setConfigurationKeys(keys));
        return r;
    }

    private static Template describeOnce(String name, byte type, String resource, List<String> keys) {
        return Template.of(ApiKeys.DESCRIBE_CONFIGS, name, (w, own, v, p) -> describe(type, resource, keys)).once();
    }

    private static List<Template> describe() {
        return List.of(
            Template.of(ApiKeys.DESCRIBE_CONFIGS, "typical", (w, own, v, p) -> describe(TOPIC, World.BASE, new ArrayList<>(List.of("retention.ms", "max.message.bytes")))).skip("configurationKeys=null"),
            describeOnce("topic-all", TOPIC, World.BASE, null),
            describeOnce("topic-no-keys", TOPIC, World.BASE, List.of()),
            describeOnce("topic-unknown", TOPIC, "no-such-topic", null),
            describeOnce("topic-bad-name", TOPIC, "bad name", null),
            describeOnce("topic-unnamed", TOPIC, "", null),
            describeOnce("broker", BROKER, "0", List.of("log.retention.ms", "num.partitions", "message.max.bytes", "log.cleanup.policy", "compression.type", "num.io.threads")),
            describeOnce("broker-default", BROKER, "", null),
            describeOnce("broker-other", BROKER, "42", null),
            describeOnce("broker-no-number", BROKER, "x", null),
            describeOnce("group", GROUP, "base-group", null),
            describeOnce("group-unnamed", GROUP, "", null),
            describeOnce("metrics", METRICS, "no-such", null),
            describeOnce("logger-other-broker", LOGGER, "42", null),
            describeOnce("type-unknown", (byte) 77, "x", null));
    }

    private static AlterConfigsRequestData alter(byte type, String name, boolean validateOnly, String... kv) {
        AlterConfigsRequestData.AlterConfigsResource resource = new AlterConfigsRequestData.AlterConfigsResource().setResourceType(type).setResourceName(name);
        for (int i = 0; i < kv.length; i += 2) resource.configs().add(new AlterConfigsRequestData.AlterableConfig().setName(kv[i]).setValue(kv[i + 1]));
        AlterConfigsRequestData r = new AlterConfigsRequestData().setValidateOnly(validateOnly);
        r.resources().add(resource);
        return r;
    }

    /** The values that were set on the case's topic, so that a change is seen to have happened, or not. */
    private static final Template.After LOOK = (w, own) -> {
        DescribeConfigsRequestData r = new DescribeConfigsRequestData();
        r.resources().add(new DescribeConfigsRequestData.DescribeConfigsResource().setResourceType(TOPIC).setResourceName(own + "t")
            .setConfigurationKeys(List.of("retention.ms", "cleanup.policy", "compression.type")));
        DescribeConfigsResponseData a = w.call(ApiKeys.DESCRIBE_CONFIGS, 4, r);
        StringBuilder out = new StringBuilder();
        a.results().get(0).configs().stream().sorted((x, y) -> x.name().compareTo(y.name())).forEach(c -> out.append(c.name()).append('=').append(c.value()).append('@').append(c.configSource()).append(' '));
        return out.toString();
    };
    /** The case's topic has one setting already. */
    private static final Template.Prepare OWN_TOPIC = (w, own) -> {
        IncrementalAlterConfigsResponseData r = w.call(ApiKeys.INCREMENTAL_ALTER_CONFIGS, 1, change(TOPIC, own + "t", false, "compression.type", 0, "lz4"));
        w.ok(r.responses().get(0).errorCode(), "config");
        w.until("config", () -> LOOK.look(w, own).contains("compression.type=lz4@1"));
        return null;
    };

    private static List<Template> alter() {
        ApiKeys api = ApiKeys.ALTER_CONFIGS;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> alter(TOPIC, own + "t", false, "retention.ms", "7200000")).prepare(OWN_TOPIC).withTopic().after(LOOK),
            Template.of(api, "validate-only", (w, own, v, p) -> alter(TOPIC, own + "t", true, "retention.ms", "7200000")).prepare(OWN_TOPIC).withTopic().after(LOOK).once(),
            Template.of(api, "unknown-config", (w, own, v, p) -> alter(TOPIC, own + "t", false, "no.such", "1")).prepare(OWN_TOPIC).withTopic().after(LOOK).once(),
            Template.of(api, "wrong-value", (w, own, v, p) -> alter(TOPIC, own + "t", false, "retention.ms", "x")).prepare(OWN_TOPIC).withTopic().after(LOOK).once(),
            Template.of(api, "unknown-topic", (w, own, v, p) -> alter(TOPIC, "no-such-topic", false, "retention.ms", "1")).once(),
            Template.of(api, "broker-validate", (w, own, v, p) -> alter(BROKER, "0", true, "log.cleaner.backoff.ms", "15000")).once(),
            Template.of(api, "broker-read-only", (w, own, v, p) -> alter(BROKER, "0", true, "num.partitions", "3")).once(),
            Template.of(api, "broker-other", (w, own, v, p) -> alter(BROKER, "42", true, "log.cleaner.backoff.ms", "15000")).once());
    }

    private static IncrementalAlterConfigsRequestData change(byte type, String name, boolean validateOnly, String key, int op, String value) {
        IncrementalAlterConfigsRequestData.AlterConfigsResource resource = new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType(type).setResourceName(name);
        resource.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName(key).setConfigOperation((byte) op).setValue(value));
        IncrementalAlterConfigsRequestData r = new IncrementalAlterConfigsRequestData().setValidateOnly(validateOnly);
        r.resources().add(resource);
        return r;
    }

    private static Template changeOnce(String name, byte type, String resource, boolean validateOnly, String key, int op, String value) {
        Template t = Template.of(ApiKeys.INCREMENTAL_ALTER_CONFIGS, name, (w, own, v, p) -> change(type, resource == null ? own + "t" : resource, validateOnly, key, op, value)).once();
        return resource == null ? t.prepare(OWN_TOPIC).withTopic().after(LOOK) : t;
    }

    private static List<Template> incremental() {
        ApiKeys api = ApiKeys.INCREMENTAL_ALTER_CONFIGS;
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> change(TOPIC, own + "t", false, "retention.ms", 0, "7200000")).prepare(OWN_TOPIC).withTopic().after(LOOK),
            changeOnce("validate-only", TOPIC, null, true, "retention.ms", 0, "7200000"),
            changeOnce("delete", TOPIC, null, false, "compression.type", 1, null),
            changeOnce("delete-unset", TOPIC, null, false, "retention.ms", 1, null),
            changeOnce("set-null", TOPIC, null, false, "retention.ms", 0, null),
            changeOnce("append-to-number", TOPIC, null, false, "retention.ms", 2, "5"),
            changeOnce("subtract", TOPIC, null, false, "cleanup.policy", 3, "nothing"),
            changeOnce("unknown-config", TOPIC, null, false, "no.such", 0, "1"),
            changeOnce("wrong-value", TOPIC, null, false, "retention.ms", 0, "x"),
            changeOnce("out-of-range", TOPIC, null, false, "min.insync.replicas", 0, "0"),
            changeOnce("unknown-topic", TOPIC, "no-such-topic", false, "retention.ms", 0, "1"),
            changeOnce("topic-unnamed", TOPIC, "", false, "retention.ms", 0, "1"),
            changeOnce("broker-validate", BROKER, "0", true, "log.cleaner.backoff.ms", 0, "15000"),
            changeOnce("broker-default-validate", BROKER, "", true, "log.retention.ms", 0, "99999999"),
            changeOnce("broker-read-only", BROKER, "0", true, "num.partitions", 0, "3"),
            changeOnce("broker-unknown-config", BROKER, "0", true, "no.such", 0, "3"),
            changeOnce("broker-other", BROKER, "42", true, "log.cleaner.backoff.ms", 0, "15000"),
            changeOnce("broker-no-number", BROKER, "x", true, "log.cleaner.backoff.ms", 0, "15000"),
            changeOnce("group", GROUP, "c.group", false, "consumer.session.timeout.ms", 0, "46000"),
            changeOnce("group-out-of-range", GROUP, "c.group", false, "consumer.session.timeout.ms", 0, "1"),
            changeOnce("group-unknown-config", GROUP, "c.group", false, "no.such", 0, "1"),
            changeOnce("group-unnamed", GROUP, "", false, "consumer.session.timeout.ms", 0, "46000"),
            changeOnce("logger-other-broker", LOGGER, "42", true, "kafka.server.KafkaApis", 0, "INFO"),
            changeOnce("type-unknown", (byte) 77, "x", false, "a", 0, "b"));
    }
}
