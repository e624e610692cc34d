package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetDelete (47), version 0: a group forgets how far it has come in some partitions (KIP-496).
//
// Behaviour: partitions of topics that a member subscribes to are GROUP_SUBSCRIBED_TO_TOPIC, those that do not exist UNKNOWN_TOPIC_OR_PARTITION; one without an offset is deleted as well as any. A group
// that has members and is not of consumers is NON_EMPTY_GROUP as a whole.
func (b *Broker) offsetDelete(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.OffsetDeleteRequest)
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.Version = req.Version
	d := &machine.DeleteOffsets{Group: req.Group}
	var codes []*int16 // of the partitions in d
	img := b.metadataImage()
	topics := make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &topics[i]
		to.Topic = from.Topic
		to.Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(from.Partitions))
		for j := range from.Partitions {
			p, out := from.Partitions[j].Partition, &to.Partitions[j]
			out.Partition = p
			if partitionOf(img, from.Topic, p) == nil {
				out.ErrorCode = codeOf(replication.ErrUnknownTopic)
				continue
			}
			codes = append(codes, &out.ErrorCode)
			d.Partitions = append(d.Partitions, machine.TopicPartition{Topic: from.Topic, Partition: p})
		}
	}
	done := func(result any, err error) {
		if resp.ErrorCode = codeOf(err); err == nil {
			for i, err := range result.(*machine.DeletedOffsets).Errs {
				*codes[i] = codeOf(err)
			}
			resp.Topics = topics
		}
		reply(transport.Reply{Message: resp})
	}
	if req.Group == "" {
		done(nil, machine.ErrInvalidGroupID)
		return
	}
	b.submitGroup(req.Group, d, done)
}
