package machine

import (
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// replayClassic takes an entry of the log. On the group as it lives only its end has an effect: for the rest the decision that was written has the whole of it.
func (c *Coordinator) replayClassic(e *entry.Classic) {
	g := c.groups[e.Group]
	switch {
	case e.Gone:
		if g != nil && g.classic != nil {
			g.classic.stop()
			g.classic = nil
			c.prune(g)
		}
		return
	case c.live:
		if g != nil && g.classic != nil {
			g.classic.saved = e
		}
		return
	}
	g = c.group(e.Group)
	k := newClassicGroup(c, g)
	k.protocolType, k.protocol, k.generation, k.leader, k.stateAt, k.saved = e.ProtocolType, e.Protocol, e.Generation, e.Leader, e.StateAt, e
	for i := range e.Members {
		m := &e.Members[i]
		rebalance := m.RebalanceTimeoutMillis
		if rebalance < 0 { // of a version that had none
			rebalance = m.SessionTimeoutMillis
		}
		k.insert(&classicMember{
			id: m.ID, instanceID: m.InstanceID, clientID: m.ClientID, clientHost: m.ClientHost, session: time.Duration(m.SessionTimeoutMillis) * time.Millisecond,
			rebalance: time.Duration(rebalance) * time.Millisecond, protocols: []Protocol{{Name: e.Protocol, Metadata: m.Subscription}}, assignment: m.Assignment, synced: true,
		})
	}
	if len(k.members) > 0 {
		k.state = classicStable
	}
	g.classic = k
}

// insert puts a member into the tables.
func (k *classicGroup) insert(m *classicMember) {
	if k.members[m.id] == nil {
		k.order = append(k.order, m.id)
	}
	k.members[m.id] = m
	k.reads = nil
	if m.instanceID != "" {
		k.instances[m.instanceID] = m.id
	}
}

// loaded begins the sessions.
func (k *classicGroup) loaded(now time.Time, _ *Effects) {
	for _, id := range k.order {
		k.keepAlive(now, k.members[id])
	}
}
