package broker

import (
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (n *testNode) producers(topic string, partition int32) kmsg.DescribeProducersResponseTopicPartition {
	n.h.t.Helper()
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
	resp := call[*kmsg.DescribeProducersResponse](n, req)
	require.Len(n.h.t, resp.Topics, 1)
	require.Equal(n.h.t, topic, resp.Topics[0].Topic)
	require.Len(n.h.t, resp.Topics[0].Partitions, 1)
	require.Equal(n.h.t, partition, resp.Topics[0].Partitions[0].Partition)
	return resp.Topics[0].Partitions[0]
}

// KIP-664: what a partition remembers of producers, on the leader, and on a follower that is asked.
func TestDescribeProducers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 2)
		lead := h.leader("t", 0)
		p := lead.producers("t", 0)
		assert.Zero(t, p.ErrorCode)
		assert.Empty(t, p.ActiveProducers)
		now := time.Now().UnixMilli()
		require.Zero(t, lead.produce("t", 0, -1, producerBatch(t, 9, 1, 0, "a", "b", "c")).ErrorCode)
		require.Zero(t, lead.produce("t", 0, -1, producerBatch(t, 7, 0, 0, "a")).ErrorCode)
		require.Zero(t, lead.produce("t", 0, -1, producerBatch(t, 9, 1, 3, "d")).ErrorCode)
		state := func(id int64, epoch, sequence int32) kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
			s := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
			s.ProducerID, s.ProducerEpoch, s.LastSequence, s.LastTimestamp, s.CoordinatorEpoch, s.CurrentTxnStartOffset = id, epoch, sequence, now, -1, -1
			return s
		}
		want := []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{state(7, 0, 0), state(9, 1, 3)}
		active := func(n *testNode) []kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
			got := n.producers("t", 0).ActiveProducers
			for i := range got { // acknowledgements take time
				assert.GreaterOrEqual(t, got[i].LastTimestamp, now)
				assert.LessOrEqual(t, got[i].LastTimestamp, time.Now().UnixMilli())
				got[i].LastTimestamp = now
			}
			return got
		}
		assert.Equal(t, want, active(lead))
		require.Zero(t, lead.deleteRecords(2, "t", 0, -1, time.Second).ErrorCode)
		assert.Equal(t, want, active(lead), "they outlive their records")
		for _, id := range partitionOf(lead.metadataImage(), "t", 0).Replicas {
			h.await(func() bool { return len(active(h.nodes[id])) == 2 })
		}

		for _, c := range []struct {
			node  *testNode
			topic string
			index int32
			want  *kerr.Error
		}{
			{h.other("t"), "t", 0, kerr.NotLeaderForPartition},
			{lead, "t", 1, kerr.UnknownTopicOrPartition},
			{lead, "none", 0, kerr.UnknownTopicOrPartition},
			{lead, "no good", 0, kerr.InvalidTopicException},
			{lead, "", 0, kerr.InvalidTopicException},
		} {
			p := c.node.producers(c.topic, c.index)
			assert.Equal(t, c.want.Code, p.ErrorCode, "%q %d", c.topic, c.index)
			assert.NotNil(t, p.ErrorMessage)
		}

		lead.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		lead.produce("t", 0, 1, batch(t, "x"))
		h.await(func() bool { return lead.producers("t", 0).ErrorCode == kerr.KafkaStorageError.Code })
		lead.stop(false)
	})
}
