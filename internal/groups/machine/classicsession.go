package machine

import (
	"time"
)

// newMemberTimeout is how long a new member may wait for its first rebalance: its client may be gone, and nobody would know before.
const newMemberTimeout = 5 * time.Minute

// keepAlive begins a member's session anew.
func (k *classicGroup) keepAlive(now time.Time, m *classicMember) {
	k.expectWithin(k.c.count(now), m, m.session)
}

// expectWithin has a member removed if nothing is heard of it for some time.
func (k *classicGroup) expectWithin(now time.Time, m *classicMember, d time.Duration) {
	k.start(&m.timer, now.Add(d), func(now time.Time, fx *Effects) {
		if waits := m.joining && !m.fresh || m.syncing; k.members[m.id] == m && !waits {
			fx.note(k.g.id, "member %s: its session ends", m.id)
			k.remove(now, m, fx)
			k.shrunk(now, "a session ended", fx)
		}
	})
}

// stop ends all timers.
func (k *classicGroup) stop() {
	k.c.timers.stop(&k.joinEnd)
	k.c.timers.stop(&k.syncEnd)
	for _, id := range k.order {
		k.c.timers.stop(&k.members[id].timer)
	}
	for _, t := range k.pending { // in any order
		k.c.timers.stop(t)
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

// start sets a timer of the group, which means nothing any more once another group is in this one's place.
func (k *classicGroup) start(t *timer, at time.Time, ring func(now time.Time, fx *Effects)) {
	k.c.start(k.g, t, at, func(now time.Time, fx *Effects) {
		if k.g.classic == k {
			ring(now, fx)
		}
	})
}
