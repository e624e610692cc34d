package broker

import (
	"strconv"
	"testing"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeQuorumRequest(version int16, topic string, partitions ...int32) *kmsg.DescribeQuorumRequest {
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Version = version
	rt := kmsg.NewDescribeQuorumRequestTopic()
	rt.Topic = topic
	for _, p := range partitions {
		rt.Partitions = append(rt.Partitions, kmsg.DescribeQuorumRequestTopicPartition{Partition: p})
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// KIP-595: any node tells what the active controller knows.
func TestDescribeQuorum(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		time.Sleep(3 * time.Second)
		leader, term, ok := h.nodes[1].ctl.Leader()
		require.True(t, ok)
		for _, n := range h.nodes {
			for v := int16(0); v <= 2; v++ {
				resp := call[*kmsg.DescribeQuorumResponse](n, describeQuorumRequest(v, topicClusterMetadata, 0))
				require.Equal(t, v, resp.Version)
				require.Zero(t, resp.ErrorCode)
				require.Len(t, resp.Topics, 1)
				require.Equal(t, topicClusterMetadata, resp.Topics[0].Topic)
				require.Len(t, resp.Topics[0].Partitions, 1)
				p := resp.Topics[0].Partitions[0]
				assert.Zero(t, p.ErrorCode)
				assert.Equal(t, []int64{int64(leader), term}, []int64{int64(p.LeaderID), int64(p.LeaderEpoch)})
				assert.Equal(t, n.metadataImage().Offset+1, p.HighWatermark, "nothing happens meanwhile")
				assert.Empty(t, p.Observers)
				require.Len(t, p.CurrentVoters, 3)
				for i, s := range p.CurrentVoters {
					assert.Equal(t, int32(i+1), s.ReplicaID)
					assert.Equal(t, p.HighWatermark, s.LogEndOffset)
					assert.EqualValues(t, h.nodes[s.ReplicaID].dir.ID(), s.ReplicaDirectoryID)
					since := time.Since(time.UnixMilli(s.LastFetchTimestamp))
					assert.Less(t, since, time.Second)
					assert.Equal(t, s.LastFetchTimestamp, s.LastCaughtUpTimestamp)
					if s.ReplicaID == leader {
						assert.Zero(t, since.Truncate(time.Millisecond))
					}
				}
				require.Len(t, resp.Nodes, 3)
				for i, node := range resp.Nodes {
					assert.Equal(t, int32(i+1), node.NodeID)
					require.Len(t, node.Listeners, 1)
					assert.Equal(t, h.addr(node.NodeID), joinHostPort(node.Listeners[0]))
				}
			}
		}
		n := h.nodes[1]
		for _, bad := range []*kmsg.DescribeQuorumRequest{
			describeQuorumRequest(2, "t", 0), describeQuorumRequest(0, topicClusterMetadata, 1), describeQuorumRequest(1, topicClusterMetadata, 0, 1),
		} {
			resp := call[*kmsg.DescribeQuorumResponse](n, bad)
			assert.Zero(t, resp.ErrorCode)
			require.Len(t, resp.Topics, 1)
			require.Len(t, resp.Topics[0].Partitions, len(bad.Topics[0].Partitions))
			for _, p := range resp.Topics[0].Partitions {
				assert.Equal(t, kerr.UnknownTopicOrPartition.Code, p.ErrorCode)
			}
		}
	})
}

func joinHostPort(l kmsg.DescribeQuorumResponseNodeListener) string {
	return l.Host + ":" + strconv.Itoa(int(l.Port))
}

// A voter that is away falls behind and is not heard of; a node that finds no active controller says so when its patience ends.
func TestDescribeQuorumWithoutAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 1)
		leader, _, _ := h.nodes[1].ctl.Leader()
		var rest []*testNode
		for _, n := range h.nodes {
			if n.id != leader {
				rest = append(rest, n)
			}
		}
		rest[0].stop(false)
		h.create(leader, "u", 1, 1)
		time.Sleep(time.Second)
		p := call[*kmsg.DescribeQuorumResponse](rest[1], describeQuorumRequest(2, topicClusterMetadata, 0)).Topics[0].Partitions[0]
		for _, s := range p.CurrentVoters {
			if s.ReplicaID == rest[0].id {
				assert.Less(t, s.LogEndOffset, p.HighWatermark)
				assert.Greater(t, time.Since(time.UnixMilli(s.LastFetchTimestamp)), 900*time.Millisecond)
			} else {
				assert.Equal(t, p.HighWatermark, s.LogEndOffset)
			}
		}
		h.nodes[leader].stop(false)
		began := time.Now()
		resp := call[*kmsg.DescribeQuorumResponse](rest[1], describeQuorumRequest(2, topicClusterMetadata, 0))
		assert.Equal(t, kerr.RequestTimedOut.Code, resp.ErrorCode)
		assert.NotNil(t, resp.ErrorMessage)
		assert.GreaterOrEqual(t, time.Since(began), quorumPatience)
		assert.Less(t, time.Since(began), quorumPatience+2*time.Second)
	})
}

// A request that waits for a controller ends with its broker.
func TestDescribeQuorumEndsWithTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.nodes[2].stop(true)
		time.Sleep(5 * time.Second)
		got := make(chan transport.Reply, 1)
		go h.nodes[1].Serve(t.Context(), &transport.Request{Message: describeQuorumRequest(2, topicClusterMetadata, 0), Conn: &transport.ConnInfo{Direct: true}}, func(r transport.Reply) { got <- r })
		time.Sleep(time.Millisecond)
		began := time.Now()
		h.nodes[1].stop(false)
		resp := (<-got).Message.(*kmsg.DescribeQuorumResponse)
		assert.Equal(t, kerr.RequestTimedOut.Code, resp.ErrorCode)
		assert.Less(t, time.Since(began), time.Second)
	})
}
