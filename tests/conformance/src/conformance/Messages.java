package conformance;

import com.fasterxml.jackson.databind.JsonNode;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Modifier;
import java.nio.ByteBuffer;
import java.util.Collection;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.RawTaggedField;

/** Kafka's generated messages seen as trees. */
final class Messages {
    private Messages() { }

    static JsonNode toJson(ApiMessage message, short version) {
        return (JsonNode) convert(message.getClass(), "write", new Class<?>[] {message.getClass(), short.class}, message, version);
    }

    /** The message for a tree; throws IllegalArgumentException when this version cannot hold it. */
    static ApiMessage fromJson(Class<?> type, JsonNode node, short version) {
        return (ApiMessage) convert(type, "read", new Class<?>[] {JsonNode.class, short.class}, node, version);
    }

    private static Object convert(Class<?> type, String method, Class<?>[] types, Object... args) {
        try {
            return Class.forName(type.getName() + "JsonConverter").getMethod(method, types).invoke(null, args);
        } catch (InvocationTargetException e) {
            throw new IllegalArgumentException(e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static final Pattern NON_DEFAULT = Pattern.compile("non-default (\\w+) at version");

    /** Puts fields that this version does not have back to their defaults, so that one builder serves all versions. */
    static ApiMessage fit(ApiMessage message, short version) {
        for (int i = 0; i < 50; i++) {
            try {
                ObjectSerializationCache cache = new ObjectSerializationCache();
                ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
                message.write(new ByteBufferAccessor(buffer), cache, version);
                return message;
            } catch (UnsupportedVersionException e) {
                Matcher m = NON_DEFAULT.matcher(e.getMessage());
                if (!m.find()) throw e;
                reset(message, m.group(1));
            }
        }
        throw new IllegalStateException("does not fit " + message);
    }

    private static void reset(Message message, String field) {
        try {
            for (Field f : message.getClass().getDeclaredFields()) {
                if (Modifier.isStatic(f.getModifiers())) continue;
                f.setAccessible(true);
                if (f.getName().equals(field)) {
                    Message fresh = message.getClass().getDeclaredConstructor().newInstance();
                    f.set(message, f.get(fresh));
                } else {
                    for (Message child : children(f.get(message))) reset(child, field);
                }
            }
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static List<Message> children(Object value) {
        if (value instanceof Message m) return List.of(m);
        if (value instanceof Collection<?> c)
            return c.stream().filter(Message.class::isInstance).map(Message.class::cast).toList();
        return List.of();
    }

    /** Adds an unknown tagged field to the message and to every struct in it. */
    static void addUnknownTags(Message message) {
        message.unknownTaggedFields().add(unknownTag());
        try {
            for (Field f : message.getClass().getDeclaredFields()) {
                if (Modifier.isStatic(f.getModifiers())) continue;
                f.setAccessible(true);
                for (Message child : children(f.get(message))) addUnknownTags(child);
            }
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    static RawTaggedField unknownTag() {
        return new RawTaggedField(9_999, new byte[] {1, 2, 3});
    }
}
