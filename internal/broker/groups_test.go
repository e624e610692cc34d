package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/transport"
)

// groupHarness is a cluster with the topic "orders" of three partitions, in which groups have coordinators.
func groupHarness(t *testing.T, nodes int) *harness {
	t.Helper()
	h := newHarness(t, nodes, func(_ int32, c *Config) {
		c.Static = map[string]string{"offsets.topic.num.partitions": "3", "group.initial.rebalance.delay.ms": "0"}
	})
	h.create(1, "orders", 3, int16(nodes))
	return h
}

// coordinatorOf asks until there is one that serves.
func (h *harness) coordinatorOf(group string) *testNode {
	h.t.Helper()
	var found *testNode
	h.await(func() bool {
		for _, id := range h.ids {
			if n := h.nodes[id]; n.Broker != nil {
				req := kmsg.NewPtrFindCoordinatorRequest()
				req.Version, req.CoordinatorKeys = 4, []string{group}
				c := call[*kmsg.FindCoordinatorResponse](n, req).Coordinators[0]
				if found = h.nodes[c.NodeID]; c.ErrorCode != 0 || found == nil || found.Broker == nil {
					return false
				}
				_, code := found.committed(group, "orders", 0)
				return code == 0
			}
		}
		return false
	})
	return found
}

func commitRequest(group, topic string, offsets ...int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group = 9, group
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = topic
	for i, o := range offsets {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = int32(i), o
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// commitCodes commits and lists the answer's codes.
func (n *testNode) commitCodes(req *kmsg.OffsetCommitRequest) (codes []int16) {
	n.h.t.Helper()
	for _, t := range call[*kmsg.OffsetCommitResponse](n, req).Topics {
		for _, p := range t.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return codes
}

// committed fetches one offset: its partition's value, and the group's code.
func (n *testNode) committed(group, topic string, partition int32) (offset int64, code int16) {
	n.h.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 9
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.Partitions = topic, []int32{partition}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	got := call[*kmsg.OffsetFetchResponse](n, req).Groups[0]
	if got.ErrorCode != 0 {
		return -1, got.ErrorCode
	}
	return got.Topics[0].Partitions[0].Offset, got.Topics[0].Partitions[0].ErrorCode
}

func TestFindCoordinator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 3)
		n := h.nodes[2]
		ask := func(version int16, kind int8, keys ...string) *kmsg.FindCoordinatorResponse {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorType, req.CoordinatorKeys, req.CoordinatorKey = version, kind, keys, keys[0]
			return call[*kmsg.FindCoordinatorResponse](n, req)
		}
		first := ask(3, 0, "g")
		assert.Equal(t, kerr.CoordinatorNotAvailable.Code, first.ErrorCode, "the topic is being created")
		assert.Equal(t, int32(-1), first.NodeID)
		c := h.coordinatorOf("g")
		want := ask(4, 0, "g", "", "another").Coordinators
		require.Len(t, want, 3)
		assert.Equal(t, "g", want[0].Key)
		assert.Equal(t, c.id, want[0].NodeID)
		assert.Equal(t, fmt.Sprintf("n%d", c.id), want[0].Host)
		assert.Equal(t, int32(9092), want[0].Port)
		for _, version := range []int16{0, 1, 3} {
			got := ask(version, 0, "g")
			assert.Zero(t, got.ErrorCode)
			assert.Equal(t, c.id, got.NodeID)
		}
		assert.Equal(t, kerr.InvalidRequest.Code, ask(3, 1, "tx").ErrorCode, "a client must not wait for ever")
		assert.Equal(t, kerr.InvalidRequest.Code, ask(6, 2, "share:x:0").Coordinators[0].ErrorCode)
		assert.Equal(t, kerr.InvalidRequest.Code, ask(4, 77, "x").Coordinators[0].ErrorCode)
		for _, id := range h.ids {
			if id != c.id {
				assert.Equal(t, []int16{kerr.NotCoordinator.Code}, h.nodes[id].commitCodes(commitRequest("g", "orders", 5)))
			}
		}
	})
}

func TestOffsetsOfSimpleGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.nodes[1]
		assert.Equal(t, []int16{kerr.NotCoordinator.Code}, n.commitCodes(commitRequest("g", "orders", 5)), "nobody has looked for a coordinator yet")
		n = h.coordinatorOf("g")
		at, code := n.committed("g", "orders", 0)
		assert.Equal(t, int64(-1), at, "an unknown group has committed nothing")
		assert.Zero(t, code)

		req := commitRequest("g", "orders", 5, 6, 7, 8)
		text := strings.Repeat("ü", 4097)
		req.Topics[0].Partitions[1].Metadata = &text
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: -1}, kmsg.OffsetCommitRequestTopicPartition{Partition: 1 << 30})
		unknown := commitRequest("g", "nowhere", 1)
		req.Topics = append(req.Topics, unknown.Topics...)
		no := kerr.UnknownTopicOrPartition.Code
		assert.Equal(t, []int16{0, kerr.OffsetMetadataTooLarge.Code, 0, no, no, no, no}, n.commitCodes(req), "the others are committed")
		for p, want := range []int64{5, -1, 7} {
			at, code = n.committed("g", "orders", int32(p))
			assert.Equal(t, want, at)
			assert.Zero(t, code)
		}
		req = commitRequest("g", "orders", 9)
		req.Generation, req.MemberID = 3, "somebody"
		assert.Equal(t, []int16{kerr.UnknownMemberID.Code}, n.commitCodes(req), "the group has no members")
		req.Group = "another"
		assert.Equal(t, []int16{kerr.GroupIDNotFound.Code}, n.commitCodes(req))
		req.Version = 8
		assert.Equal(t, []int16{kerr.IllegalGeneration.Code}, n.commitCodes(req))
		req.Group = ""
		assert.Equal(t, []int16{kerr.InvalidGroupID.Code}, n.commitCodes(req))
		at, _ = n.committed("g", "orders", 0)
		assert.Equal(t, int64(5), at, "nothing has changed")
		old := commitRequest("g", "orders", 11)
		old.Version, old.RetentionTimeMillis = 2, 1<<62
		assert.Equal(t, []int16{0}, n.commitCodes(old))
		assert.Zero(t, n.commitCodes(&kmsg.OffsetCommitRequest{Version: 2, Group: "g"}))
	})
}

