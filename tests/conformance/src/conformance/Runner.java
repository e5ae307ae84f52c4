package conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.regex.Pattern;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;

/** Runs all cases of one API, one after the other, on both brokers. */
final class Runner {
    /** One finished case; `failure` is null when it passed. */
    record Line(String name, String failure) {
        @Override public String toString() {
            return name + "\t" + (failure == null ? "pass\t" : "fail\t" + failure.replaceAll("[\t\n\r]+", " "));
        }
    }

    interface Change { ApiMessage apply(ApiMessage m); }

    interface Bytes { byte[] apply(byte[] frame); }

    /** How a case departs from its template's request. */
    record Twist(Change change, Bytes bytes, Wire.Header header) {
        static final Twist NONE = new Twist(m -> m, f -> f, Wire.Header.PLAIN);
    }

    /** Topics made in one request. */
    private static final int POOL = 40;
    private static final int LOOKS = 20;
    private static final int LOOK_PAUSE_MS = 50;
    private final Main.Served served;
    private final World subject, reference;
    private final Differences differences;
    private final Pattern only;
    private final ExecutorService pool;
    private final List<Line> lines = new ArrayList<>();
    private int sequence, topics;

    Runner(Main.Served served, World subject, World reference, Differences differences, Pattern only, ExecutorService pool) {
        this.served = served;
        this.subject = subject;
        this.reference = reference;
        this.differences = differences;
        this.only = only;
        this.pool = pool;
    }

    List<Line> run() {
        for (short v = served.min(); v <= served.max(); v++) {
            shapes(v);
            for (Template t : Templates.of(served.api()))
                if (v >= t.from() && v <= t.to()) template(t, v);
        }
        return lines;
    }

    /** An empty election would be one of all partitions; broker 0 and voter 0 are those that are asked. */
    private static final Set<ApiKeys> BROAD_WHEN_EMPTY =
        EnumSet.of(ApiKeys.ELECT_LEADERS, ApiKeys.UNREGISTER_BROKER, ApiKeys.ADD_RAFT_VOTER, ApiKeys.REMOVE_RAFT_VOTER);

    /** Forms of a request that are the same for all APIs. */
    private void shapes(short v) {
        ApiKeys api = served.api();
        short version = v;
        Template t = Templates.of(api).stream().filter(x -> version >= x.from() && version <= x.to()).findFirst().orElseThrow();
        String base = api + ".v" + v + ".";
        if (api.messageType.requestHeaderVersion(v) >= 2)
            compare(base + "unknown-tags", t, v, new Twist(m -> { Messages.addUnknownTags(m); return m; }, f -> f, new Wire.Header("conformance", List.of(Messages.unknownTag()))));
        compare(base + "null-client-id", t, v, new Twist(m -> m, f -> f, new Wire.Header(null, List.of())));
        compare(base + "cut-short", t, v, new Twist(m -> m, f -> resized(f, -1), Wire.Header.PLAIN));
        compare(base + "trailing-byte", t, v, new Twist(m -> m, f -> resized(f, 1), Wire.Header.PLAIN));
        if (!BROAD_WHEN_EMPTY.contains(api))
            compare(base + "minimal", Template.of(api, "minimal", (w, o, ver, p) -> api.messageType.newRequest()), v, Twist.NONE);
    }

    private static byte[] resized(byte[] frame, int by) {
        byte[] out = Arrays.copyOf(frame, frame.length + by);
        ByteBuffer.wrap(out).putInt(out.length - 4);
        return out;
    }

    private void template(Template t, short v) {
        String base = t.api() + ".v" + v + "." + t.name();
        compare(base, t, v, Twist.NONE);
        if (!t.mutate()) return;
        List<Mutations.Mutation> mutations;
        try {
            String own = own(t);
            // Both brokers are prepared, so that they stay alike.
            t.prepare().run(subject, own);
            Object prepared = t.prepare().run(reference, own);
            mutations = Mutations.of(Messages.toJson(Messages.fit(t.build().make(reference, own, v, prepared), v), v));
        } catch (Exception e) {
            lines.add(new Line(base + ".variants", "set-up: " + e));
            return;
        }
        for (Mutations.Mutation m : mutations)
            if (!t.skip().matcher(m.name()).find())
                compare(base + "." + m.name(), t, v, new Twist(message -> mutated(message, m, v), f -> f, Wire.Header.PLAIN));
    }

