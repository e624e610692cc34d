package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// LeaveGroup (13), versions 0-5: a member leaves a classic group, or an administrator removes members.
//
// Behaviour: each member has an error of its own, UNKNOWN_MEMBER_ID if the group is not known. A static member may be named by its instance id alone.
//
// Versions: up to v2 one member, whose error is the answer's · v3 several, and static ones (KIP-345) · v5 reason, which is not looked at (KIP-800).
func (b *Broker) leaveGroup(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.LeaveGroupRequest)
	l := &machine.Leave{Group: req.Group}
	if req.Version < 3 {
		l.Members = []machine.LeavingMember{{MemberID: req.MemberID}}
	}
	for i := range req.Members {
		l.Members = append(l.Members, machine.LeavingMember{MemberID: req.Members[i].MemberID, InstanceID: text(req.Members[i].InstanceID)})
	}
	version := req.Version
	done := func(result any, err error) { reply(transport.Reply{Message: left(version, l, result, err)}) }
	if req.Group == "" {
		done(nil, machine.ErrInvalidGroupID)
		return
	}
	b.submitGroup(req.Group, l, done)
}

// left is the answer to a leave.
func left(version int16, l *machine.Leave, result any, err error) *kmsg.LeaveGroupResponse {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.Version, resp.ErrorCode = version, codeOf(err)
	got, _ := result.(*machine.Left)
	if got == nil || err != nil {
		return resp
	}
	if version < 3 {
		resp.ErrorCode = codeOf(got.Errs[0])
		return resp
	}
	for i, m := range l.Members {
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID, out.ErrorCode = m.MemberID, optional(m.InstanceID), codeOf(got.Errs[i])
		resp.Members = append(resp.Members, out)
	}
	return resp
}
