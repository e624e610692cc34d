package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/groups/machine"
	sets "github.com/insynclog/insync/internal/groups/partition"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsumerGroupDescribe (69), versions 0-1: consumer groups with their members (KIP-848).
//
// Behaviour: a group that is not known, or not a consumer group, is GROUP_ID_NOT_FOUND; an empty id INVALID_GROUP_ID. Partitions of topics that no longer exist are left out of assignments.
//
// Versions: v1 which protocol a member speaks (KIP-1099).
func (b *Broker) consumerGroupDescribe(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ConsumerGroupDescribeRequest)
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	resp.Version = req.Version
	img := b.metadataImage()
	for _, id := range req.Groups {
		resp.Groups = append(resp.Groups, b.describeConsumerGroup(img, id))
	}
	reply(transport.Reply{Message: resp})
}

func (b *Broker) describeConsumerGroup(img *controller.Image, id string) kmsg.ConsumerGroupDescribeResponseGroup {
	g := kmsg.NewConsumerGroupDescribeResponseGroup()
	g.Group, g.AuthorizedOperations = id, noOperations
	var d machine.ConsumerDescription
	found := false
	err := machine.ErrInvalidGroupID
	if id != "" {
		err = b.readGroup(id, func(c *machine.Coordinator) { d, found = c.DescribeConsumer(id) })
	}
	if err == nil && !found {
		err = machine.ErrGroupIDNotFound
	}
	if g.ErrorCode, g.ErrorMessage = codeOf(err), messageOf(err); err != nil {
		return g
	}
	g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName = d.State, d.Epoch, d.TargetEpoch, d.Assignor
	for _, m := range d.Members {
		out := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		out.MemberID, out.InstanceID, out.RackID, out.MemberEpoch = m.MemberID, optional(m.InstanceID), optional(m.Rack), m.Epoch
		out.ClientID, out.ClientHost, out.SubscribedTopics, out.SubscribedTopicRegex = m.ClientID, m.ClientHost, m.Topics, optional(m.Regex)
		out.Assignment, out.TargetAssignment = namedAssignment(img, m.Assigned), namedAssignment(img, m.Target)
		if out.MemberType = 1; m.Classic {
			out.MemberType = 0
		}
		g.Members = append(g.Members, out)
	}
	return g
}

// namedAssignment is a set of partitions with the names of their topics.
func namedAssignment(img *controller.Image, set sets.Set) kmsg.Assignment {
	a := kmsg.NewAssignment()
	for _, t := range set {
		name := topicName(img, log.TopicID(t.ID))
		if name == "" {
			continue
		}
		out := kmsg.NewAssignmentTopicPartition()
		out.TopicID, out.Topic, out.Partitions = t.ID, name, t.Numbers
		a.TopicPartitions = append(a.TopicPartitions, out)
	}
	return a
}