func TestOffsetFetchVersions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		id := n.metadataImage().Topics["orders"].ID
		byID := commitRequest("g", "", 5, 6)
		byID.Version, byID.Topics[0].TopicID = 10, id
		unknown := kmsg.NewOffsetCommitRequestTopic()
		unknown.TopicID, unknown.Partitions = [16]byte{9}, byID.Topics[0].Partitions[:1]
		byID.Topics = append(byID.Topics, unknown)
		require.Equal(t, []int16{0, 0, kerr.UnknownTopicID.Code}, n.commitCodes(byID))

		for v := int16(1); v <= 7; v++ {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Group, req.RequireStable = v, "g", true
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{1, 2}}, {Topic: "nowhere", Partitions: []int32{7}}}
			resp := call[*kmsg.OffsetFetchResponse](n, req)
			require.Zero(t, resp.ErrorCode)
			require.Len(t, resp.Topics, 2)
			assert.Equal(t, []int64{6, -1}, []int64{resp.Topics[0].Partitions[0].Offset, resp.Topics[0].Partitions[1].Offset})
			assert.Equal(t, int32(-1), resp.Topics[0].Partitions[1].LeaderEpoch)
			assert.Equal(t, int64(-1), resp.Topics[1].Partitions[0].Offset)
			assert.Zero(t, resp.Topics[1].Partitions[0].ErrorCode)
			req.Topics = []kmsg.OffsetFetchRequestTopic{}
			assert.Empty(t, call[*kmsg.OffsetFetchResponse](n, req).Topics, "asked for nothing")
			if req.Topics = nil; v >= 2 {
				resp = call[*kmsg.OffsetFetchResponse](n, req)
				require.Len(t, resp.Topics, 1)
				require.Len(t, resp.Topics[0].Partitions, 2)
			}
		}
		for v := int16(8); v <= 10; v++ {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version = v
			for _, group := range []string{"g", "unknown"} {
				g := kmsg.NewOffsetFetchRequestGroup()
				g.Group = group
				req.Groups = append(req.Groups, g)
			}
			some := kmsg.NewOffsetFetchRequestGroup()
			some.Group, some.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{{Topic: "orders", TopicID: id, Partitions: []int32{0}}, {Topic: "x", TopicID: [16]byte{9}, Partitions: []int32{0}}}
			req.Groups = append(req.Groups, some)
			member := "somebody"
			req.Groups = append(req.Groups, kmsg.OffsetFetchRequestGroup{Group: "unknown", MemberID: &member, MemberEpoch: 3})
			resp := call[*kmsg.OffsetFetchResponse](n, req)
			require.Len(t, resp.Groups, 4)
			require.Len(t, resp.Groups[0].Topics, 1)
			require.Len(t, resp.Groups[0].Topics[0].Partitions, 2)
			if v >= 10 {
				assert.Equal(t, [16]byte(id), resp.Groups[0].Topics[0].TopicID)
				assert.Equal(t, kerr.UnknownTopicID.Code, resp.Groups[2].Topics[1].Partitions[0].ErrorCode)
			}
			assert.Empty(t, resp.Groups[1].Topics)
			assert.Zero(t, resp.Groups[1].ErrorCode)
			assert.Equal(t, int64(5), resp.Groups[2].Topics[0].Partitions[0].Offset)
			if v >= 9 {
				assert.Equal(t, kerr.GroupIDNotFound.Code, resp.Groups[3].ErrorCode)
			}
		}
	})
}

// TestOffsetsSurvive: a commit that was acknowledged is there after the coordinator's crash, and is the newest after a failover (P11).
func TestOffsetsSurvive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 3)
		n := h.coordinatorOf("g")
		p := groups.PartitionOf("g", 3)
		h.isr(topicConsumerOffsets, p, 3)
		for i := range int64(50) {
			require.Equal(t, []int16{0, 0, 0}, n.commitCodes(commitRequest("g", "orders", i, i, i)))
		}
		n.stop(false)
		next := h.coordinatorOf("g")
		require.NotEqual(t, n.id, next.id)
		at, code := next.committed("g", "orders", 2)
		require.Zero(t, code)
		require.Equal(t, int64(49), at)
		require.Equal(t, []int16{0}, next.commitCodes(commitRequest("g", "orders", 60)))
		h.start(n.id)
		h.isr(topicConsumerOffsets, p, 3)
		next.stop(true)
		last := h.coordinatorOf("g")
		at, _ = last.committed("g", "orders", 0)
		require.Equal(t, int64(60), at)
		h.start(next.id)
	})
}

// TestCutOffCoordinator: one that has lost the controller tells nothing, for somebody else may coordinate.
func TestCutOffCoordinator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 3)
		n := h.coordinatorOf("g")
		require.Equal(t, []int16{0}, n.commitCodes(commitRequest("g", "orders", 1)))
		name := fmt.Sprintf("n%d", n.id)
		h.net.SetLink(name, "*", transport.Link{Cut: true})
		h.net.SetLink("*", name, transport.Link{Cut: true})
		time.Sleep(20 * time.Second)
		_, code := n.committed("g", "orders", 0)
		assert.Equal(t, kerr.NotCoordinator.Code, code)
		assert.Equal(t, []int16{kerr.NotCoordinator.Code}, n.commitCodes(commitRequest("g", "orders", 2)))
		resp := call[*kmsg.ListGroupsResponse](n, kmsg.NewPtrListGroupsRequest())
		assert.Equal(t, kerr.NotCoordinator.Code, resp.ErrorCode)
		h.net.Heal()
	})
}

