package machine

import (
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// replaceStatic gives the place of a static member to its next incarnation (KIP-345). A stable group whose protocol stays goes on as it is: that is what static members are for.
func (k *classicGroup) replaceStatic(now time.Time, id uint64, old *classicMember, r *Join, fx *Effects) {
	wasLeader := k.leader
	old.refuse(ErrFencedInstance, fx)
	k.c.timers.stop(&old.timer)
	m := &classicMember{id: k.c.newMemberID(r), instanceID: old.instanceID, assignment: old.assignment, synced: old.synced}
	m.tell(r)
	k.exchange(old, m)
	if k.state != classicStable || k.choose() != k.protocol {
		k.park(now, id, m, fx)
		k.rebalance(now, "a static member comes back", fx)
		return
	}
	k.c.write(k.g, true, []entry.Entry{k.entry()}, func(now time.Time, err error, fx *Effects) {
		if err != nil {
			k.exchange(m, old)
			k.keepAlive(now, old)
			fx.refuseWith(id, err, &Joined{Generation: -1})
			return
		}
		k.keepAlive(now, m)
		j := k.joined(m)
		j.SkipAssignment = r.SkipAssignment && k.leader == m.id
		if !r.SkipAssignment { // it would assign anew if it were told that it leads (KIP-814)
			j.Leader, j.Members = wasLeader, nil
		}
		fx.reply(id, j)
	})
}

// exchange puts one member into another one's place.
func (k *classicGroup) exchange(old, m *classicMember) {
	delete(k.members, old.id)
	k.order[slices.Index(k.order, old.id)] = m.id
	k.members[m.id] = m
	k.reads = nil
	k.instances[m.instanceID] = m.id
	if k.leader == old.id {
		k.leader = m.id
	}
}
