package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;

/** Requests of members of classic groups. */
final class MemberCases {
    private MemberCases() { }

    static List<Template> of(ApiKeys api) {
        Template.Prepare stable = (w, own) -> w.stable(own + "g");
        Template.Prepare joined = (w, own) -> w.join(own + "g");
        return switch (api) {
            case JOIN_GROUP -> join();
            case SYNC_GROUP -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> sync(own, (String) p)).prepare(joined).skip("assignments"),
                Template.of(api, "again", (w, own, v, p) -> sync(own, (String) p)).prepare(stable).once(),
                Template.of(api, "stranger", (w, own, v, p) -> sync(own, "nobody")).prepare(stable).once(),
                Template.of(api, "old-generation", (w, own, v, p) -> sync(own, (String) p).setGenerationId(0)).prepare(stable).once(),
                Template.of(api, "other-protocol", (w, own, v, p) -> sync(own, (String) p).setProtocolName("sticky")).prepare(joined).once().from(5),
                Template.of(api, "unknown-group", (w, own, v, p) -> sync(own, "nobody")).once());
            case HEARTBEAT -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> beat(own, (String) p)).prepare(stable),
                Template.of(api, "before-sync", (w, own, v, p) -> beat(own, (String) p)).prepare(joined).once(),
                Template.of(api, "unknown-group", (w, own, v, p) -> beat(own, "nobody")).once(),
                Template.of(api, "empty-group", (w, own, v, p) -> beat(own, "nobody")).prepare((w, own) -> { w.commit(own + "g", World.BASE, 0, 1); return null; }).once());
            case LEAVE_GROUP -> List.of(
                Template.of(api, "typical", (w, own, v, p) -> leave(own, v, (String) p)).prepare(stable),
                Template.of(api, "stranger", (w, own, v, p) -> leave(own, v, "nobody")).prepare(stable).once(),
                Template.of(api, "unknown-group", (w, own, v, p) -> leave(own, v, "nobody")).once(),
                Template.of(api, "unknown-instance", (w, own, v, p) -> new LeaveGroupRequestData().setGroupId(own + "g").setMembers(new ArrayList<>(List.of(
                    new LeaveGroupRequestData.MemberIdentity().setMemberId("").setGroupInstanceId("x"))))).prepare(stable).once().from(3));
            default -> throw new IllegalArgumentException(api.name());
        };
    }

    private static List<Template> join() {
        ApiKeys api = ApiKeys.JOIN_GROUP;
        Template.Prepare coordinator = (w, own) -> { w.coordinator(own + "g"); return null; };
        return List.of(
            Template.of(api, "typical", (w, own, v, p) -> World.joinRequest(own + "g", "", null)).prepare(coordinator),
            Template.of(api, "second-step", (w, own, v, p) -> {
                JoinGroupResponseData first = w.call(ApiKeys.JOIN_GROUP, v, Messages.fit(World.joinRequest(own + "g", "", null), v));
                return World.joinRequest(own + "g", first.memberId(), null);
            }).prepare(coordinator).from(4).skip("memberId|groupId"),
            Template.of(api, "static", (w, own, v, p) -> World.joinRequest(own + "g", "", "instance-1")).prepare(coordinator).from(5).skip("groupInstanceId=null|protocols"),
            Template.of(api, "static-again", (w, own, v, p) -> {
                w.call(ApiKeys.JOIN_GROUP, v, Messages.fit(World.joinRequest(own + "g", "", "instance-1"), v));
                return World.joinRequest(own + "g", "", "instance-1");
            }).prepare(coordinator).from(5).once(),
            Template.of(api, "rejoin-unchanged", (w, own, v, p) -> World.joinRequest(own + "g", (String) p, null)).prepare((w, own) -> w.stable(own + "g")).once(),
            Template.of(api, "stranger", (w, own, v, p) -> World.joinRequest(own + "g", "nobody", null)).prepare((w, own) -> w.stable(own + "g")).once(),
            Template.of(api, "other-type", (w, own, v, p) -> World.joinRequest(own + "g", "", null).setProtocolType("connect")).prepare((w, own) -> w.stable(own + "g")).once(),
            Template.of(api, "other-protocol", (w, own, v, p) -> {
                JoinGroupRequestData r = World.joinRequest(own + "g", "", null);
                r.protocols().clear();
                r.protocols().add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName("other"));
                return r;
            }).prepare((w, own) -> w.stable(own + "g")).once());
    }

    private static SyncGroupRequestData sync(String own, String member) {
        return new SyncGroupRequestData().setGroupId(own + "g").setGenerationId(1).setMemberId(member).setProtocolType("consumer").setProtocolName("range")
            .setAssignments(new ArrayList<>(List.of(new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(member).setAssignment(new byte[] {0, 1, 0, 0, 0, 0, -1, -1, -1, -1}))));
    }

    private static HeartbeatRequestData beat(String own, String member) {
        return new HeartbeatRequestData().setGroupId(own + "g").setGenerationId(1).setMemberId(member);
    }

    private static LeaveGroupRequestData leave(String own, short v, String member) {
        LeaveGroupRequestData r = new LeaveGroupRequestData().setGroupId(own + "g");
        if (v < 3) return r.setMemberId(member);
        return r.setMembers(new ArrayList<>(List.of(new LeaveGroupRequestData.MemberIdentity().setMemberId(member).setReason("done"))));
    }
}
