package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// elect asks for elections; without partitions for all.
func elect(n *testNode, version int16, kind int8, topic string, partitions ...int32) *kmsg.ElectLeadersResponse {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.ElectionType, req.TimeoutMillis = version, kind, 5000
	if topic != "" {
		rt := kmsg.NewElectLeadersRequestTopic()
		rt.Topic, rt.Partitions = topic, partitions
		req.Topics = append(req.Topics, rt)
	}
	return call[*kmsg.ElectLeadersResponse](n, req)
}

// KIP-460: leadership goes back to the first replica when it is asked for, and not by itself.
func TestElectLeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		first := h.leader("t", 0)
		for v := int16(0); v <= 2; v++ {
			resp := elect(first, v, 0, "t", 0, 9)
			require.Equal(t, v, resp.Version)
			require.Len(t, resp.Topics, 1)
			assert.Equal(t, kerr.ElectionNotNeeded.Code, resp.Topics[0].Partitions[0].ErrorCode)
			assert.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Topics[0].Partitions[1].ErrorCode)
		}
		assert.Equal(t, kerr.InvalidRequest.Code, elect(first, 2, 5, "t", 0).ErrorCode)

		first.stop(true)
		h.isr("t", 0, 2)
		via := h.leader("t", 0)
		assert.Equal(t, kerr.PreferredLeaderNotAvailable.Code, elect(via, 2, 0, "t", 0).Topics[0].Partitions[0].ErrorCode)
		h.start(first.id)
		h.isr("t", 0, 3)
		require.Equal(t, via, h.leader("t", 0), "not by itself")

		resp := elect(via, 1, 0, "")
		require.Len(t, resp.Topics, 1, "what needs no election is left out")
		require.Zero(t, resp.Topics[0].Partitions[0].ErrorCode)
		require.Equal(t, first.id, partitionOf(via.metadataImage(), "t", 0).Leader, "the node that answered knows")
		require.Equal(t, first, h.leader("t", 0))
		assert.Empty(t, elect(via, 2, 0, "").Topics)

		// Without a quorum: the controller would answer of its own knowledge that nothing is needed, so it is one of those that stop.
		controller, _, ok := via.ctl.Leader()
		require.True(t, ok)
		stay := controller%3 + 1
		for _, id := range h.ids {
			if id != stay {
				h.nodes[id].stop(false)
			}
		}
		resp = elect(h.nodes[stay], 2, 0, "t", 0)
		assert.Equal(t, kerr.RequestTimedOut.Code, resp.ErrorCode)
		assert.Equal(t, kerr.RequestTimedOut.Code, resp.Topics[0].Partitions[0].ErrorCode, "version 0 has this one only")
	})
}

// An unclean election is for a partition without a leader, whatever the topic's configuration says, and takes who is there.
func TestElectLeadersUncleanly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 2, "min.insync.replicas", "1")
		p := partitionOf(h.nodes[1].metadataImage(), "t", 0)
		leader, follower := h.nodes[p.Leader], h.nodes[p.Replicas[1]]
		other := h.nodes[6-p.Replicas[0]-p.Replicas[1]]
		assert.Equal(t, kerr.ElectionNotNeeded.Code, elect(other, 2, 1, "t", 0).Topics[0].Partitions[0].ErrorCode)
		follower.stop(true)
		h.isr("t", 0, 1)
		leader.mustProduce("t", 0, "x")
		leader.stop(false)
		h.start(follower.id)
		h.await(func() bool {
			p := partitionOf(other.metadataImage(), "t", 0)
			n, ok := alive(other.metadataImage(), follower.id)
			return p.Leader < 0 && ok && n.Active()
		})
		assert.Equal(t, kerr.PreferredLeaderNotAvailable.Code, elect(other, 2, 0, "t", 0).Topics[0].Partitions[0].ErrorCode)
		require.Zero(t, elect(other, 2, 1, "t", 0).Topics[0].Partitions[0].ErrorCode)
		require.Equal(t, follower, h.leader("t", 0))
	})
}
