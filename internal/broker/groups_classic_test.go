package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func joinRequest(version int16, group, member string, metadata []byte) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID = version, group, member
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 10_000, 20_000, "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: metadata}}
	return req
}

// join joins as a new member, in two steps where the protocol has two.
func (n *testNode) join(version int16, group string, metadata []byte) *kmsg.JoinGroupResponse {
	n.h.t.Helper()
	resp := call[*kmsg.JoinGroupResponse](n, joinRequest(version, group, "", metadata))
	if version >= 4 {
		require.Equal(n.h.t, kerr.MemberIDRequired.Code, resp.ErrorCode)
		require.NotEmpty(n.h.t, resp.MemberID)
		resp = call[*kmsg.JoinGroupResponse](n, joinRequest(version, group, resp.MemberID, metadata))
	}
	require.NoError(n.h.t, kerr.ErrorForCode(resp.ErrorCode))
	return resp
}

func syncRequest(version int16, group string, generation int32, member string, assignments ...kmsg.SyncGroupRequestGroupAssignment) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	consumer, protocol := "consumer", "range"
	req.Version, req.Group, req.Generation, req.MemberID, req.GroupAssignment = version, group, generation, member, assignments
	req.ProtocolType, req.Protocol = &consumer, &protocol
	return req
}

// subscription is a v0 subscription to topics.
func subscription(topics ...string) []byte {
	b := []byte{0, 0, 0, 0, 0, byte(len(topics))}
	for _, t := range topics {
		b = append(append(b, 0, byte(len(t))), t...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff)
}

// TestClassicGroup: the life of a group, with what may be wrong in each step.
func TestClassicGroup(t *testing.T) {
	for _, version := range []int16{0, 3, 9} {
		t.Run(fmt.Sprintf("version=%d", version), func(t *testing.T) {
			bubble(t, func(t *testing.T) { testClassicGroup(t, version) })
		})
	}
}

func testClassicGroup(t *testing.T, version int16) {
	h := groupHarness(t, 1)
	n := h.coordinatorOf("g")
	metadata := subscription("orders")
	joined := n.join(version, "g", metadata)
	leader := joined.MemberID
	clear(metadata) // requests' memory is used again
	assert.Equal(t, leader, joined.LeaderID)
	assert.Equal(t, "range", *joined.Protocol)
	require.Len(t, joined.Members, 1)
	assert.Equal(t, subscription("orders"), joined.Members[0].ProtocolMetadata)
	generation := joined.Generation

	heartbeat := func(group, member string, generation int32) int16 {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 4, group, member, generation
		return call[*kmsg.HeartbeatResponse](n, req).ErrorCode
	}
	commit := func(member string, generation int32) int16 {
		req := commitRequest("g", "orders", 5)
		req.MemberID, req.Generation = member, generation
		return n.commitCodes(req)[0]
	}
	unknown := kerr.UnknownMemberID.Code
	assert.Equal(t, kerr.RebalanceInProgress.Code, commit(leader, generation), "not synced yet")
	sync := call[*kmsg.SyncGroupResponse](n, syncRequest(5, "g", generation, "somebody"))
	assert.Equal(t, unknown, sync.ErrorCode)
	bare := syncRequest(5, "g", generation, leader)
	bare.Protocol = nil
	assert.Equal(t, kerr.InconsistentGroupProtocol.Code, call[*kmsg.SyncGroupResponse](n, bare).ErrorCode)
	given := []byte("whatever a leader gives")
	sync = call[*kmsg.SyncGroupResponse](n, syncRequest(min(version, 5), "g", generation, leader, kmsg.SyncGroupRequestGroupAssignment{MemberID: leader, MemberAssignment: given}))
	require.Zero(t, sync.ErrorCode)
	assert.Equal(t, given, sync.MemberAssignment)
	clear(given)

	assert.Zero(t, heartbeat("g", leader, generation))
	assert.Equal(t, unknown, heartbeat("g", "somebody", generation))
	assert.Equal(t, kerr.IllegalGeneration.Code, heartbeat("g", leader, generation+1))
	assert.Equal(t, unknown, heartbeat("unknown", leader, generation))
	assert.Equal(t, kerr.InvalidGroupID.Code, heartbeat("", leader, generation))
	assert.Zero(t, commit(leader, generation))
	assert.Equal(t, kerr.IllegalGeneration.Code, commit(leader, generation-1))
	assert.Equal(t, unknown, commit("somebody", generation))
	assert.Equal(t, unknown, commit("", -1), "the group has members")

	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Version, describe.Groups = 6, []string{"g"}
	d := call[*kmsg.DescribeGroupsResponse](n, describe).Groups[0]
	assert.Equal(t, []string{"Stable", "consumer", "range"}, []string{d.State, d.ProtocolType, d.Protocol})
	require.Len(t, d.Members, 1)
	assert.Equal(t, "test", d.Members[0].ClientID)
	assert.Equal(t, "/127.0.0.1", d.Members[0].ClientHost)
	assert.Equal(t, "whatever a leader gives", string(d.Members[0].MemberAssignment))
	drop := kmsg.NewPtrDeleteGroupsRequest()
	drop.Groups = []string{"g"}
	assert.Equal(t, kerr.NonEmptyGroup.Code, call[*kmsg.DeleteGroupsResponse](n, drop).Groups[0].ErrorCode)

	for _, bad := range []struct {
		change func(*kmsg.JoinGroupRequest)
		code   int16
	}{
		{func(r *kmsg.JoinGroupRequest) { r.MemberID = "somebody" }, unknown},
		{func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 }, kerr.InvalidSessionTimeout.Code},
		{func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 }, kerr.InvalidSessionTimeout.Code},
		{func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 }, kerr.InvalidSessionTimeout.Code},
		{func(r *kmsg.JoinGroupRequest) { r.Group = "" }, kerr.InvalidGroupID.Code},
		{func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" }, kerr.InconsistentGroupProtocol.Code},
		{func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "another" }, kerr.InconsistentGroupProtocol.Code},
		{func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }, kerr.InconsistentGroupProtocol.Code},
	} {
		req := joinRequest(version, "g", "", subscription("orders"))
		bad.change(req)
		resp := call[*kmsg.JoinGroupResponse](n, req)
		assert.Equal(t, bad.code, resp.ErrorCode, "%+v", req)
		assert.Equal(t, int32(-1), resp.Generation)
	}
	assert.Zero(t, heartbeat("g", leader, generation), "the group has not noticed")

	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "g", "somebody"
	assert.Equal(t, unknown, call[*kmsg.LeaveGroupResponse](n, leave).ErrorCode)
	leave.Version, leave.Members = 5, []kmsg.LeaveGroupRequestMember{{MemberID: "somebody"}, {MemberID: leader}}
	left := call[*kmsg.LeaveGroupResponse](n, leave)
	require.Zero(t, left.ErrorCode)
	require.Len(t, left.Members, 2)
	assert.Equal(t, []int16{unknown, 0}, []int16{left.Members[0].ErrorCode, left.Members[1].ErrorCode})
	assert.Equal(t, leader, left.Members[1].MemberID)
	assert.Equal(t, unknown, heartbeat("g", leader, generation))
	at, _ := n.committed("g", "orders", 0)
	assert.Equal(t, int64(5), at)
}