    /** The changed request, or null where this version cannot express it. */
    private static ApiMessage mutated(ApiMessage message, Mutations.Mutation m, short v) {
        JsonNode changed = m.apply(Messages.toJson(message, v));
        if (changed == null) return null;
        try {
            return Messages.fromJson(message.getClass(), changed, v);
        } catch (IllegalArgumentException e) {
            return null;
        }
    }

    /** A prefix for the names of one case; where the template wants a topic, it exists on both brokers. */
    private String own(Template t) throws Exception {
        String lane = "c." + World.RUN + served.api().id;
        if (!t.ownTopic()) return lane + "." + (++sequence) + ".";
        if (topics % POOL == 0) {
            List<String> names = new ArrayList<>();
            for (int i = 0; i < POOL; i++) names.add(lane + ".p" + (topics + i) + ".t");
            Future<?> s = pool.submit(() -> { subject.topics(names); return null; });
            reference.topics(names);
            s.get();
        }
        return lane + ".p" + (topics++) + ".";
    }

    private void compare(String name, Template t, short v, Twist twist) {
        if (!only.matcher(name).find()) return;
        try {
            String own = own(t);
            Future<JsonNode> s = pool.submit(() -> send(subject, own, t, v, twist));
            JsonNode right = send(reference, own, t, v, twist), left = s.get();
            if (right.path("kind").asText().equals("unspeakable")) return;
            List<String> found = new ArrayList<>();
            for (String d : Compare.differences(left, right)) if (!differences.accepts(name, d)) found.add(d);
            String after = t.after() == null ? null : after(t, own);
            if (after != null && !differences.accepts(name, after)) found.add(after);
            lines.add(new Line(name, found.isEmpty() ? null : String.join(" | ", found)));
        } catch (ExecutionException e) {
            lines.add(new Line(name, String.valueOf(e.getCause())));
        } catch (Exception e) {
            lines.add(new Line(name, String.valueOf(e)));
        }
    }

    /** What both brokers hold afterwards; a broker may show a change a moment after its answer. */
    private String after(Template t, String own) throws Exception {
        String s = "", r = "";
        for (int i = 0; i < LOOKS; i++) {
            s = t.after().look(subject, own);
            r = t.after().look(reference, own);
            if (s.equals(r)) return null;
            Thread.sleep(LOOK_PAUSE_MS);
        }
        return "after: " + s + " / " + r;
    }

    private static JsonNode send(World world, String own, Template t, short v, Twist twist) throws Exception {
        ObjectNode out = JsonNodeFactory.instance.objectNode();
        Object prepared = t.prepare().run(world, own);
        ApiMessage request = twist.change().apply(Messages.fit(t.build().make(world, own, v, prepared), v));
        if (request == null) return out.put("kind", "unspeakable");
        try (Wire wire = world.open()) {
            byte[] frame;
            try {
                frame = wire.frame(t.api(), v, request, twist.header());
            } catch (RuntimeException e) {
                return out.put("kind", "unspeakable");
            }
            wire.send(twist.bytes().apply(frame));
            Wire.Outcome o = wire.receive(t.api(), v);
            out.put("kind", o.kind());
            if (!o.detail().isEmpty()) out.put("detail", o.detail());
            if (o.kind().equals("answer")) out.set("answer", tidy(t.api(), world.normal(o.answer(), v), own));
        }
        return out;
    }

    private static JsonNode tidy(ApiKeys api, JsonNode answer, String own) {
        // What is listed is judged by `API_VERSIONS.listed`.
        if (api == ApiKeys.API_VERSIONS)
            for (String f : List.of("apiKeys", "supportedFeatures", "finalizedFeatures")) if (answer.path(f) instanceof ArrayNode a) a.removeAll();
        Compare.keepOwn(answer, own);
        return answer;
    }
}
