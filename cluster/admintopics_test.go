package cluster

import (
	"context"
	"testing"

	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pages answers DescribeTopicPartitions with one page after the other.
type pages struct {
	answers []kmsg.DescribeTopicPartitionsResponse
	asked   []kmsg.DescribeTopicPartitionsRequest
}

func (p *pages) Versions() map[int16]transport.VersionRange {
	return map[int16]transport.VersionRange{75: {}}
}

func (p *pages) Serve(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.DescribeTopicPartitionsRequest)
	req.Topics = append([]kmsg.DescribeTopicPartitionsRequestTopic{}, req.Topics...)
	p.asked = append(p.asked, req)
	resp := p.answers[min(len(p.asked), len(p.answers))-1]
	reply(transport.Reply{Message: &resp})
}

func pageOf(topic string, partitions ...int32) kmsg.DescribeTopicPartitionsResponseTopic {
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.Topic = &topic
	for _, n := range partitions {
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		p.Partition = n
		t.Partitions = append(t.Partitions, p)
	}
	return t
}

func next(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	return &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: topic, Partition: partition}
}

func TestDescribeTopicsPageByPage(t *testing.T) {
	p := &pages{answers: []kmsg.DescribeTopicPartitionsResponse{
		{Topics: []kmsg.DescribeTopicPartitionsResponseTopic{pageOf("a", 0, 1), pageOf("b", 0)}, NextCursor: next("b", 1)},
		{Topics: []kmsg.DescribeTopicPartitionsResponseTopic{pageOf("b", 1, 2, 3)}, NextCursor: next("c", 0)},
		{Topics: []kmsg.DescribeTopicPartitionsResponseTopic{pageOf("c", 0)}},
	}}
	client, err := transport.NewClient(transport.ClientConfig{Local: &transport.Local{NodeID: 1, Handler: p}, Network: transport.NewMem().Host("h")})
	require.NoError(t, err)
	defer client.Close()
	topics, err := NewAdmin(client).DescribeTopics(t.Context(), "c", "a", "b")
	require.NoError(t, err)
	require.Len(t, topics, 3)
	for i, want := range []int{2, 4, 1} {
		assert.Len(t, topics[i].Partitions, want, topics[i].Name)
		for n := range topics[i].Partitions {
			assert.Equal(t, int32(n), topics[i].Partitions[n].Partition)
		}
	}
	require.Len(t, p.asked, 3)
	assert.Nil(t, p.asked[0].Cursor)
	assert.Equal(t, []any{"b", int32(1)}, []any{p.asked[1].Cursor.Topic, p.asked[1].Cursor.Partition})
	assert.Len(t, p.asked[1].Topics, 2, "what is complete is not asked for again")
	assert.Len(t, p.asked[2].Topics, 1)

	// A node that goes in circles is not followed for ever.
	p.asked, p.answers = nil, []kmsg.DescribeTopicPartitionsResponse{{NextCursor: next("b", 1)}}
	_, err = NewAdmin(client).DescribeTopics(t.Context())
	assert.ErrorContains(t, err, "cursor")
	assert.Len(t, p.asked, 2)
}
