package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeTopicPartitions (75), version 0: topics with their partitions, page by page, and who may lead them (KIP-966).
//
// Behaviour:
//   - Topics come in the order of their names, each once. An empty list asks for all. An unknown one that was named is UNKNOWN_TOPIC_OR_PARTITION, or INVALID_TOPIC_EXCEPTION.
//   - A page has as many partitions as asked for, at least one and at most max.request.partition.size.limit (2000); the next page begins at the answer's cursor. A topic may begin on one page and go on on the next.
//   - A cursor may point at a topic or partition that is gone by now: the page goes on behind it. One that is not among the topics named, and a negative partition, are INVALID_REQUEST for each of them.
//   - A leader that is not alive is -1, without an error; replicas on brokers that are not alive are offline. ELR and last known ELR are as in metadata.
func (b *Broker) describeTopicPartitions(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeTopicPartitionsRequest)
	img := b.metadataImage()
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	resp.Version = req.Version
	from, first := "", int32(0)
	if req.Cursor != nil {
		from, first = req.Cursor.Topic, req.Cursor.Partition
	}
	var names []string
	if len(req.Topics) == 0 {
		names = slices.Sorted(maps.Keys(img.Topics))
	} else {
		for i := range req.Topics {
			names = append(names, req.Topics[i].Topic)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	if req.Cursor != nil && (first < 0 || len(req.Topics) > 0 && !slices.Contains(names, from)) {
		for i := range req.Topics {
			resp.Topics = append(resp.Topics, topicRefused(req.Topics[i].Topic, kerr.InvalidRequest.Code))
		}
		reply(transport.Reply{Message: resp})
		return
	}
	begin, _ := slices.BinarySearch(names, from)
	left := int(max(1, min(b.staticNumber("max.request.partition.size.limit"), int64(req.ResponsePartitionLimit))))
	for _, name := range names[begin:] {
		start := 0
		if name == from {
			start = int(first)
		}
		t := img.Topics[name]
		switch {
		case left == 0:
			// The topic that the page ends in front of need not exist.
			resp.NextCursor = cursorAt(name, 0)
		case t == nil:
			code := kerr.UnknownTopicOrPartition.Code
			if !validTopicName(name) {
				code = kerr.InvalidTopicException.Code
			}
			resp.Topics = append(resp.Topics, topicRefused(name, code))
		default:
			start = min(start, len(t.Partitions))
			end := min(start+left, len(t.Partitions))
			resp.Topics = append(resp.Topics, topicPage(img, t, start, end))
			left -= end - start
			if end < len(t.Partitions) {
				resp.NextCursor = cursorAt(name, int32(end))
			}
		}
		if resp.NextCursor != nil {
			break
		}
	}
	reply(transport.Reply{Message: resp})
}

func cursorAt(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

func topicRefused(name string, code int16) kmsg.DescribeTopicPartitionsResponseTopic {
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.Topic, t.ErrorCode, t.IsInternal = &name, code, code != kerr.InvalidRequest.Code && isInternal(name)
	return t
}

// topicPage describes the partitions [start, end) of a topic.
func topicPage(img *controller.Image, t *controller.Topic, start, end int) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, isInternal(t.Name)
	for i, p := range t.Partitions[start:end] {
		o := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		o.Partition, o.LeaderID, o.LeaderEpoch, o.Replicas, o.ISR = int32(start+i), p.Leader, p.LeaderEpoch, p.Replicas, p.ISR
		// Empty, not null: this node knows them.
		o.EligibleLeaderReplicas, o.LastKnownELR = append([]int32{}, p.ELR...), append([]int32{}, p.LastKnownELR...)
		if _, ok := alive(img, p.Leader); !ok {
			o.LeaderID = -1
		}
		for _, id := range p.Replicas {
			if _, ok := alive(img, id); !ok {
				o.OfflineReplicas = append(o.OfflineReplicas, id)
			}
		}
		out.Partitions = append(out.Partitions, o)
	}
	return out
}
