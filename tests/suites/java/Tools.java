import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Pattern;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's command line tools as an operator types them, all in one JVM. Prints `name TAB pass|fail TAB detail`:
 * a tool passes when it ends with 0 and prints what is expected.
 */
public final class Tools {
    private static final String TOOLS = "org.apache.kafka.tools.";
    private static final String ADDRESS = System.getenv("BROKERS");
    private static final String FACTOR = System.getenv().getOrDefault("RF", "1");
    /** Ids of all brokers, with commas, and the first of them. */
    private static final String IDS = System.getenv().getOrDefault("IDS", "0");
    private static final String ID = IDS.split(",")[0];
    private static final String TOPIC = "tools-" + Long.toString(System.nanoTime(), 36);
    private static final int LIMIT_SECONDS = 60;
    private static final PrintStream OUT = System.out;
    private static final ExecutorService POOL = Executors.newCachedThreadPool(r -> { Thread t = new Thread(r); t.setDaemon(true); return t; });
    private static final int TRIES = 4;
    private static final int PAUSE_MS = 300;
    /** The first exit code that the running tool asked for; tools may catch what `Exit` throws and exit again. */
    private static final AtomicReference<Integer> EXIT = new AtomicReference<>();
    private static int failed;

    private static final class Ended extends RuntimeException {
        Ended(String message) { super(message); }
    }

    private static void end(int code, String message) {
        EXIT.compareAndSet(null, code);
        throw new Ended(message);
    }

