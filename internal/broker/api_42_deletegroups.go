package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroups (42), versions 0-2: groups without members go, with their offsets.
//
// Behaviour: a group with members is NON_EMPTY_GROUP, one that is not known GROUP_ID_NOT_FOUND, an empty id INVALID_GROUP_ID. Answered when all deletions are on the in-sync replicas, or refused.
func (b *Broker) deleteGroups(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DeleteGroupsRequest)
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.Version = req.Version
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
	one := gather(len(req.Groups)+1, func() { reply(transport.Reply{Message: resp}) })
	for i, id := range req.Groups {
		out := &resp.Groups[i]
		out.Group = id
		done := func(_ any, err error) {
			out.ErrorCode, out.ErrorMessage = codeOf(err), messageOf(err)
			one()
		}
		if id == "" {
			done(nil, machine.ErrInvalidGroupID)
			continue
		}
		b.submitGroup(id, &machine.DeleteGroup{Group: id}, done)
	}
	one()
}
