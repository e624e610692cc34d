package machine

import (
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/embedded"
)

// convertible tells whether the coordinator could assign the group's members: they are consumers, and their subscriptions and what they work on can be read.
func (k *classicGroup) convertible() bool {
	return k.consumers() && !slices.ContainsFunc(k.order, func(id string) bool {
		m := k.members[id]
		if len(m.protocols) == 0 {
			return true
		}
		if _, err := embedded.ParseSubscription(m.protocols[0].Metadata); err != nil {
			return true
		}
		_, err := embedded.ParseAssignment(m.assignment)
		return err != nil && len(m.assignment) > 0
	})
}

// migrants are the members, in order of joining.
func (k *classicGroup) migrants() []migrant {
	out := make([]migrant, len(k.order))
	for i, id := range k.order {
		m := k.members[id]
		out[i] = migrant{
			id: m.id, instanceID: m.instanceID, clientID: m.clientID, clientHost: m.clientHost, session: m.session, rebalance: m.rebalance,
			protocols: m.protocols, assignment: m.assignment,
		}
	}
	return out
}

// newClassicFrom makes a stable group without timers, which loaded starts.
func newClassicFrom(c *Coordinator, g *group, generation int32, leader string, members []migrant) *classicGroup {
	k := newClassicGroup(c, g)
	k.state, k.protocolType, k.generation, k.leader = classicStable, consumerProtocol, generation, leader
	for _, m := range members {
		k.insert(&classicMember{
			id: m.id, instanceID: m.instanceID, clientID: m.clientID, clientHost: m.clientHost, session: m.session, rebalance: m.rebalance,
			protocols: m.protocols, assignment: m.assignment, synced: true,
		})
	}
	k.protocol = k.choose()
	k.saved = k.entry()
	return k
}

// dissolve refuses whatever waits, and stops all timers.
func (k *classicGroup) dissolve(_ time.Time, err error, fx *Effects) {
	k.stop()
	for _, id := range k.order {
		k.members[id].refuse(err, fx)
	}
}
