package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// SyncGroup (14), versions 0-5: the leader of a classic group hands in the assignment, everybody gets a part.
//
// Behaviour: answered when the leader's assignment is on the in-sync replicas. An unknown group is UNKNOWN_MEMBER_ID, an empty id INVALID_GROUP_ID.
//
// Versions: v3 instance id (KIP-345) · v5 protocol type and name, which must be there and fit, else INCONSISTENT_GROUP_PROTOCOL (KIP-559).
func (b *Broker) syncGroup(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.SyncGroupRequest)
	s := &machine.Sync{
		Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID), Generation: req.Generation,
		ProtocolType: text(req.ProtocolType), Protocol: text(req.Protocol),
	}
	for i := range req.GroupAssignment {
		s.Assignments = append(s.Assignments, machine.Assignment{MemberID: req.GroupAssignment[i].MemberID, Assignment: kept(req.GroupAssignment[i].MemberAssignment)})
	}
	version := req.Version
	done := func(result any, err error) {
		resp := kmsg.NewPtrSyncGroupResponse()
		resp.Version, resp.ErrorCode, resp.MemberAssignment = version, codeOf(err), []byte{}
		if got, ok := result.(*machine.Synced); ok && err == nil {
			resp.ProtocolType, resp.Protocol = optional(got.ProtocolType), optional(got.Protocol)
			resp.MemberAssignment = append(resp.MemberAssignment, got.Assignment...)
		}
		reply(transport.Reply{Message: resp})
	}
	switch {
	case req.Group == "":
		done(nil, machine.ErrInvalidGroupID)
	case version >= 5 && (req.ProtocolType == nil || req.Protocol == nil):
		done(nil, machine.ErrInconsistentProtocol)
	default:
		b.submitGroup(req.Group, s, done)
	}
}
