package broker

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func addVoter(n *testNode, version int16, id int32, timeout time.Duration) *kmsg.AddRaftVoterResponse {
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.Version, req.VoterID, req.TimeoutMillis = version, id, int32(timeout.Milliseconds())
	return call[*kmsg.AddRaftVoterResponse](n, req)
}

func removeVoter(n *testNode, id int32) *kmsg.RemoveRaftVoterResponse {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	req.VoterID = id
	return call[*kmsg.RemoveRaftVoterResponse](n, req)
}

// members asks a node for voters and observers.
func members(n *testNode) (voters, observers []int32) {
	p := call[*kmsg.DescribeQuorumResponse](n, describeQuorumRequest(2, topicClusterMetadata, 0)).Topics[0].Partitions[0]
	for _, s := range p.CurrentVoters {
		voters = append(voters, s.ReplicaID)
	}
	for _, s := range p.Observers {
		observers = append(observers, s.ReplicaID)
	}
	return voters, observers
}

// KIP-853: votes are taken and given, whichever node is asked; the active controller's, too.
func TestAddAndRemoveRaftVoter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		leader, _, _ := h.nodes[1].ctl.Leader()
		via := h.nodes[leader%3+1]
		resp := removeVoter(via, leader)
		require.Zero(t, resp.ErrorCode, "%v", resp.ErrorMessage)
		m, ok := via.metadataImage().Quorum.Member(leader)
		require.True(t, ok)
		assert.False(t, m.Voter, "the node that answered knows")
		voters, observers := members(via)
		assert.Len(t, voters, 2)
		assert.Equal(t, []int32{leader}, observers)
		next, _, _ := via.ctl.Leader()
		assert.NotEqual(t, leader, next)
		assert.Equal(t, kerr.VoterNotFound.Code, removeVoter(via, leader).ErrorCode)
		assert.Equal(t, kerr.VoterNotFound.Code, removeVoter(via, 9).ErrorCode)
		h.create(leader, "t", 1, 3)

		for v := int16(0); v <= 1; v++ {
			add := addVoter(h.nodes[leader], v, leader, 10*time.Second)
			require.Zero(t, add.ErrorCode, "%v", add.ErrorMessage)
			assert.Equal(t, v, add.Version)
			voters, observers = members(via)
			assert.Equal(t, []int32{1, 2, 3}, voters)
			assert.Empty(t, observers)
			assert.Equal(t, kerr.DuplicateVoter.Code, addVoter(via, v, leader, time.Second).ErrorCode)
			if v == 0 {
				require.Zero(t, removeVoter(via, leader).ErrorCode)
			}
		}
		began := time.Now()
		add := addVoter(via, 0, 9, 700*time.Millisecond)
		assert.Equal(t, kerr.RequestTimedOut.Code, add.ErrorCode)
		require.NotNil(t, add.ErrorMessage)
		assert.Contains(t, *add.ErrorMessage, "joins the cluster")
		assert.InDelta(t, 700*time.Millisecond, time.Since(began), float64(150*time.Millisecond))

		others := slices.DeleteFunc([]int32{1, 2, 3}, func(id int32) bool { return id == leader })
		for _, id := range others {
			require.Zero(t, removeVoter(h.nodes[leader], id).ErrorCode)
		}
		assert.Equal(t, kerr.InvalidRequest.Code, removeVoter(via, leader).ErrorCode, "the last one")
		h.create(others[0], "u", 1, 3)
	})
}

// An observer that is down does not get a vote before it is back and has caught up; the request waits for that.
func TestAddRaftVoterWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		leader, _, _ := h.nodes[1].ctl.Leader()
		id := leader%3 + 1
		require.Zero(t, removeVoter(h.nodes[leader], id).ErrorCode)
		h.nodes[id].stop(false)
		time.Sleep(5 * time.Second)
		assert.Equal(t, kerr.RequestTimedOut.Code, addVoter(h.nodes[leader], 1, id, 2*time.Second).ErrorCode)
		got := make(chan int16)
		go func() { got <- addVoter(h.nodes[leader], 1, id, 20*time.Second).ErrorCode }()
		time.Sleep(time.Second)
		h.start(id)
		assert.Zero(t, <-got)
		voters, _ := members(h.nodes[id])
		assert.Equal(t, []int32{1, 2, 3}, voters)
	})
}
