package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// JoinGroup (11), versions 0-9: a member wants to be in a group of the classic protocol, or in again.
//
// Behaviour: answered when the members have come together, which may take as long as the rebalance timeout. The leader gets the others' subscriptions, which mean nothing to the broker. An empty group
// id is INVALID_GROUP_ID.
//
// Versions:
//   - v0: the session timeout is the rebalance timeout, too · v4: a new member is given its id first, with MEMBER_ID_REQUIRED (KIP-394) · v5: static members (KIP-345)
//   - v7: protocol type, and null for none (KIP-559) · v8: reason, which is not looked at (KIP-800) · v9: a leader may be told not to assign (KIP-814)
func (b *Broker) joinGroup(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.JoinGroupRequest)
	j := &machine.Join{
		Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID), ClientID: r.ClientID, ClientHost: clientHost(r),
		SessionTimeout: millis(req.SessionTimeoutMillis), ProtocolType: req.ProtocolType,
		RequireMemberID: req.Version >= 4, SkipAssignment: req.Version >= 9,
	}
	if req.Version >= 1 {
		j.RebalanceTimeout = max(0, millis(req.RebalanceTimeoutMillis))
	}
	for i := range req.Protocols {
		j.Protocols = append(j.Protocols, machine.Protocol{Name: req.Protocols[i].Name, Metadata: kept(req.Protocols[i].Metadata)})
	}
	version, memberID := req.Version, req.MemberID
	done := func(result any, err error) { reply(transport.Reply{Message: joined(version, memberID, result, err)}) }
	if req.Group == "" {
		done(nil, machine.ErrInvalidGroupID)
		return
	}
	b.submitGroup(req.Group, j, done)
}

// joined is the answer to a join.
func joined(version int16, memberID string, result any, err error) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Version, resp.ErrorCode = version, codeOf(err)
	resp.Generation, resp.MemberID = -1, memberID
	if version < 7 {
		resp.Protocol = new(string)
	}
	j, _ := result.(*machine.Joined)
	if j == nil {
		return resp
	}
	resp.Generation, resp.MemberID, resp.LeaderID, resp.SkipAssignment = j.Generation, j.MemberID, j.Leader, j.SkipAssignment
	if err == nil || version < 7 {
		resp.ProtocolType, resp.Protocol = &j.ProtocolType, &j.Protocol
	}
	for i := range j.Members {
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID, m.InstanceID, m.ProtocolMetadata = j.Members[i].MemberID, optional(j.Members[i].InstanceID), j.Members[i].Metadata
		resp.Members = append(resp.Members, m)
	}
	return resp
}
