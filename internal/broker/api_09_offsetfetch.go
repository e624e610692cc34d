package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetFetch (9), versions 1-10: how far groups have come.
//
// Behaviour:
//   - An unknown group, and a partition without an offset, is offset -1 and no error: consumers begin with it.
//   - Only committed offsets are read. require_stable (KIP-447) is always fulfilled: without transactions nothing is unstable.
//   - null topics are all that the group has committed. From v10 on topics that no longer exist are left out, for they have no id; asked for by id they are UNKNOWN_TOPIC_ID.
//   - An error of the group is the answer's (v2-7), the group's (v8+), or each partition's (v1).
//
// Versions:
//   - v2: null topics, error of the group · v5: leader epoch (KIP-320) · v7: require_stable (KIP-447) · v8: several groups (KIP-709)
//   - v9: member id and epoch are checked (KIP-848) · v10: topic ids (KIP-848)
func (b *Broker) offsetFetch(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.OffsetFetchRequest)
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.Version = req.Version
	if req.Version >= 8 {
		for i := range req.Groups {
			resp.Groups = append(resp.Groups, b.fetchOffsets(req.Version, &req.Groups[i]))
		}
		reply(transport.Reply{Message: resp})
		return
	}
	want := kmsg.NewOffsetFetchRequestGroup()
	want.Group = req.Group
	if req.Topics != nil || req.Version < 2 {
		want.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for i := range req.Topics {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = req.Topics[i].Topic, req.Topics[i].Partitions
		want.Topics = append(want.Topics, t)
	}
	got := b.fetchOffsets(req.Version, &want)
	resp.ErrorCode = got.ErrorCode
	if got.ErrorCode != 0 && req.Version < 2 {
		got.Topics = failedOffsets(&want, got.ErrorCode)
	}
	for i := range got.Topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = got.Topics[i].Topic
		for _, p := range got.Topics[i].Partitions {
			t.Partitions = append(t.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		resp.Topics = append(resp.Topics, t)
	}
	reply(transport.Reply{Message: resp})
}

// fetchOffsets answers for one group.
func (b *Broker) fetchOffsets(version int16, want *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	g := kmsg.NewOffsetFetchResponseGroup()
	g.Group = want.Group
	img := b.metadataImage()
	var refused error
	err := b.readGroup(want.Group, func(c *machine.Coordinator) {
		if version >= 9 {
			if refused = c.CheckFetch(want.Group, text(want.MemberID), want.MemberEpoch); refused != nil {
				return
			}
		}
		if want.Topics == nil {
			g.Topics = allOffsets(c, img, version, want.Group)
			return
		}
		for i := range want.Topics {
			g.Topics = append(g.Topics, someOffsets(c, img, version, want.Group, &want.Topics[i]))
		}
	})
	if err == nil {
		err = refused
	}
	if g.ErrorCode = codeOf(err); g.ErrorCode != 0 {
		g.Topics = nil
	}
	return g
}

// allOffsets lists what a group has committed.
func allOffsets(c *machine.Coordinator, img *controller.Image, version int16, group string) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	for _, o := range c.Offsets(group) {
		if n := len(topics); n == 0 || topics[n-1].Topic != o.Topic {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic = o.Topic
			if version >= 10 {
				known := img.Topics[o.Topic]
				if known == nil {
					continue
				}
				t.TopicID = known.ID
			}
			topics = append(topics, t)
		}
		t := &topics[len(topics)-1]
		t.Partitions = append(t.Partitions, fetchedOffset(o))
	}
	return topics
}

// someOffsets looks up what was asked for.
func someOffsets(c *machine.Coordinator, img *controller.Image, version int16, group string, want *kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchResponseGroupTopic {
	t := kmsg.NewOffsetFetchResponseGroupTopic()
	t.Topic, t.TopicID = want.Topic, want.TopicID
	name := want.Topic
	if version >= 10 {
		if name = topicName(img, log.TopicID(want.TopicID)); name == "" {
			t.Partitions = withoutOffsets(want.Partitions, codeOf(errUnknownTopicID))
			return t
		}
	}
	for _, p := range want.Partitions {
		if o, ok := c.Offset(group, machine.TopicPartition{Topic: name, Partition: p}); ok {
			t.Partitions = append(t.Partitions, fetchedOffset(o))
		} else {
			t.Partitions = append(t.Partitions, withoutOffset(p, 0))
		}
	}
	return t
}

func fetchedOffset(o machine.Offset) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := withoutOffset(o.Partition, 0)
	p.Offset, p.LeaderEpoch, *p.Metadata = o.Offset, o.LeaderEpoch, o.Metadata
	return p
}

func withoutOffset(number int32, code int16) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = number, -1, -1, new(string), code
	return p
}

func withoutOffsets(numbers []int32, code int16) (ps []kmsg.OffsetFetchResponseGroupTopicPartition) {
	for _, n := range numbers {
		ps = append(ps, withoutOffset(n, code))
	}
	return ps
}

// failedOffsets gives every partition asked for the group's error.
func failedOffsets(want *kmsg.OffsetFetchRequestGroup, code int16) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	for i := range want.Topics {
		t := kmsg.NewOffsetFetchResponseGroupTopic()
		t.Topic, t.Partitions = want.Topics[i].Topic, withoutOffsets(want.Topics[i].Partitions, code)
		topics = append(topics, t)
	}
	return topics
}