// TestDeletedTopic: its offsets go with it, so that a topic of the same name begins anew.
func TestDeletedTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		require.Equal(t, []int16{0}, n.commitCodes(commitRequest("g", "orders", 5)))
		name := "orders"
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.Version, del.TimeoutMillis = 6, 10_000
		del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](n, del).Topics[0].ErrorCode)
		h.create(1, "orders", 3, 1)
		synctest.Wait()
		at, code := n.committed("g", "orders", 0)
		assert.Zero(t, code)
		assert.Equal(t, int64(-1), at)
	})
}

func TestListDescribeDeleteGroups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		require.Equal(t, []int16{0, 0}, n.commitCodes(commitRequest("g", "orders", 5, 6)))
		list := func(version int16, states, types []string) (ids []string) {
			req := kmsg.NewPtrListGroupsRequest()
			req.Version, req.StatesFilter, req.TypesFilter = version, states, types
			resp := call[*kmsg.ListGroupsResponse](n, req)
			require.Zero(t, resp.ErrorCode)
			for _, g := range resp.Groups {
				ids = append(ids, g.Group+" "+g.GroupState+" "+g.GroupType)
			}
			return ids
		}
		require.Equal(t, []string{"g Empty classic"}, list(5, nil, nil))
		require.Equal(t, []string{"g Empty classic"}, list(5, []string{"stable", "EMPTY"}, []string{"Classic"}))
		require.Empty(t, list(5, []string{"stable"}, nil))
		require.Empty(t, list(5, nil, []string{"consumer"}))
		require.Empty(t, list(5, []string{"no such state"}, nil))

		describe := func(version int16, id string) kmsg.DescribeGroupsResponseGroup {
			req := kmsg.NewPtrDescribeGroupsRequest()
			req.Version, req.Groups = version, []string{id}
			return call[*kmsg.DescribeGroupsResponse](n, req).Groups[0]
		}
		got := describe(5, "g")
		assert.Equal(t, "Empty", got.State)
		assert.Equal(t, noOperations, got.AuthorizedOperations)
		got = describe(5, "unknown")
		assert.Zero(t, got.ErrorCode)
		assert.Equal(t, "Dead", got.State)
		assert.Equal(t, kerr.GroupIDNotFound.Code, describe(6, "unknown").ErrorCode)
		assert.Equal(t, kerr.InvalidGroupID.Code, describe(6, "").ErrorCode)

		forget := kmsg.NewPtrOffsetDeleteRequest()
		forget.Group = "g"
		forget.Topics = []kmsg.OffsetDeleteRequestTopic{
			{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 2}, {Partition: 3}}},
			{Topic: "nowhere", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
		}
		deleted := call[*kmsg.OffsetDeleteResponse](n, forget)
		require.Zero(t, deleted.ErrorCode)
		var codes []int16
		for _, rt := range deleted.Topics {
			for _, p := range rt.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
		no := kerr.UnknownTopicOrPartition.Code
		assert.Equal(t, []int16{0, 0, no, no}, codes)
		at, _ := n.committed("g", "orders", 0)
		assert.Equal(t, int64(-1), at)
		at, _ = n.committed("g", "orders", 1)
		assert.Equal(t, int64(6), at)
		forget.Group = "unknown"
		assert.Equal(t, kerr.GroupIDNotFound.Code, call[*kmsg.OffsetDeleteResponse](n, forget).ErrorCode)
		forget.Group = ""
		assert.Equal(t, kerr.InvalidGroupID.Code, call[*kmsg.OffsetDeleteResponse](n, forget).ErrorCode)

		drop := kmsg.NewPtrDeleteGroupsRequest()
		drop.Version, drop.Groups = 2, []string{"unknown", "g", "", "g"}
		codes = nil
		for i, g := range call[*kmsg.DeleteGroupsResponse](n, drop).Groups {
			assert.Equal(t, drop.Groups[i], g.Group)
			codes = append(codes, g.ErrorCode)
		}
		gone := kerr.GroupIDNotFound.Code
		assert.Equal(t, []int16{gone, 0, kerr.InvalidGroupID.Code, gone}, codes)
		require.Empty(t, list(5, nil, nil))
		at, _ = n.committed("g", "orders", 1)
		assert.Equal(t, int64(-1), at)
	})
}

