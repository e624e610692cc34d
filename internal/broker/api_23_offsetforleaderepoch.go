package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetForLeaderEpoch (23), versions 2-4: where a leader epoch ends in the leader's log (KIP-101, KIP-279, KIP-320). Consumers find out by it after a leader change whether what they read was cut off.
//
// Behaviour: the largest known epoch that is not above the one asked for, and its end: the start of the next one, or the log end for the latest. -1, -1 for an epoch above all known ones. Only the leader
// answers, after the check of the current leader epoch.
//
// Versions: v3 replica id, which has no influence here.
func (b *Broker) offsetForLeaderEpoch(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.OffsetForLeaderEpochRequest)
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	resp.Version = req.Version
	fenced := b.selfFenced(time.Now())
	for t := range req.Topics {
		topic := &req.Topics[t]
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = topic.Topic
		for i := range topic.Partitions {
			p := &topic.Partitions[i]
			o := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			o.Partition, o.LeaderEpoch, o.EndOffset = p.Partition, -1, -1
			if err := b.epochEnd(topic.Topic, p, fenced, &o); err != nil {
				o.ErrorCode = codeOf(err)
			}
			out.Partitions = append(out.Partitions, o)
		}
		resp.Topics = append(resp.Topics, out)
	}
	reply(transport.Reply{Message: resp})
}

func (b *Broker) epochEnd(topic string, p *kmsg.OffsetForLeaderEpochRequestTopicPartition, fenced bool, o *kmsg.OffsetForLeaderEpochResponseTopicPartition) error {
	if fenced {
		return b.silence()
	}
	part, err := b.local(topic, p.Partition)
	if err != nil {
		return err
	}
	if err := part.replica.CheckLeader(p.CurrentLeaderEpoch); err != nil {
		return err
	}
	if epoch, end, ok := part.replica.Log().EndOffsetForEpoch(p.LeaderEpoch); ok {
		o.LeaderEpoch, o.EndOffset = epoch, end
	}
	return nil
}
