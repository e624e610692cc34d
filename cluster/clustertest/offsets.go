package clustertest

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// end returns the high watermark of a partition from its leader, waiting for a leader that knows it.
func (c *Cluster) end(ctx context.Context, topic string, partition int32) int64 {
	c.tb.Helper()
	for {
		end, err := c.askEnd(ctx, topic, partition)
		if err == nil {
			return end
		}
		if ctx.Err() != nil {
			c.tb.Fatalf("clustertest: end of %s-%d: %v", topic, partition, err)
		}
		<-c.client().Refresh(topic)
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *Cluster) askEnd(ctx context.Context, topic string, partition int32) (int64, error) {
	t, err := c.client().Topic(ctx, topic, false)
	if err != nil {
		return 0, err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = partition, -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.client().Request(ctx, t.Partitions[partition].Leader, req)
	if err != nil {
		return 0, err
	}
	r, ok := resp.(*kmsg.ListOffsetsResponse)
	if !ok || len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("unexpected answer %T", resp)
	}
	p := r.Topics[0].Partitions[0]
	return p.Offset, kerr.ErrorForCode(p.ErrorCode)
}
