package broker

import (
	"fmt"
	"testing"

	"github.com/insynclog/insync/internal/controller"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describe asks for a page; the cursor is "topic", partition.
func (n *testNode) describe(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, topics ...string) *kmsg.DescribeTopicPartitionsResponse {
	n.h.t.Helper()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit, req.Cursor = limit, cursor
	for _, name := range topics {
		rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
		rt.Topic = name
		req.Topics = append(req.Topics, rt)
	}
	return call[*kmsg.DescribeTopicPartitionsResponse](n, req)
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
	c := kmsg.NewDescribeTopicPartitionsRequestCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

// page is a page in short: "topic:partitions" with "!code" for errors, and "> topic partition" for a cursor.
func page(resp *kmsg.DescribeTopicPartitionsResponse) (out []string) {
	for _, t := range resp.Topics {
		s := *t.Topic + ":"
		for _, p := range t.Partitions {
			s += fmt.Sprint(p.Partition)
		}
		if t.ErrorCode != 0 {
			s += fmt.Sprint("!", t.ErrorCode)
		}
		out = append(out, s)
	}
	if c := resp.NextCursor; c != nil {
		out = append(out, fmt.Sprint("> ", c.Topic, " ", c.Partition))
	}
	return out
}

func TestDescribeTopicPartitionsPages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, func(_ int32, c *Config) {
			c.Static = map[string]string{"max.request.partition.size.limit": "4"}
		})
		n := h.nodes[1]
		h.create(1, "c", 2, 1)
		h.create(1, "a", 3, 1)
		h.create(1, "b", 1, 1)
		bad := kerr.InvalidTopicException.Code
		for _, c := range []struct {
			name   string
			limit  int32
			cursor *kmsg.DescribeTopicPartitionsRequestCursor
			topics []string
			want   []string
		}{
			{"all, as many as the broker allows", 2000, nil, nil, []string{"a:012", "b:0", "> c 0"}},
			{"on it goes", 2000, cursor("c", 0), nil, []string{"c:01"}},
			{"in the middle of a topic", 2, nil, nil, []string{"a:01", "> a 2"}},
			{"from there", 2, cursor("a", 2), nil, []string{"a:2", "b:0", "> c 0"}},
			{"at least one", 0, nil, nil, []string{"a:0", "> a 1"}},
			{"a negative limit", -5, cursor("a", 1), nil, []string{"a:1", "> a 2"}},
			{"a cursor behind its topic's end", 2, cursor("a", 7), nil, []string{"a:", "b:0", "c:0", "> c 1"}},
			{"a cursor at a topic that is gone", 9, cursor("aa", 1), nil, []string{"b:0", "c:01"}},
			{"a cursor behind all", 9, cursor("z", 0), nil, nil},
			{"named, sorted, once each", 9, nil, []string{"c", "b", "c"}, []string{"b:0", "c:01"}},
			{"unknown ones take no room", 1, nil, []string{"a!", "aa", "b", "x"}, []string{fmt.Sprint("a!:!", bad), "aa:!3", "b:0", "> x 0"}},
			{"the rest of it", 1, cursor("x", 0), []string{"a!", "aa", "b", "x"}, []string{"x:!3"}},
			{"a cursor that is not among them", 9, cursor("a", 0), []string{"b", "c"}, []string{"b:!42", "c:!42"}},
			{"a negative partition", 9, cursor("b", -1), []string{"b", "c"}, []string{"b:!42", "c:!42"}},
			{"a negative partition of all", 9, cursor("b", -1), nil, nil},
		} {
			assert.Equal(t, c.want, page(n.describe(c.limit, c.cursor, c.topics...)), c.name)
		}
	})
}

// KIP-966: who left the ISR while it was too small may still lead.
func TestDescribeTopicPartitionsELR(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		id := h.create(1, "t", 1, 2, "min.insync.replicas", "2")
		h.create(1, topicConsumerOffsets, 1, 1)
		describe := func(n *testNode) kmsg.DescribeTopicPartitionsResponseTopicPartition {
			resp := n.describe(2000, nil, "t")
			require.Len(t, resp.Topics, 1)
			require.EqualValues(t, id, resp.Topics[0].TopicID)
			require.False(t, resp.Topics[0].IsInternal)
			require.Len(t, resp.Topics[0].Partitions, 1)
			return resp.Topics[0].Partitions[0]
		}
		assert.True(t, h.nodes[1].describe(1, nil, topicConsumerOffsets).Topics[0].IsInternal)
		lead := h.leader("t", 0)
		h.isr("t", 0, 2)
		p := describe(lead)
		assert.Equal(t, lead.id, p.LeaderID)
		assert.Len(t, p.Replicas, 2)
		assert.Len(t, p.ISR, 2)
		assert.Equal(t, [][]int32{{}, {}}, [][]int32{p.EligibleLeaderReplicas, p.LastKnownELR}, "none, and not unknown")
		assert.Empty(t, p.OfflineReplicas)

		follower := h.nodes[p.Replicas[0]+p.Replicas[1]-lead.id]
		lead.mustProduce("t", 0, "a")
		follower.stop(true)
		h.isr("t", 0, 1)
		p = describe(lead)
		assert.Equal(t, [][]int32{{lead.id}, {follower.id}, {}}, [][]int32{p.ISR, p.EligibleLeaderReplicas, p.LastKnownELR})
		h.await(func() bool { return len(describe(lead).OfflineReplicas) == 1 })
		assert.Equal(t, []int32{follower.id}, describe(lead).OfflineReplicas)
	})
}

// Without a leader that lives there is none, which is no error here; the last one known is told.
func TestDescribeTopicPartitionsWithoutLeader(t *testing.T) {
	img := &controller.Image{Brokers: map[int32]*controller.Broker{1: {ID: 1, Fenced: true}, 2: {ID: 2}}}
	topic := &controller.Topic{Name: "t", Partitions: []*controller.Partition{
		{Replicas: []int32{1, 2}, ISR: []int32{1}, Leader: 1, LeaderEpoch: 7},
		{Replicas: []int32{1, 3}, LastKnownELR: []int32{3}, Leader: -1, LeaderEpoch: 8},
	}}
	page := topicPage(img, topic, 0, 2)
	assert.Zero(t, page.ErrorCode)
	dead, none := page.Partitions[0], page.Partitions[1]
	assert.Equal(t, []any{int16(0), int32(-1), int32(7), []int32{1}}, []any{dead.ErrorCode, dead.LeaderID, dead.LeaderEpoch, dead.OfflineReplicas})
	assert.Equal(t, []any{int16(0), int32(-1), int32(8), []int32{1, 3}}, []any{none.ErrorCode, none.LeaderID, none.LeaderEpoch, none.OfflineReplicas})
	assert.Equal(t, [][]int32{{}, {3}}, [][]int32{none.EligibleLeaderReplicas, none.LastKnownELR})
}
