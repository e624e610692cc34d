package broker

import (
	"context"
	"math"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetCommit (8), versions 2-10: a group notes how far it has come.
//
// Behaviour:
//   - A partition that does not exist is UNKNOWN_TOPIC_OR_PARTITION, a topic id UNKNOWN_TOPIC_ID; the others are committed. An error of the group is that of every other partition.
//   - Answered when the offsets are on the in-sync replicas of the group's partition of __consumer_offsets.
//   - Without generation (-1): for a group without members, which comes into being with it. Any offset is taken, as in Kafka: what it means is the client's business.
//
// Versions:
//   - v2-4: a retention of the offsets' own, later the broker's (KIP-211) · v6: leader epoch (KIP-320) · v7: instance id (KIP-345)
//   - v9: member epochs (KIP-848), and GROUP_ID_NOT_FOUND where it was ILLEGAL_GENERATION · v10: topic ids (KIP-848)
func (b *Broker) offsetCommit(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.OffsetCommitRequest)
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = req.Version
	c := &machine.Commit{
		Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID), Epoch: req.Generation, ByEpoch: req.Version >= 9,
	}
	if req.Version <= 4 {
		c.Retention = time.Duration(min(req.RetentionTimeMillis, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	var codes []*int16 // of the offsets that are committed
	img := b.metadataImage()
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Topic, to.TopicID = from.Topic, from.TopicID
		to.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(from.Partitions))
		t, err := committedTopic(img, req.Version, from)
		for j := range from.Partitions {
			p, out := &from.Partitions[j], &to.Partitions[j]
			out.Partition = p.Partition
			switch {
			case err != nil:
				out.ErrorCode = codeOf(err)
			case p.Partition < 0 || int(p.Partition) >= len(t.Partitions):
				out.ErrorCode = codeOf(replication.ErrUnknownTopic)
			default:
				codes = append(codes, &out.ErrorCode)
				c.Offsets = append(c.Offsets, machine.CommitOffset{
					Topic: t.Name, TopicID: t.ID, Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: text(p.Metadata),
				})
			}
		}
	}
	if len(codes) == 0 {
		reply(transport.Reply{Message: resp})
		return
	}
	b.submitGroup(req.Group, c, func(result any, err error) {
		done, _ := result.(*machine.Committed)
		for i, code := range codes {
			if err == nil {
				*code = codeOf(done.Errs[i])
			} else {
				*code = codeOf(err)
			}
		}
		reply(transport.Reply{Message: resp})
	})
}

func committedTopic(img *controller.Image, version int16, t *kmsg.OffsetCommitRequestTopic) (*controller.Topic, error) {
	if version >= 10 {
		if known := img.TopicIDs[log.TopicID(t.TopicID)]; known != nil {
			return known, nil
		}
		return nil, errUnknownTopicID
	}
	if known := img.Topics[t.Topic]; known != nil {
		return known, nil
	}
	return nil, replication.ErrUnknownTopic
}
