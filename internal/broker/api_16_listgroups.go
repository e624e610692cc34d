package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListGroups (16), versions 0-5: the groups that this node coordinates. Clients ask every node.
//
// Behaviour: while one of the node's coordinators is loading the answer is COORDINATOR_LOAD_IN_PROGRESS: a list with gaps would look complete. Filters ignore case; an unknown state or type fits no group.
//
// Versions: v4 states (KIP-518) · v5 types (KIP-848).
func (b *Broker) listGroups(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ListGroupsRequest)
	resp := kmsg.NewPtrListGroupsResponse()
	resp.Version = req.Version
	fits := func(filter []string, v string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, v) })
	}
	var all []machine.Listing
	err := groups.ErrNotCoordinator
	if !b.selfFenced(time.Now()) {
		err = b.groups.ReadAll(func(c *machine.Coordinator) { all = append(all, c.List()...) })
	}
	if resp.ErrorCode = codeOf(err); err != nil {
		all = nil
	}
	for _, l := range all {
		if !fits(req.StatesFilter, l.State) || !fits(req.TypesFilter, l.Type) {
			continue
		}
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState, g.GroupType = l.ID, l.ProtocolType, l.State, l.Type
		resp.Groups = append(resp.Groups, g)
	}
	reply(transport.Reply{Message: resp})
}
