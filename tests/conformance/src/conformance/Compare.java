package conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * Compares two answers. Error codes, nullness, the elements of arrays and all values that do not depend on the
 * machine or on chance must agree. A finding is `kind path: subject / reference`.
 */
final class Compare {
    /** Values that differ from broker to broker or from run to run; only their nullness is compared. */
    private static final Set<String> FREE = Set.of(
        "throttleTimeMs", "host", "port", "errorMessage",
        "brokerEpoch", "logDir", "totalBytes", "usableBytes", "partitionSize", "documentation", "finalizedFeaturesEpoch",
        "lastFetchTimestamp", "lastCaughtUpTimestamp", "logEndOffset", "replicaDirectoryId", "lastTimestamp",
        "batchIndexErrorMessage", "clientHost");
    /** Fields that name an element of an array. */
    private static final List<String> NAMES = List.of(
        "apiKey", "name", "topicName", "topic", "topicId", "resourceType", "resourceName", "groupId", "key", "partitionIndex",
        "partition", "partitionId", "index", "configName", "nodeId", "brokerId", "feature", "source", "protocolType");

    private Compare() { }

    static List<String> differences(JsonNode subject, JsonNode reference) {
        List<String> out = new ArrayList<>();
        walk("", "", subject, reference, out);
        return out;
    }

    private static void walk(String path, String field, JsonNode s, JsonNode r, List<String> out) {
        if (s.isNull() || r.isNull() || s.isMissingNode() || r.isMissingNode()) {
            if (s.isNull() != r.isNull() || s.isMissingNode() != r.isMissingNode())
                out.add("null " + path + ": " + brief(s) + " / " + brief(r));
        } else if (s instanceof ObjectNode && r instanceof ObjectNode) {
            Set<String> fields = new TreeSet<>();
            s.fieldNames().forEachRemaining(fields::add);
            r.fieldNames().forEachRemaining(fields::add);
            for (String f : fields) walk(path.isEmpty() ? f : path + "/" + f, f, s.path(f), r.path(f), out);
        } else if (s instanceof ArrayNode a && r instanceof ArrayNode b) {
            arrays(path, a, b, out);
        } else if (field.toLowerCase().endsWith("errorcode")) {
            if (s.asInt() != r.asInt()) out.add("error " + path + ": " + code(s.asInt()) + " / " + code(r.asInt()));
        } else if (!FREE.contains(field) && !s.equals(r)) {
            out.add("value " + path + ": " + brief(s) + " / " + brief(r));
        }
    }

    private static void arrays(String path, ArrayNode s, ArrayNode r, List<String> out) {
        List<JsonNode> left = sorted(s), right = sorted(r);
        int i = 0, j = 0;
        while (i < left.size() || j < right.size()) {
            String a = i < left.size() ? name(left.get(i)) : null, b = j < right.size() ? name(right.get(j)) : null;
            int order = a == null ? 1 : b == null ? -1 : a.compareTo(b);
            if (order == 0) {
                JsonNode x = left.get(i++), y = right.get(j++);
                walk(path + "[" + a + "]", path.substring(path.lastIndexOf('/') + 1), x, y, out);
            } else if (order < 0) {
                out.add("extra " + path + "[" + a + "]: " + brief(left.get(i++)) + " / -");
            } else {
                out.add("missing " + path + "[" + b + "]: - / " + brief(right.get(j++)));
            }
        }
    }

    private static List<JsonNode> sorted(ArrayNode array) {
        List<JsonNode> list = new ArrayList<>();
        array.forEach(list::add);
        // Arrays of plain numbers, like replicas, keep their order; it has a meaning.
        if (list.stream().allMatch(JsonNode::isObject)) list.sort(Comparator.comparing(Compare::name));
        return list;
    }

    private static String name(JsonNode node) {
        if (!node.isObject()) return "";
        StringBuilder out = new StringBuilder();
        for (String f : NAMES) {
            JsonNode v = node.path(f);
            if (v.isTextual() && !v.asText().isEmpty() || v.isNumber()) out.append(out.isEmpty() ? "" : ",").append(v.isNumber() ? String.format("%d", v.asLong()) : v.asText());
        }
        return out.toString();
    }

    private static String code(int code) {
        return org.apache.kafka.common.protocol.Errors.forCode((short) code).name() + "(" + code + ")";
    }

    private static String brief(JsonNode node) {
        String text = node.toString();
        return text.length() > 120 ? text.substring(0, 120) + "…" : text;
    }

    /** Removes what other cases left behind: entries whose name starts with a case prefix other than `own`. */
    static void keepOwn(JsonNode node, String own) {
        if (node instanceof ArrayNode a) {
            for (Iterator<JsonNode> it = a.iterator(); it.hasNext(); ) if (foreign(it.next(), own)) it.remove();
        }
        // Where a page over all topics ends depends on the other cases.
        if (node instanceof ObjectNode o && o.path("nextCursor") instanceof ObjectNode next && foreign(next, own)) next.put("topicName", "*").put("partitionIndex", 0);
        node.forEach(child -> keepOwn(child, own));
    }

    private static boolean foreign(JsonNode node, String own) {
        for (String f : List.of("name", "topicName", "topic", "groupId", "topicId", "resourceName")) {
            String v = node.path(f).asText("");
            if (v.startsWith("id:")) v = v.substring(3);
            if (v.startsWith("__") || v.startsWith("c.") && !v.startsWith(own)) return true;
        }
        return false;
    }
}