func consumerHeartbeat(group, member string, epoch int32, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, group, member, epoch
	if epoch == 0 {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames, req.Topics = 60_000, topics, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	return req
}

func TestConsumerGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		beat := func(req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
			return call[*kmsg.ConsumerGroupHeartbeatResponse](n, req)
		}
		first := beat(consumerHeartbeat("g", "m1", 0, "orders"))
		require.NoError(t, kerr.ErrorForCode(first.ErrorCode), "%v", first.ErrorMessage)
		require.Equal(t, "m1", *first.MemberID)
		require.Equal(t, int32(5000), first.HeartbeatIntervalMillis)
		require.NotNil(t, first.Assignment)
		require.Len(t, first.Assignment.Topics, 1)
		require.Equal(t, []int32{0, 1, 2}, first.Assignment.Topics[0].Partitions)
		require.Equal(t, [16]byte(n.metadataImage().Topics["orders"].ID), first.Assignment.Topics[0].TopicID)
		again := beat(consumerHeartbeat("g", "m1", first.MemberEpoch))
		require.Zero(t, again.ErrorCode)
		require.Nil(t, again.Assignment, "nothing has changed")

		for _, bad := range []struct {
			change func(*kmsg.ConsumerGroupHeartbeatRequest)
			code   int16
		}{
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 }, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -2 }, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) {
				r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: [16]byte{1}, Partitions: []int32{1, -5}}}
			}, kerr.InvalidRequest.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { s := "magic"; r.ServerAssignor = &s }, kerr.UnsupportedAssignor.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { s := "("; r.SubscribedTopicRegex = &s }, kerr.InvalidRegularExpression.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) {
				s := strings.Repeat("a", 1<<16)
				r.SubscribedTopicRegex = &s
			}, kerr.InvalidRegularExpression.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 7 }, kerr.UnknownMemberID.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID, r.MemberEpoch = "m1", first.MemberEpoch+1 }, kerr.FencedMemberEpoch.Code},
			{func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group, r.MemberEpoch = "unknown", 7 }, kerr.GroupIDNotFound.Code},
		} {
			req := consumerHeartbeat("g", "m2", 0, "orders")
			bad.change(req)
			assert.Equal(t, bad.code, beat(req).ErrorCode, "%+v", req)
		}
		require.Zero(t, beat(consumerHeartbeat("g", "m1", first.MemberEpoch)).ErrorCode, "the group has not noticed")

		commit := commitRequest("g", "orders", 5)
		commit.MemberID, commit.Generation = "m1", first.MemberEpoch
		require.Equal(t, []int16{0}, n.commitCodes(commit))
		commit.Generation++
		assert.Equal(t, []int16{kerr.StaleMemberEpoch.Code}, n.commitCodes(commit))
		commit.MemberID = "somebody"
		assert.Equal(t, []int16{kerr.UnknownMemberID.Code}, n.commitCodes(commit))
		at, _ := n.committed("g", "orders", 0)
		assert.Equal(t, int64(5), at)

		describe := kmsg.NewPtrConsumerGroupDescribeRequest()
		describe.Version, describe.Groups = 1, []string{"g", "unknown", ""}
		d := call[*kmsg.ConsumerGroupDescribeResponse](n, describe).Groups
		require.Len(t, d, 3)
		assert.Equal(t, "Stable", d[0].State)
		assert.Equal(t, "uniform", d[0].AssignorName)
		require.Len(t, d[0].Members, 1)
		assert.Equal(t, "orders", d[0].Members[0].Assignment.TopicPartitions[0].Topic)
		assert.Equal(t, []int32{0, 1, 2}, d[0].Members[0].TargetAssignment.TopicPartitions[0].Partitions)
		assert.Equal(t, int8(1), d[0].Members[0].MemberType)
		assert.Equal(t, kerr.GroupIDNotFound.Code, d[1].ErrorCode)
		assert.Equal(t, kerr.InvalidGroupID.Code, d[2].ErrorCode)
		old := kmsg.NewPtrDescribeGroupsRequest()
		old.Version, old.Groups = 6, []string{"g"}
		assert.Equal(t, kerr.GroupIDNotFound.Code, call[*kmsg.DescribeGroupsResponse](n, old).Groups[0].ErrorCode)

		leave := beat(consumerHeartbeat("g", "m1", -1))
		require.Zero(t, leave.ErrorCode)
		require.Equal(t, int32(-1), leave.MemberEpoch)
	})
}

