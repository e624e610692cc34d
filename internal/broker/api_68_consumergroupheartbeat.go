package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/internal/groups/machine"
	sets "github.com/insynclog/insync/internal/groups/partition"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsumerGroupHeartbeat (68), versions 0-1: everything that a member of a consumer group tells and is told (KIP-848).
//
// Behaviour: the request's optional fields are what changed, the answer's assignment too. The broker assigns. A pattern is RE2, must match a topic's whole name, never matches internal topics, and is
// INVALID_REGULAR_EXPRESSION if it is none or very long.
//
// Versions: v0 the coordinator makes the member's id · v1 the member does (KIP-1082), and may subscribe by pattern.
func (b *Broker) consumerGroupHeartbeat(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ConsumerGroupHeartbeatRequest)
	h := &machine.ConsumerHeartbeat{
		Group: req.Group, MemberID: req.MemberID, MemberEpoch: req.MemberEpoch, InstanceID: text(req.InstanceID), ClientID: r.ClientID, ClientHost: clientHost(r),
		Rack: req.RackID, RebalanceTimeout: -1, Topics: req.SubscribedTopicNames, Assignor: req.ServerAssignor,
	}
	if req.RebalanceTimeoutMillis >= 0 {
		h.RebalanceTimeout = millis(req.RebalanceTimeoutMillis)
	}
	if req.Version >= 1 {
		h.Regex = req.SubscribedTopicRegex
	} else if h.MemberID == "" && h.MemberEpoch == machine.JoinEpoch {
		h.MemberID = newMemberID()
	}
	if req.Topics != nil {
		owned := make([]sets.Topic, 0, len(req.Topics))
		for i := range req.Topics {
			owned = append(owned, sets.Topic{ID: req.Topics[i].TopicID, Numbers: req.Topics[i].Partitions})
		}
		set := sets.FromTopics(owned...)
		h.Owned = &set
	}
	version := req.Version
	done := func(result any, err error) {
		resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
		resp.Version, resp.ErrorCode, resp.ErrorMessage = version, codeOf(err), messageOf(err)
		if s, ok := result.(*machine.ConsumerState); ok && err == nil {
			resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = &s.MemberID, s.MemberEpoch, int32(s.HeartbeatInterval/time.Millisecond)
			resp.Assignment = assignment(s.Assignment)
		}
		reply(transport.Reply{Message: resp})
	}
	if h.Regex != nil && *h.Regex != "" {
		if _, err := groups.CompilePattern(*h.Regex); err != nil {
			done(nil, kerr.InvalidRegularExpression)
			return
		}
	}
	if req.Group == "" {
		done(nil, machine.ErrInvalidRequest)
		return
	}
	b.submitGroup(req.Group, h, done)
}

// assignment is a member's partitions as it is told, null if they are as before.
func assignment(set *sets.Set) *kmsg.ConsumerGroupHeartbeatResponseAssignment {
	if set == nil {
		return nil
	}
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	for _, t := range *set {
		out := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
		out.TopicID, out.Partitions = t.ID, t.Numbers
		a.Topics = append(a.Topics, out)
	}
	return &a
}