    /** Standard output of the running tool. */
    private static String run(String type, List<String> args, byte[] input) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(bytes, true, StandardCharsets.UTF_8);
        System.setOut(capture);
        System.setErr(capture);
        System.setIn(new java.io.ByteArrayInputStream(input));
        int code;
        EXIT.set(null);
        try {
            code = POOL.submit(() -> {
                try {
                    Method main = Class.forName(type).getMethod("main", String[].class);
                    main.invoke(null, (Object) args.toArray(String[]::new));
                } catch (InvocationTargetException e) {
                    if (EXIT.get() == null) {
                        e.getCause().printStackTrace(capture);
                        return -1;
                    }
                }
                return EXIT.get() == null ? 0 : EXIT.get();
            }).get(LIMIT_SECONDS, TimeUnit.SECONDS);
        } finally {
            capture.flush();
            System.setOut(OUT);
        }
        String text = bytes.toString(StandardCharsets.UTF_8);
        if (code != 0) throw new Exception("exit " + code + ": " + text);
        return text;
    }

    /** Some tools print their summary when their JVM ends, so they get one of their own. */
    private static String runApart(String type, List<String> args) throws Exception {
        List<String> words = new ArrayList<>(List.of("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + System.getProperty("log4j2.configurationFile"),
            "-cp", System.getProperty("java.class.path"), type));
        words.addAll(args);
        Path out = Files.createTempFile("tools", ".out");
        try {
            Process p = new ProcessBuilder(words).redirectErrorStream(true).redirectOutput(out.toFile()).start();
            if (!p.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)) {
                p.destroyForcibly();
                throw new Exception("not in time: " + Files.readString(out));
            }
            if (p.exitValue() != 0) throw new Exception("exit " + p.exitValue() + ": " + Files.readString(out));
            return Files.readString(out);
        } finally {
            Files.deleteIfExists(out);
        }
    }

    private static void tool(String name, String pattern, String type, Object... args) {
        with(name, pattern, type, "", args);
    }

    private static void with(String name, String pattern, String type, String input, Object... args) {
        List<String> words = new ArrayList<>();
        for (Object a : args) words.add(String.valueOf(a));
        String line = "pass\t";
        try {
            // What was changed may be seen a moment later.
            boolean looks = name.contains("describe") || name.contains("list");
            for (int left = looks ? TRIES : 1; ; left--) {
                String text = type.contains("Verifiable") ? runApart(type, words) : run(type, words, input.getBytes(StandardCharsets.UTF_8));
                if (Pattern.compile(pattern, Pattern.MULTILINE).matcher(text).find()) break;
                if (left == 1) throw new Exception("no `" + pattern + "` in: " + text);
                Thread.sleep(PAUSE_MS);
            }
        } catch (Throwable e) {
            failed++;
            String text = String.valueOf(e).replaceAll("\\s+", " ");
            line = "fail\t" + (text.length() > 400 ? text.substring(0, 150) + " … " + text.substring(text.length() - 250) : text);
        }
        OUT.println("tools." + name + "\t" + line);
    }

    private static Path file(String text) throws Exception {
        Path path = Files.createTempFile("tools", ".json");
        path.toFile().deleteOnExit();
        return Files.writeString(path, text);
    }

    public static void main(String[] args) throws Exception {
        Exit.setExitProcedure(Tools::end);
        Exit.setHaltProcedure(Tools::end);
        Exit.setShutdownHookAdder((name, hook) -> { });
        topics();
        configs();
        data();
        groups();
        cluster();
        if (IDS.split(",").length >= 3) severalBrokers();
        tool("topic_delete", "", TOOLS + "TopicCommand", "--bootstrap-server", ADDRESS, "--delete", "--topic", TOPIC);
        OUT.flush();
        Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
    }

    private static void topics() {
        String type = TOOLS + "TopicCommand", s = "--bootstrap-server";
        tool("topic_create", "Created topic " + TOPIC, type, s, ADDRESS, "--create", "--topic", TOPIC, "--partitions", 2, "--replication-factor", FACTOR, "--config", "retention.ms=86400000");
        tool("topic_create_if_not_exists", "", type, s, ADDRESS, "--create", "--if-not-exists", "--topic", TOPIC, "--partitions", 2, "--replication-factor", FACTOR);
        tool("topic_list", "^" + TOPIC + "$", type, s, ADDRESS, "--list");
        tool("topic_describe", "PartitionCount: 2.*retention.ms=86400000", type, s, ADDRESS, "--describe", "--topic", TOPIC);
        tool("topic_alter", "", type, s, ADDRESS, "--alter", "--topic", TOPIC, "--partitions", 3);
        tool("topic_describe_altered", "PartitionCount: 3", type, s, ADDRESS, "--describe", "--topic", TOPIC);
        tool("topic_describe_unavailable", "^\\s*$", type, s, ADDRESS, "--describe", "--unavailable-partitions");
    }

    private static void configs() {
        String type = "kafka.admin.ConfigCommand", s = "--bootstrap-server", t = "--entity-type", n = "--entity-name";
        tool("config_topic_alter", "Completed", type, s, ADDRESS, "--alter", t, "topics", n, TOPIC, "--add-config", "max.message.bytes=234567");
        tool("config_topic_describe", "max.message.bytes=234567", type, s, ADDRESS, "--describe", t, "topics", n, TOPIC);
        tool("config_topic_describe_all", "segment.bytes=1073741824", type, s, ADDRESS, "--describe", "--all", t, "topics", n, TOPIC);
        tool("config_topic_delete", "Completed", type, s, ADDRESS, "--alter", t, "topics", n, TOPIC, "--delete-config", "max.message.bytes");
        tool("config_broker_describe_all", "log.retention.hours=168", type, s, ADDRESS, "--describe", "--all", t, "brokers", n, ID);
        tool("config_broker_alter", "Completed", type, s, ADDRESS, "--alter", t, "brokers", n, ID, "--add-config", "log.retention.ms=604800001");
        tool("config_broker_describe", "log.retention.ms=604800001", type, s, ADDRESS, "--describe", t, "brokers", n, ID);
        tool("config_broker_delete", "Completed", type, s, ADDRESS, "--alter", t, "brokers", n, ID, "--delete-config", "log.retention.ms");
        tool("config_default_alter", "Completed", type, s, ADDRESS, "--alter", t, "brokers", "--entity-default", "--add-config", "message.max.bytes=1048589");
        tool("config_default_describe", "message.max.bytes=1048589", type, s, ADDRESS, "--describe", t, "brokers", "--entity-default");
        tool("config_default_delete", "Completed", type, s, ADDRESS, "--alter", t, "brokers", "--entity-default", "--delete-config", "message.max.bytes");
        tool("config_group_alter", "Completed", type, s, ADDRESS, "--alter", t, "groups", n, TOPIC + "-g", "--add-config", "consumer.session.timeout.ms=46000");
        tool("config_group_describe", "consumer.session.timeout.ms=46000", type, s, ADDRESS, "--describe", t, "groups", n, TOPIC + "-g");
        tool("config_group_delete", "Completed", type, s, ADDRESS, "--alter", t, "groups", n, TOPIC + "-g", "--delete-config", "consumer.session.timeout.ms");
    }

    private static void data() throws Exception {
        String s = "--bootstrap-server", t = "--topic";
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 50; i++) lines.append("key").append(i).append(":line ").append(i).append('\n');
        with("console_producer", "", TOOLS + "ConsoleProducer", lines.toString(), s, ADDRESS, t, TOPIC, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:");
        tool("console_consumer", "line 49", TOOLS + "consumer.ConsoleConsumer", s, ADDRESS, t, TOPIC, "--from-beginning", "--max-messages", 50, "--timeout-ms", 20000, "--group", TOPIC + "-g");
        tool("console_consumer_partition", "line", TOOLS + "consumer.ConsoleConsumer", s, ADDRESS, t, TOPIC, "--partition", 0, "--offset", "earliest", "--max-messages", 1, "--timeout-ms", 20000);
        for (String codec : List.of("gzip", "snappy", "lz4", "zstd"))
            with("console_producer_" + codec, "", TOOLS + "ConsoleProducer", "in " + codec + "\n", s, ADDRESS, t, TOPIC, "--compression-codec", codec);
        tool("producer_perf", "5000 records sent", TOOLS + "ProducerPerformance", s, ADDRESS, t, TOPIC, "--num-records", 5000, "--record-size", 200, "--throughput", -1, "--command-property", "acks=all");
        tool("consumer_perf", "MB", TOOLS + "ConsumerPerformance", s, ADDRESS, t, TOPIC, "--num-records", 5000, "--timeout", 30000);
        tool("verifiable_producer", "\"sent\":2000,\"acked\":2000", TOOLS + "VerifiableProducer", s, ADDRESS, t, TOPIC, "--max-messages", 2000, "--throughput", -1, "--acks", -1);
        tool("verifiable_consumer", "shutdown_complete", TOOLS + "VerifiableConsumer", s, ADDRESS, t, TOPIC, "--group-id", TOPIC + "-v", "--group-protocol", "classic", "--reset-policy", "earliest", "--max-messages", 2000);
        tool("end_to_end_latency", "Avg latency", TOOLS + "EndToEndLatency", s, ADDRESS, t, TOPIC + "-e", "--num-records", 200, "--producer-acks", "all", "--record-size", 100);
        tool("get_offsets", TOPIC + ":0:[1-9]", TOOLS + "GetOffsetShell", s, ADDRESS, t, TOPIC);
        tool("get_offsets_earliest", TOPIC + ":0:0", TOOLS + "GetOffsetShell", s, ADDRESS, t, TOPIC, "--time", "earliest");
        tool("get_offsets_max_timestamp", TOPIC + ":0:[0-9]", TOOLS + "GetOffsetShell", s, ADDRESS, t, TOPIC, "--time", "max-timestamp");
        Path file = file("{\"version\":1,\"partitions\":[{\"topic\":\"" + TOPIC + "\",\"partition\":0,\"offset\":5}]}");
        tool("delete_records", "low_watermark: 5", TOOLS + "DeleteRecordsCommand", s, ADDRESS, "--offset-json-file", file);
        tool("get_offsets_after_delete", TOPIC + ":0:5", TOOLS + "GetOffsetShell", s, ADDRESS, t, TOPIC, "--time", "earliest");
    }

    private static void groups() {
        String type = TOOLS + "consumer.group.ConsumerGroupCommand", s = "--bootstrap-server", g = TOPIC + "-g";
        tool("groups_list", g, TOOLS + "GroupsCommand", s, ADDRESS, "--list");
        tool("group_list", "^" + g + "$", type, s, ADDRESS, "--list");
        tool("group_list_state", g + ".*Empty", type, s, ADDRESS, "--list", "--state");
        tool("group_describe", g + "\\s+" + TOPIC, type, s, ADDRESS, "--describe", "--group", g);
        tool("group_describe_state", "Empty", type, s, ADDRESS, "--describe", "--state", "--group", g);
        tool("group_describe_members", "", type, s, ADDRESS, "--describe", "--members", "--group", g);
        tool("group_reset_offsets", TOPIC + "\\s+1\\s+0", type, s, ADDRESS, "--group", g, "--topic", TOPIC + ":1", "--reset-offsets", "--to-earliest", "--execute");
        tool("group_delete_offsets", "[Ss]uccessful", type, s, ADDRESS, "--group", g, "--topic", TOPIC + ":1", "--delete-offsets");
        tool("group_delete", "successful", type, s, ADDRESS, "--delete", "--group", g);
    }

    private static void cluster() throws Exception {
        String s = "--bootstrap-server";
        tool("api_versions", "Produce\\(0\\): .*usable", TOOLS + "BrokerApiVersionsCommand", s, ADDRESS);
        tool("cluster_id", "Cluster ID: ", TOOLS + "ClusterTool", "cluster-id", s, ADDRESS);
        tool("cluster_endpoints", "127.0.0.1|localhost", TOOLS + "ClusterTool", "list-endpoints", s, ADDRESS);
        tool("log_dirs", TOPIC, TOOLS + "LogDirsCommand", s, ADDRESS, "--describe");
        tool("quorum_status", "LeaderId:\\s+" + (IDS.contains(",") ? "[0-9]" : ID), TOOLS + "MetadataQuorumCommand", s, ADDRESS, "describe", "--status");
        tool("quorum_replication", "Leader", TOOLS + "MetadataQuorumCommand", s, ADDRESS, "describe", "--replication");
        tool("features", "metadata.version\\s.*FinalizedVersionLevel: 4.3-IV0", TOOLS + "FeatureCommand", s, ADDRESS, "describe");
        tool("features_own_describe", "millrace.version\\s+SupportedMinVersion: 0\\s+SupportedMaxVersion: 1\\s+FinalizedVersionLevel: 1\\s", TOOLS + "FeatureCommand", s, ADDRESS, "describe");
        tool("features_own_upgrade", "millrace.version was upgraded to 1", TOOLS + "FeatureCommand", s, ADDRESS, "upgrade", "--feature", "millrace.version=1");
        tool("leader_election", "", TOOLS + "LeaderElectionCommand", s, ADDRESS, "--election-type", "preferred", "--all-topic-partitions");
        tool("transactions_producers", "ProducerId", TOOLS + "TransactionsCommand", s, ADDRESS, "describe-producers", "--topic", TOPIC, "--partition", 0);
        Path topics = file("{\"version\":1,\"topics\":[{\"topic\":\"" + TOPIC + "\"}]}");
        tool("reassign_generate", "Proposed partition reassignment", TOOLS + "reassign.ReassignPartitionsCommand", s, ADDRESS, "--generate", "--topics-to-move-json-file", topics, "--broker-list", IDS);
        Path move = file("{\"version\":1,\"partitions\":[{\"topic\":\"" + TOPIC + "\",\"partition\":0,\"replicas\":[" + IDS + "]}]}");
        tool("reassign_execute", "Successfully started", TOOLS + "reassign.ReassignPartitionsCommand", s, ADDRESS, "--execute", "--reassignment-json-file", move);
        tool("reassign_verify", "is completed", TOOLS + "reassign.ReassignPartitionsCommand", s, ADDRESS, "--verify", "--reassignment-json-file", move);
        tool("reassign_list", "No partition reassignments", TOOLS + "reassign.ReassignPartitionsCommand", s, ADDRESS, "--list");
    }

    /** What makes sense with three brokers only. */
    private static void severalBrokers() throws Exception {
        String s = "--bootstrap-server", topic = TOPIC + "-m", reassign = TOOLS + "reassign.ReassignPartitionsCommand", topics = TOOLS + "TopicCommand";
        String a = IDS.split(",")[0], b = IDS.split(",")[1], c = IDS.split(",")[2];
        tool("topic_describe_in_sync", "Partition: 0\\s+Leader: \\d+\\s+Replicas: \\d+,\\d+,\\d+\\s+Isr: \\d+,\\d+,\\d+", topics, s, ADDRESS, "--describe", "--topic", TOPIC);
        tool("topic_create_assigned", "Created topic", topics, s, ADDRESS, "--create", "--topic", topic, "--replica-assignment", a + ":" + b + "," + b + ":" + c);
        tool("topic_alter_assigned", "", topics, s, ADDRESS, "--alter", "--topic", topic, "--partitions", 3, "--replica-assignment", a + ":" + b + "," + b + ":" + c + "," + c + ":" + a);
        tool("topic_describe_assigned", "Partition: 2\\s+Leader: " + c + "\\s+Replicas: " + c + "," + a + "\\s", topics, s, ADDRESS, "--describe", "--topic", topic);
        with("console_producer_assigned", "", TOOLS + "ConsoleProducer", "x\n".repeat(1000), s, ADDRESS, "--topic", topic, "--command-property", "acks=all");
        Path move = file("{\"version\":1,\"partitions\":[{\"topic\":\"" + topic + "\",\"partition\":0,\"replicas\":[" + c + "," + b + "]},{\"topic\":\"" + topic + "\",\"partition\":1,\"replicas\":[" + a + "]}]}");
        tool("reassign_throttled", "Successfully started", reassign, s, ADDRESS, "--execute", "--throttle", 10000000, "--reassignment-json-file", move);
        tool("reassign_describe_moved", "Partition: 0\\s+Leader: \\d+\\s+Replicas: " + c + "," + b + "\\s", topics, s, ADDRESS, "--describe", "--topic", topic);
        tool("reassign_describe_fewer", "Partition: 1\\s+Leader: " + a + "\\s+Replicas: " + a + "\\s+Isr: " + a + "\\s", topics, s, ADDRESS, "--describe", "--topic", topic);
        tool("reassign_throttled_verify_list", "Clearing broker-level throttles", reassign, s, ADDRESS, "--verify", "--reassignment-json-file", move);
        tool("leader_election_one", "", TOOLS + "LeaderElectionCommand", s, ADDRESS, "--election-type", "preferred", "--topic", topic, "--partition", 0);
        tool("leader_election_describe", "Partition: 0\\s+Leader: " + c + "\\s", topics, s, ADDRESS, "--describe", "--topic", topic);
        tool("leader_election_unclean", "Valid replica already elected", TOOLS + "LeaderElectionCommand", s, ADDRESS, "--election-type", "unclean", "--topic", topic, "--partition", 0);
        tool("quorum_voters", "CurrentVoters:.*\"id\": " + a + ",.*\"id\": " + b + ",.*\"id\": " + c + ",", TOOLS + "MetadataQuorumCommand", s, ADDRESS, "describe", "--status");
        tool("cluster_endpoints_fenced", "unfenced", TOOLS + "ClusterTool", "list-endpoints", s, ADDRESS, "--include-fenced-brokers");
        tool("features_downgrade", "was downgraded to 0", TOOLS + "FeatureCommand", s, ADDRESS, "downgrade", "--feature", "eligible.leader.replicas.version=0");
        tool("features_upgrade", "was upgraded to 1", TOOLS + "FeatureCommand", s, ADDRESS, "upgrade", "--feature", "eligible.leader.replicas.version=1");
        tool("topic_delete_assigned", "", topics, s, ADDRESS, "--delete", "--topic", topic);
    }
}