// TestConsumerGroupPattern: a pattern is resolved by the broker, over topics that come later, too, but never over internal ones.
func TestConsumerGroupPattern(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		h.create(1, "orders2", 1, 1)
		req := consumerHeartbeat("g", "m1", 0)
		pattern := ".*orders.*|__.*"
		req.SubscribedTopicNames, req.SubscribedTopicRegex = nil, &pattern
		got := map[[16]byte]bool{}
		epoch := int32(0)
		h.await(func() bool {
			resp := call[*kmsg.ConsumerGroupHeartbeatResponse](n, req)
			require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
			epoch = resp.MemberEpoch
			if a := resp.Assignment; a != nil {
				clear(got)
				for _, at := range a.Topics {
					got[at.TopicID] = true
				}
			}
			req = consumerHeartbeat("g", "m1", epoch)
			return len(got) > 0
		})
		img := n.metadataImage()
		assert.Equal(t, map[[16]byte]bool{img.Topics["orders"].ID: true, img.Topics["orders2"].ID: true}, got)
	})
}

// TestConsumerGroupMemberIDByCoordinator: before version 1 the coordinator makes the id.
func TestConsumerGroupMemberIDByCoordinator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		req := consumerHeartbeat("g", "", 0, "orders")
		req.Version = 0
		resp := call[*kmsg.ConsumerGroupHeartbeatResponse](n, req)
		require.Zero(t, resp.ErrorCode)
		require.Len(t, *resp.MemberID, 36)
	})
}

func TestClientHost(t *testing.T) {
	for remote, want := range map[string]string{"10.0.0.1:5": "/10.0.0.1", "[::1]:5": "/::1", "n1:7": "/n1", "odd": "/odd"} {
		assert.Equal(t, want, clientHost(&transport.Request{Conn: &transport.ConnInfo{Remote: remote}}))
	}
	assert.Equal(t, "/127.0.0.1", clientHost(&transport.Request{Conn: &transport.ConnInfo{Direct: true, Remote: "direct"}}))
	assert.Equal(t, "/127.0.0.1", clientHost(&transport.Request{}))
}

func TestGroupMetadata(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 1)
		img := h.nodes[1].metadataImage()
		m := groupMetadata{img}
		topic, ok := m.Topic("orders")
		require.True(t, ok)
		assert.Equal(t, int32(3), topic.Partitions)
		byID, ok := m.TopicByID(topic.ID)
		require.True(t, ok)
		assert.Equal(t, topic, byID)
		_, ok = m.Topic("nowhere")
		assert.False(t, ok)
		_, ok = m.TopicByID(log.TopicID{9})
		assert.False(t, ok)
	})
}
