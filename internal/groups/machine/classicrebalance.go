package machine

import (
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// rebalance begins a join phase, or ends the one under way if all have joined.
func (k *classicGroup) rebalance(now time.Time, reason string, fx *Effects) {
	if k.state == preparingRebalance {
		k.completeIfAll(now, fx)
		return
	}
	if k.state == completingRebalance {
		k.c.timers.stop(&k.syncEnd)
		k.failSyncs(now, ErrRebalanceInProgress, fx)
	}
	first := k.state == classicEmpty
	k.become(now, preparingRebalance)
	fx.note(k.g.id, "rebalance after generation %d: %s", k.generation, reason)
	if first && k.c.c.InitialRebalanceDelay > 0 {
		k.delaying, k.added = true, false
		k.putOff(now, max(k.rebalanceTimeout(), k.c.c.InitialRebalanceDelay))
		return
	}
	k.awaitJoins(now)
	k.completeIfAll(now, fx)
}

// putOff has the first join phase of an empty group wait for more members, again for as long as some come, but not longer than budget.
func (k *classicGroup) putOff(now time.Time, budget time.Duration) {
	delay := min(k.c.c.InitialRebalanceDelay, budget)
	k.remaining = budget - delay
	k.c.start(k.g, &k.joinEnd, now.Add(delay), func(now time.Time, fx *Effects) {
		if k.added && k.remaining > 0 {
			k.added = false
			k.putOff(now, k.remaining)
			return
		}
		k.delaying = false
		k.complete(now, fx)
	})
}

// awaitJoins limits the join phase.
func (k *classicGroup) awaitJoins(now time.Time) {
	k.c.start(k.g, &k.joinEnd, now.Add(k.rebalanceTimeout()), k.complete)
}

// completeIfAll ends the join phase when everybody is there.
func (k *classicGroup) completeIfAll(now time.Time, fx *Effects) {
	if k.delaying && len(k.members) > 0 || len(k.pending) > 0 {
		return
	}
	for _, m := range k.members { // in any order
		if !m.joining {
			return
		}
	}
	k.complete(now, fx)
}

// complete ends the join phase: who has not joined is out, unless it is a static member; the others are told the new generation.
func (k *classicGroup) complete(now time.Time, fx *Effects) {
	k.delaying = false
	k.c.timers.stop(&k.joinEnd)
	for _, id := range slices.Clone(k.order) {
		if m := k.members[id]; !m.joining && m.instanceID == "" {
			fx.note(k.g.id, "member %s: has not joined in time", id)
			k.remove(now, m, fx)
		}
	}
	if len(k.members) > 0 && !k.electLeader() {
		k.awaitJoins(now) // static members only, and none of them is there: another round
		return
	}
	if k.generation++; k.generation == math.MaxInt32 {
		k.generation = 1
	}
	if len(k.members) == 0 {
		k.vacate(now, fx)
		return
	}
	k.protocol = k.choose()
	k.become(now, completingRebalance)
	fx.note(k.g.id, "generation %d: %d members, protocol %s", k.generation, len(k.members), k.protocol)
	k.c.start(k.g, &k.syncEnd, now.Add(k.rebalanceTimeout()), k.dropUnsynced)
	for _, id := range k.order {
		m := k.members[id]
		m.synced = false
		if m.joining {
			m.joining, m.fresh = false, false
			fx.reply(m.join, k.joined(m))
			k.keepAlive(now, m)
		}
	}
}

// electLeader keeps the leader if it has joined, and makes the first one that has its successor otherwise; false if nobody has.
func (k *classicGroup) electLeader() bool {
	if m := k.members[k.leader]; m != nil && m.joining {
		return true
	}
	i := slices.IndexFunc(k.order, func(id string) bool { return k.members[id].joining })
	if i >= 0 {
		k.leader = k.order[i]
	}
	return i >= 0
}

// vacate is the end of a join phase that nobody is left in.
func (k *classicGroup) vacate(now time.Time, fx *Effects) {
	k.protocol, k.leader = "", ""
	k.become(now, classicEmpty)
	fx.note(k.g.id, "generation %d: empty", k.generation)
	e := k.entry()
	k.c.write(k.g, true, []entry.Entry{e}, func(time.Time, error, *Effects) {}) // if it fails, the group is found with members that do not come back
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

// remove takes a member out. What it waits for is refused.
func (k *classicGroup) remove(_ time.Time, m *classicMember, fx *Effects) {
	m.refuse(ErrUnknownMember, fx)
	k.c.timers.stop(&m.timer)
	delete(k.members, m.id)
	k.order = slices.DeleteFunc(k.order, func(id string) bool { return id == m.id })
	if k.instances[m.instanceID] == m.id {
		delete(k.instances, m.instanceID)
	}
	if k.leader == m.id {
		k.leader = ""
		if len(k.order) > 0 {
			k.leader = k.order[0]
		}
	}
}

// shrunk goes on after members, or those that were to be, have gone.
func (k *classicGroup) shrunk(now time.Time, reason string, fx *Effects) {
	switch k.state {
	case classicEmpty:
		if k.saved == nil && len(k.members) == 0 && len(k.pending) == 0 {
			k.c.forget(k.g) // nothing ever came of it
		}
	case preparingRebalance:
		k.completeIfAll(now, fx)
	default:
		k.rebalance(now, reason, fx)
	}
}

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
	case r.ProtocolType != "" && r.ProtocolType != k.protocolType, r.Protocol != "" && r.Protocol != k.protocol && k.protocol != "":
		err = ErrInconsistentProtocol
	case k.state == preparingRebalance:
		err = ErrRebalanceInProgress
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
	e := k.entry()
	e.StateAt = k.stateAt
	k.c.write(k.g, true, []entry.Entry{e}, func(now time.Time, err error, fx *Effects) {
		if err != nil {
			k.failSyncs(now, err, fx)
			k.c.timers.stop(&k.syncEnd)
			k.state = classicStable // so that the rebalance begins like any other
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
			k.keepAlive(now, m)
		}
	}
}

// heartbeat decides a Heartbeat.
func (c *Coordinator) heartbeat(now time.Time, id uint64, g *group, r *Heartbeat, fx *Effects) {
	switch {
	case r.Group == "":
		fx.refuse(id, ErrInvalidGroupID)
		return
	case g != nil && g.consumer != nil:
		g.consumer.classicHeartbeat(now, id, r, fx)
		return
	case g == nil || g.classic == nil:
		fx.refuse(id, ErrUnknownMember)
		return
	}
	k := g.classic
	m, err := k.inGeneration(r.MemberID, r.InstanceID, r.Generation)
	if err != nil {
		fx.refuse(id, err)
		return
	}
	if !m.joining && !m.syncing {
		k.keepAlive(now, m)
	}
	if k.state == preparingRebalance {
		fx.refuse(id, ErrRebalanceInProgress)
		return
	}
	fx.reply(id, nil)
}

// leave decides a LeaveGroup, by members or by an administrator.
func (c *Coordinator) leave(now time.Time, id uint64, g *group, r *Leave, fx *Effects) {
	if r.Group == "" {
		fx.refuse(id, ErrInvalidGroupID)
		return
	}
	if g != nil && g.consumer != nil {
		g.consumer.classicLeave(now, id, r, fx)
		return
	}
	left := &Left{Errs: make([]error, len(r.Members))}
	some := false
	for i, l := range r.Members {
		if g == nil || g.classic == nil {
			left.Errs[i] = ErrUnknownMember
			continue
		}
		left.Errs[i] = g.classic.leaving(now, l, fx)
		some = some || left.Errs[i] == nil
	}
	fx.reply(id, left)
	if some {
		g.classic.shrunk(now, "members leave", fx)
	}
}

// leaving takes one member out.
func (k *classicGroup) leaving(now time.Time, l LeavingMember, fx *Effects) error {
	if l.InstanceID == "" && k.unpend(l.MemberID) {
		return nil
	}
	memberID := l.MemberID
	if l.InstanceID != "" && memberID == "" {
		memberID = k.instances[l.InstanceID]
	}
	m, err := k.find(memberID, l.InstanceID)
	if err != nil {
		return err
	}
	k.remove(now, m, fx)
	return nil
}
