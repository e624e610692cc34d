package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Heartbeat (12), versions 0-4: a member of a classic group lives.
//
// Behaviour: REBALANCE_IN_PROGRESS tells the member to join again. An unknown group is UNKNOWN_MEMBER_ID, an empty id INVALID_GROUP_ID. A coordinator that is still loading says success.
//
// Versions: v3 instance id (KIP-345).
func (b *Broker) groupHeartbeat(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.HeartbeatRequest)
	version := req.Version
	done := func(_ any, err error) {
		resp := kmsg.NewPtrHeartbeatResponse()
		resp.Version, resp.ErrorCode = version, codeOf(err)
		reply(transport.Reply{Message: resp})
	}
	if req.Group == "" {
		done(nil, machine.ErrInvalidGroupID)
		return
	}
	b.submitGroup(req.Group, &machine.Heartbeat{Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID), Generation: req.Generation}, done)
}
