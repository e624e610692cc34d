package machine

import (
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// sync decides a SyncGroup.
func (c *Coordinator) sync(now time.Time, id uint64, g *group, r *Sync, fx *Effects) {
	switch {
	case r.Group == "":
		fx.refuse(id, ErrInvalidGroupID)
		return
	case g != nil && g.consumer != nil:
		g.consumer.classicSync(now, id, r, fx)
		return
	case g == nil || g.classic == nil:
		fx.refuse(id, ErrUnknownMember)
		return
	}
	k := g.classic
	m, err := k.inGeneration(r.MemberID, r.InstanceID, r.Generation)
	switch {
	case err != nil:
	case r.ProtocolType != "" && r.ProtocolType != k.protocolType:
		err = ErrInconsistentProtocol
	case k.state == preparingRebalance: // before the protocol: in a group that was a consumer group until now every member has had its own, and clients do not survive ErrInconsistentProtocol
		err = ErrRebalanceInProgress
	case r.Protocol != "" && r.Protocol != k.protocol && k.protocol != "":
		err = ErrInconsistentProtocol
	}
	if err != nil {
		fx.refuse(id, err)
		return
	}
	m.synced = true
	k.syncedAll()
	if k.state == classicStable {
		k.keepAlive(now, m)
		fx.reply(id, k.synced(m))
		return
	}
	if m.syncing {
		fx.refuse(m.sync, ErrRebalanceInProgress) // sent again
	}
	m.syncing, m.sync = true, id
	k.c.timers.stop(&m.timer)
	if m.id == k.leader {
		k.distribute(r)
	}
}

// syncedAll ends the time limit when everybody has asked.
func (k *classicGroup) syncedAll() {
	for _, m := range k.members { // in any order
		if !m.synced {
			return
		}
	}
	k.c.timers.stop(&k.syncEnd)
}

func (k *classicGroup) synced(m *classicMember) *Synced {
	return &Synced{ProtocolType: k.protocolType, Protocol: k.protocol, Assignment: m.assignment}
}

// distribute has the leader's assignment written, and answers with it. Members that the leader has left out get nothing.
func (k *classicGroup) distribute(r *Sync) {
	given := map[string][]byte{}
	for _, a := range r.Assignments {
		given[a.MemberID] = slices.Clone(a.Assignment)
	}
	for _, id := range k.order {
		k.members[id].assignment = given[id]
	}
	k.c.write(k.g, true, []entry.Entry{k.entry()}, func(now time.Time, err error, fx *Effects) {
		if err != nil {
			k.failSyncs(now, err, fx)
			k.rebalance(now, "the assignment could not be written", fx)
			return
		}
		k.state = classicStable
		for _, id := range k.order {
			if m := k.members[id]; m.syncing {
				m.syncing = false
				k.keepAlive(now, m)
				fx.reply(m.sync, k.synced(m))
			}
		}
	})
}

// failSyncs refuses the syncs that wait, and takes back what was assigned.
func (k *classicGroup) failSyncs(now time.Time, err error, fx *Effects) {
	for _, id := range k.order {
		m := k.members[id]
		m.assignment = nil
		if m.syncing {
			m.syncing = false
			fx.refuse(m.sync, err)
			if !m.joining {
				k.keepAlive(now, m)
			}
		}
	}
}

// dropUnsynced removes who has not asked for its assignment in time.
func (k *classicGroup) dropUnsynced(now time.Time, fx *Effects) {
	dropped := false
	for _, id := range slices.Clone(k.order) {
		if m := k.members[id]; !m.synced {
			fx.note(k.g.id, "member %s: has not asked for its assignment in time", id)
			k.remove(now, m, fx)
			dropped = true
		}
	}
	if dropped {
		k.shrunk(now, "members have not asked for their assignments", fx)
	}
}