// TestConsumerGroupRevertsToClassic: with the last member that speaks KIP-848 gone the others are told of a rebalance, and may commit what they have processed before they join. Their generation is legal
// until then; that of a coordinator that has taken over meanwhile is not.
func TestConsumerGroupRevertsToClassic(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := groupHarness(t, 1)
				n := h.coordinatorOf("g")
				beat := func(member string, epoch int32, topics ...string) *kmsg.ConsumerGroupHeartbeatResponse {
					resp := call[*kmsg.ConsumerGroupHeartbeatResponse](n, consumerHeartbeat("g", member, epoch, topics...))
					require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
					return resp
				}
				beat("modern", 0, "orders")
				classic := n.join(5, "g", subscription("orders"))
				commit := commitRequest("g", "orders", 5)
				commit.MemberID, commit.Generation = classic.MemberID, classic.Generation
				require.Equal(t, []int16{0}, n.commitCodes(commit))
				beat("modern", -1)

				want, heard := int16(0), kerr.RebalanceInProgress.Code
				if restart {
					n.stop(false)
					h.start(n.id)
					n = h.coordinatorOf("g")
					want, heard = kerr.IllegalGeneration.Code, kerr.IllegalGeneration.Code
				}
				heartbeat := kmsg.NewPtrHeartbeatRequest()
				heartbeat.Version, heartbeat.Group, heartbeat.MemberID, heartbeat.Generation = 4, "g", classic.MemberID, classic.Generation
				assert.Equal(t, heard, call[*kmsg.HeartbeatResponse](n, heartbeat).ErrorCode)
				assert.Equal(t, []int16{want}, n.commitCodes(commit))
				again := call[*kmsg.JoinGroupResponse](n, joinRequest(5, "g", classic.MemberID, subscription("orders")))
				require.NoError(t, kerr.ErrorForCode(again.ErrorCode))
				assert.Greater(t, again.Generation, classic.Generation)
				assert.Equal(t, classic.MemberID, again.LeaderID)
			})
		})
	}
}

// TestGarbageSubscriptions: what members tell each other means nothing to the broker, which has to live with it all the same.
func TestGarbageSubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		for i, metadata := range [][]byte{nil, {}, {0}, {0, 0, 0xff, 0xff, 0xff, 0xff}, {0, 0, 0x7f, 0xff, 0xff, 0xff}, []byte("\x00\x03garbage"), {0xff, 0xff, 0, 0, 0, 1, 0, 9}} {
			group := fmt.Sprint("g", i)
			n := h.coordinatorOf(group)
			joined := n.join(9, group, metadata)
			sync := call[*kmsg.SyncGroupResponse](n, syncRequest(5, group, joined.Generation, joined.MemberID, kmsg.SyncGroupRequestGroupAssignment{MemberID: joined.MemberID, MemberAssignment: metadata}))
			require.Zero(t, sync.ErrorCode)
			req := commitRequest(group, "orders", 5)
			req.MemberID, req.Generation = joined.MemberID, joined.Generation
			require.Equal(t, []int16{0}, n.commitCodes(req))
			// A member of the newer protocol has to understand what the older ones subscribe to.
			hb := consumerHeartbeat(group, "new", 0, "orders")
			call[*kmsg.ConsumerGroupHeartbeatResponse](n, hb)
		}
	})
}
