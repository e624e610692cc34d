package machine

import (
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// rebalanceTimeout is the longest that any member asks for.
func (k *classicGroup) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range k.members { // in any order
		longest = max(longest, m.rebalance)
	}
	return longest
}

// rebalance begins a join phase, or ends the one under way if all have joined.
func (k *classicGroup) rebalance(now time.Time, reason string, fx *Effects) {
	if k.state == preparingRebalance {
		k.completeIfAll(now, fx)
		return
	}
	k.c.timers.stop(&k.syncEnd) // it goes on in a stable group, until all have asked
	if k.state == completingRebalance {
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
	k.start(&k.joinEnd, now.Add(delay), func(now time.Time, fx *Effects) {
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
	k.start(&k.joinEnd, k.c.count(now).Add(k.rebalanceTimeout()), k.complete)
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
	if k.saved != nil { // after a conversion what is written is ahead: a generation that is not written yet must be none that a successor finds in the log
		k.generation = max(k.generation, k.saved.Generation)
	}
	if k.generation == math.MaxInt32 {
		k.generation = 0
	}
	k.generation++
	if len(k.members) == 0 {
		k.vacate(now, fx)
		return
	}
	k.protocol = k.choose()
	k.become(now, completingRebalance)
	fx.note(k.g.id, "generation %d: %d members, protocol %s", k.generation, len(k.members), k.protocol)
	k.start(&k.syncEnd, now.Add(k.rebalanceTimeout()), k.dropUnsynced)
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
