package conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.LongNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/**
 * Odd variants of a typical request: each changes one place of the tree to null, empty, unknown, out of range,
 * of a wrong form or doubled. A variant that a version cannot express is left out by whoever encodes it.
 */
final class Mutations {
    private Mutations() { }

    /** One change: where, what, and how. */
    record Mutation(String path, String what, UnaryOperator<JsonNode> change) {
        String name() { return path + "=" + what; }

        JsonNode apply(JsonNode root) {
            JsonNode copy = root.deepCopy();
            String[] steps = path.split("/");
            JsonNode at = copy;
            for (int i = 0; i < steps.length - 1; i++) at = step(at, steps[i]);
            if (at == null || at.isMissingNode()) return null;
            String last = steps[steps.length - 1];
            if (at instanceof ObjectNode o && o.has(last)) o.set(last, change.apply(o.get(last)));
            else if (at instanceof ArrayNode a && Integer.parseInt(last) < a.size()) a.set(Integer.parseInt(last), change.apply(a.get(Integer.parseInt(last))));
            else return null;
            return copy;
        }

        private static JsonNode step(JsonNode at, String step) {
            return at instanceof ArrayNode a ? a.path(Integer.parseInt(step)) : at.path(step);
        }
    }

    /** All changes of a tree. Only the first element of each array is changed. */
    static List<Mutation> of(JsonNode root) {
        List<Mutation> out = new ArrayList<>();
        walk("", root, out);
        return out;
    }

    private static void walk(String path, JsonNode node, List<Mutation> out) {
        if (node instanceof ObjectNode o) {
            for (Iterator<Map.Entry<String, JsonNode>> it = o.fields(); it.hasNext(); ) {
                Map.Entry<String, JsonNode> e = it.next();
                walk(path.isEmpty() ? e.getKey() : path + "/" + e.getKey(), e.getValue(), out);
            }
        } else if (node instanceof ArrayNode a) {
            put(out, path, "null", n -> NullNode.instance);
            put(out, path, "empty", n -> ((ArrayNode) n.deepCopy()).removeAll());
            if (!a.isEmpty()) {
                put(out, path, "doubled", n -> { ArrayNode c = n.deepCopy(); c.add(c.get(0).deepCopy()); return c; });
                walk(path + "/0", a.get(0), out);
            }
        } else if (node.isTextual()) {
            put(out, path, "null", n -> NullNode.instance);
            if (isUuid(node.asText())) {
                put(out, path, "unknown-id", n -> TextNode.valueOf("AAAAAAAAAAAAAAAAAAAAEQ"));
                put(out, path, "zero-id", n -> TextNode.valueOf("AAAAAAAAAAAAAAAAAAAAAA"));
            } else {
                put(out, path, "empty", n -> TextNode.valueOf(""));
                put(out, path, "unknown", n -> TextNode.valueOf("no-such-thing"));
                put(out, path, "odd", n -> TextNode.valueOf("a b/ü\u0000"));
                put(out, path, "long", n -> TextNode.valueOf("x".repeat(300)));
            }
        } else if (node.isBoolean()) {
            put(out, path, "flipped", n -> com.fasterxml.jackson.databind.node.BooleanNode.valueOf(!n.asBoolean()));
        } else if (node.isNumber()) {
            for (long v : new long[] {-1, 0, -5, 99, Byte.MAX_VALUE, Short.MAX_VALUE, Integer.MAX_VALUE, Long.MAX_VALUE, Long.MIN_VALUE})
                if (v != node.asLong()) put(out, path, Long.toString(v), n -> v == (int) v ? IntNode.valueOf((int) v) : LongNode.valueOf(v));
        } else if (node.isNull()) {
            put(out, path, "empty", n -> TextNode.valueOf(""));
            put(out, path, "unknown", n -> TextNode.valueOf("no-such-thing"));
        }
    }

    private static boolean isUuid(String s) {
        return s.length() == 22 && s.matches("[A-Za-z0-9_-]+");
    }

    private static void put(List<Mutation> out, String path, String what, UnaryOperator<JsonNode> change) {
        out.add(new Mutation(path, what, change));
    }
}
