package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeGroups (15), versions 0-6: classic groups with their members.
//
// Behaviour: a group that is not known, or not classic, is in state Dead without an error; from v6 on GROUP_ID_NOT_FOUND. Subscriptions and assignments are shown as the members gave them, while the
// group is stable. Operations that the client may perform are not looked up: there is no authorization yet.
//
// Versions: v3 authorized operations (KIP-430) · v4 instance ids (KIP-345) · v6 message, GROUP_ID_NOT_FOUND (KIP-1043).
func (b *Broker) describeGroups(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeGroupsRequest)
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.Version = req.Version
	for _, id := range req.Groups {
		resp.Groups = append(resp.Groups, b.describeGroup(req.Version, id))
	}
	reply(transport.Reply{Message: resp})
}

func (b *Broker) describeGroup(version int16, id string) kmsg.DescribeGroupsResponseGroup {
	g := kmsg.NewDescribeGroupsResponseGroup()
	g.Group, g.AuthorizedOperations = id, noOperations
	var d machine.Description
	found := false
	err := machine.ErrInvalidGroupID
	if id != "" {
		err = b.readGroup(id, func(c *machine.Coordinator) { d, found = c.Describe(id) })
	}
	switch {
	case err != nil:
	case !found:
		if g.State = "Dead"; version >= 6 {
			err = machine.ErrGroupIDNotFound
		}
	default:
		g.State, g.ProtocolType, g.Protocol = d.State, d.ProtocolType, d.Protocol
		for _, m := range d.Members {
			out := kmsg.NewDescribeGroupsResponseGroupMember()
			out.MemberID, out.InstanceID, out.ClientID, out.ClientHost = m.MemberID, optional(m.InstanceID), m.ClientID, m.ClientHost
			out.ProtocolMetadata, out.MemberAssignment = m.Metadata, m.Assignment
			g.Members = append(g.Members, out)
		}
	}
	g.ErrorCode, g.ErrorMessage = codeOf(err), messageOf(err)
	return g
}
