package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestInternalTopicsAreCreatedOnFirstUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil) // auto.create.topics.enable is off
		n := h.nodes[2]
		_, ok := n.ensureInternal("orders")
		assert.False(t, ok)
		for range 3 {
			_, ok = n.ensureInternal(topicConsumerOffsets)
			assert.False(t, ok, "not yet")
		}
		_, ok = n.ensureInternal(topicTransactionState)
		assert.False(t, ok, "not yet")
		h.await(func() bool {
			_, offsets := n.ensureInternal(topicConsumerOffsets)
			_, transactions := n.ensureInternal(topicTransactionState)
			return offsets && transactions
		})
		time.Sleep(time.Second)
		img := n.metadataImage()
		assert.Len(t, img.Topics, 2)
		for name, want := range map[string]map[string]string{
			topicConsumerOffsets:  {"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600"},
			topicTransactionState: {"cleanup.policy": "compact", "compression.type": "uncompressed", "segment.bytes": "104857600"},
		} {
			topic := img.Topics[name]
			assert.Equal(t, want, topic.Configs)
			require.Len(t, topic.Partitions, 50)
			for _, p := range topic.Partitions {
				assert.Len(t, p.Replicas, 3)
			}
			e := n.effective(img, topic)
			assert.True(t, e.CleanupCompact)
			assert.Equal(t, int64(1), e.FlushMessages, "as durable as any topic")
			assert.Equal(t, 2, e.MinISR(3))
		}
	})
}

func TestInternalTopicsFollowTheStaticConfig(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, func(_ int32, c *Config) {
			c.Static = map[string]string{
				"offsets.topic.num.partitions": " 3 ", "offsets.topic.replication.factor": "1", "offsets.topic.segment.bytes": "100",
				"transaction.state.log.num.partitions": "2", "transaction.state.log.replication.factor": "3", "transaction.state.log.min.isr": "2",
			}
		})
		n := h.nodes[1]
		h.await(func() bool {
			_, offsets := n.ensureInternal(topicConsumerOffsets)
			_, transactions := n.ensureInternal(topicTransactionState)
			return offsets && transactions
		})
		offsets, _ := n.ensureInternal(topicConsumerOffsets)
		assert.Len(t, offsets.Partitions, 3)
		assert.Len(t, offsets.Partitions[0].Replicas, 1)
		assert.Equal(t, "1048576", offsets.Configs["segment.bytes"], "the smallest there is")
		transactions, _ := n.ensureInternal(topicTransactionState)
		assert.Len(t, transactions.Partitions, 2)
		assert.Len(t, transactions.Partitions[0].Replicas, 2, "no more than there are nodes")
		assert.Equal(t, "2", transactions.Configs["min.insync.replicas"])
	})
}

func TestInternalTopicIsAskedForAgainAfterAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		id := h.create(1, "__consumer.offsets", 1, 1) // the names of their metrics collide
		for range 3 {
			_, ok := n.ensureInternal(topicConsumerOffsets)
			assert.False(t, ok)
			time.Sleep(time.Second)
			assert.Nil(t, n.metadataImage().Topics[topicConsumerOffsets])
		}
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis = 6, 10_000
		rt := kmsg.NewDeleteTopicsRequestTopic()
		rt.TopicID = id
		req.Topics = append(req.Topics, rt)
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](n, req).Topics[0].ErrorCode)
		h.await(func() bool {
			_, ok := n.ensureInternal(topicConsumerOffsets)
			return ok
		})
	})
}

func TestClientsMayCreateInternalTopics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.create(1, topicConsumerOffsets, 2, -1)
		topic, ok := h.nodes[1].ensureInternal(topicConsumerOffsets)
		require.True(t, ok)
		require.Len(t, topic.Partitions, 2, "as the client wanted it")
		assert.Len(t, topic.Partitions[0].Replicas, 2)
		p := h.leader(topicConsumerOffsets, 0).produce(topicConsumerOffsets, 0, -1, batch(t, "v"))
		assert.Equal(t, kerr.InvalidTopicException.Code, p.ErrorCode, "but not write to them")
	})
}
