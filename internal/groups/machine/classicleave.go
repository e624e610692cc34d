package machine

import (
	"slices"
	"time"
)

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
	members, ids := false, false
	for i, l := range r.Members {
		switch {
		case g == nil || g.classic == nil:
			left.Errs[i] = ErrUnknownMember
		case l.InstanceID == "" && g.classic.unpend(l.MemberID):
			ids = true
		default:
			left.Errs[i] = g.classic.leaving(now, l, fx)
			members = members || left.Errs[i] == nil
		}
	}
	switch {
	case members:
		g.classic.shrunk(now, "members leave", fx)
	case ids:
		g.classic.unawaited(now, fx)
	}
	if g != nil && g.writing { // the group is empty now, and that is written first
		g.later = append(g.later, func(_ time.Time, fx *Effects) { fx.reply(id, left) })
		return
	}
	fx.reply(id, left)
}

// leaving takes one member out.
func (k *classicGroup) leaving(now time.Time, l LeavingMember, fx *Effects) error {
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

// remove takes a member out. What it waits for is refused.
func (k *classicGroup) remove(_ time.Time, m *classicMember, fx *Effects) {
	m.refuse(ErrUnknownMember, fx)
	k.c.timers.stop(&m.timer)
	delete(k.members, m.id)
	k.reads = nil
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
