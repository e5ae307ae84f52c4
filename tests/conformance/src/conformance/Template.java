package conformance;

import java.io.IOException;
import java.util.regex.Pattern;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;

/**
 * A kind of request of one API: how to prepare a broker for it, how it is built, and which odd variants of it are
 * left out. `own` is a prefix that belongs to one case alone; topics and groups of the case start with it.
 */
record Template(ApiKeys api, String name, int from, int to, Prepare prepare, Build build, Pattern skip, boolean mutate, After after, boolean ownTopic) {
    interface Prepare { Object run(World world, String own) throws Exception; }

    interface Build { ApiMessage make(World world, String own, short version, Object prepared) throws Exception; }

    /** What is looked at after the answer; the text must be the same on both brokers. */
    interface After { String look(World world, String own) throws IOException; }

    static final Pattern NOTHING = Pattern.compile("(?!)");

    static Template of(ApiKeys api, String name, Build build) {
        return new Template(api, name, 0, Short.MAX_VALUE, (w, own) -> null, build, NOTHING, true, null, false);
    }

    Template prepare(Prepare p) { return new Template(api, name, from, to, p, build, skip, mutate, after, ownTopic); }

    /** Odd variants whose name (`path=what`) matches are not sent. */
    Template skip(String regex) { return new Template(api, name, from, to, prepare, build, Pattern.compile(regex), mutate, after, ownTopic); }

    /** Only the request itself, no odd variants. */
    Template once() { return new Template(api, name, from, to, prepare, build, skip, false, after, ownTopic); }

    /** The topic `own + "t"` with one partition is there before the case. */
    Template withTopic() { return new Template(api, name, from, to, prepare, build, skip, mutate, after, true); }

    Template versions(int low, int high) { return new Template(api, name, low, high, prepare, build, skip, mutate, after, ownTopic); }

    Template from(int low) { return versions(low, Short.MAX_VALUE); }

    Template upTo(int high) { return versions(0, high); }

    Template after(After a) { return new Template(api, name, from, to, prepare, build, skip, mutate, a, ownTopic); }
}
