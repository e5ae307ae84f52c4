package conformance;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.util.List;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.RawTaggedField;

/** One raw connection to a broker. Requests are whole frames; answers are parsed to their last byte. */
final class Wire implements AutoCloseable {
    /** What came back: an answer, a closed connection, or nothing in time. */
    record Outcome(String kind, ApiMessage answer, String detail) {
        static Outcome of(String kind) { return new Outcome(kind, null, ""); }
    }

    private static final int CONNECT_MS = 5_000;
    private static final int MAX_ANSWER = 64 << 20;
    private final Socket socket;
    private final DataInputStream in;
    private int nextId = 1;

    Wire(InetSocketAddress address, int answerMs) throws IOException {
        socket = new Socket();
        socket.setTcpNoDelay(true);
        socket.connect(address, CONNECT_MS);
        socket.setSoTimeout(answerMs);
        in = new DataInputStream(socket.getInputStream());
    }

    /** How the header of a request is built. */
    record Header(String clientId, List<RawTaggedField> tags) {
        static final Header PLAIN = new Header("conformance", List.of());
    }

    byte[] frame(ApiKeys api, short version, ApiMessage body, Header header) {
        RequestHeaderData head = new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version)
            .setClientId(header.clientId()).setCorrelationId(nextId++);
        head.unknownTaggedFields().addAll(header.tags());
        short headVersion = api.requestHeaderVersion(version);
        ObjectSerializationCache headCache = new ObjectSerializationCache(), bodyCache = new ObjectSerializationCache();
        int size = head.size(headCache, headVersion) + body.size(bodyCache, version);
        ByteBuffer buffer = ByteBuffer.allocate(4 + size);
        buffer.putInt(size);
        ByteBufferAccessor out = new ByteBufferAccessor(buffer);
        head.write(out, headCache, headVersion);
        body.write(out, bodyCache, version);
        return buffer.array();
    }

    void send(byte[] bytes) throws IOException {
        socket.getOutputStream().write(bytes);
        socket.getOutputStream().flush();
    }

    /** Reads one answer to the last request sent with {@link #frame}. */
    Outcome receive(ApiKeys api, short version) throws IOException {
        byte[] answer;
        try {
            int size = in.readInt();
            if (size < 4 || size > MAX_ANSWER) return new Outcome("broken", null, "answer of " + size + " bytes");
            answer = in.readNBytes(size);
            if (answer.length < size) return new Outcome("broken", null, "answer cut short");
        } catch (SocketTimeoutException e) {
            return Outcome.of("silent");
        } catch (EOFException | SocketException e) {
            return Outcome.of("closed");
        }
        return parse(api, version, ByteBuffer.wrap(answer));
    }

    private Outcome parse(ApiKeys api, short version, ByteBuffer buffer) {
        try {
            ByteBufferAccessor readable = new ByteBufferAccessor(buffer);
            ResponseHeaderData head = new ResponseHeaderData(readable, api.responseHeaderVersion(version));
            if (head.correlationId() != nextId - 1)
                return new Outcome("broken", null, "correlation id " + head.correlationId() + " instead of " + (nextId - 1));
            ApiMessage body = ApiMessageType.fromApiKey(api.id).newResponse();
            body.read(readable, version);
            if (buffer.hasRemaining())
                return new Outcome("broken", body, buffer.remaining() + " bytes left after the answer");
            return new Outcome("answer", body, "");
        } catch (RuntimeException e) {
            return new Outcome("broken", null, "answer does not parse: " + e);
        }
    }

    Outcome call(ApiKeys api, short version, ApiMessage body) throws IOException {
        send(frame(api, version, body, Header.PLAIN));
        return receive(api, version);
    }

    @Override public void close() throws IOException { socket.close(); }
}
