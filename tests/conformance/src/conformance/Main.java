package conformance;

import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Pattern;
import org.apache.kafka.common.message.ApiVersionsRequestData;
import org.apache.kafka.common.message.ApiVersionsResponseData;
import org.apache.kafka.common.protocol.ApiKeys;

/**
 * Sends the same requests to the broker under test and to Apache Kafka, and compares the answers.
 *
 *     java conformance.Main SUBJECT_PORT REFERENCE_PORT APIS_FILE DIFFERENCES_FILE [NAME_REGEX]
 *
 * Prints `name TAB pass|fail TAB detail` for each case and `N passed, M failed`; exit status 1 if one failed.
 */
public final class Main {
    /** A served API and the versions that are tried. */
    record Served(ApiKeys api, short min, short max) { }

    /** APIs that are tried at the same time; most of a case is waiting for a commit. */
    private static final int LANES = 4;

    private Main() { }

    public static void main(String[] args) throws Exception {
        long now = System.currentTimeMillis();
        World subject = new World("subject", new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), now);
        World reference = new World("reference", new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])), now);
        Differences differences = new Differences(Path.of(args[3]));
        Pattern only = Pattern.compile(args.length > 4 ? args[4] : "");
        List<Served> served = served(Path.of(args[2]));
        subject.setUp();
        reference.setUp();
        Tally tally = new Tally();
        tally.take(listed(subject, served));
        ExecutorService lanes = Executors.newFixedThreadPool(LANES), senders = Executors.newFixedThreadPool(LANES);
        List<Future<List<Runner.Line>>> running = new ArrayList<>();
        for (Served s : served) running.add(lanes.submit(() -> new Runner(s, subject, reference, differences, only, senders).run()));
        for (Future<List<Runner.Line>> f : running) f.get().forEach(tally::take);
        if (args.length <= 4)
            for (String row : differences.unused()) tally.take(new Runner.Line("differences", "this row is not needed: " + row));
        System.out.println(tally.passed + " passed, " + tally.failed + " failed");
        System.out.flush();
        System.exit(tally.failed == 0 ? 0 : 1);
    }

    private static final class Tally {
        int passed, failed;

        void take(Runner.Line line) {
            if (line.failure() == null) passed++; else failed++;
            System.out.println(line);
        }
    }

    private static List<Served> served(Path file) throws Exception {
        List<Served> out = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            if (line.startsWith("#") || line.isBlank()) continue;
            String[] c = line.split("\t");
            ApiKeys api = ApiKeys.forId(Integer.parseInt(c[0]));
            if (!api.name().equals(c[1])) throw new IllegalStateException(line);
            out.add(new Served(api, Short.parseShort(c[2]), Short.parseShort(c[3])));
        }
        return out;
    }

    /** ApiVersions must list exactly the served APIs; of the peer, which serves more, only that it covers them. */
    private static Runner.Line listed(World subject, List<Served> served) throws Exception {
        boolean exact = System.getenv("PEER") == null;
        ApiVersionsResponseData r = subject.call(ApiKeys.API_VERSIONS, 4, new ApiVersionsRequestData().setClientSoftwareName("conformance").setClientSoftwareVersion("1"));
        List<String> wrong = new ArrayList<>();
        Map<Short, ApiVersionsResponseData.ApiVersion> got = new TreeMap<>();
        r.apiKeys().forEach(a -> got.put(a.apiKey(), a));
        for (Served s : served) {
            ApiVersionsResponseData.ApiVersion a = got.remove(s.api().id);
            // Produce is listed from 0, although 0 to 2 are gone: librdkafka takes its support of compression from there.
            int min = s.api() == ApiKeys.PRODUCE ? 0 : s.min();
            if (a == null) wrong.add(s.api() + " is not listed");
            else if (exact ? a.minVersion() != min || a.maxVersion() != s.max() : a.minVersion() > min || a.maxVersion() < s.max())
                wrong.add(s.api() + " is listed as " + a.minVersion() + "-" + a.maxVersion() + " instead of " + min + "-" + s.max());
        }
        if (exact) for (ApiVersionsResponseData.ApiVersion a : got.values()) wrong.add("key " + a.apiKey() + " is listed and not expected");
        return new Runner.Line("API_VERSIONS.listed", wrong.isEmpty() ? null : String.join("; ", wrong));
    }
}
