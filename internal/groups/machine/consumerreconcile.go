package machine

import (
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// answer brings a member that asked as far as it can go, and makes its answer.
func (k *consumerGroup) answer(now time.Time, epoch int32, a ask) Reply {
	m := k.lookup(a.member)
	if m == nil { // it left in the same round
		return Reply{ID: a.id, Err: ErrUnknownMember}
	}
	before := k.writtenAssignment(a.member)
	if to := k.reconcile(m, epoch, a.owned); !sameCurrent(&to, &m.cur) || !m.known && !m.newCur {
		k.setCurrent(k.edit(a.member), to)
		m = k.lookup(a.member)
	}
	var assigned *partition.Set
	if a.full || !m.cur.Assigned.Equal(before) {
		assigned = &m.cur.Assigned
	}
	return Reply{ID: a.id, Result: a.reply(m, assigned)}
}

// writtenAssignment is what a member was told last.
func (k *consumerGroup) writtenAssignment(id string) partition.Set {
	if m := k.members[id]; m != nil {
		return m.cur.Assigned
	}
	return nil
}

func sameCurrent(a, b *entry.Current) bool {
	return a.Epoch == b.Epoch && a.PreviousEpoch == b.PreviousEpoch && a.State == b.State && a.Assigned.Equal(b.Assigned) && a.Revoking.Equal(b.Revoking)
}

// reconcile says where a member is to be, given what it has given up (owned; nil: nothing new) and what others have let go.
//
//	STABLE ──target moved──▶ has to give something up? ──yes──▶ UNREVOKED: keeps the rest, stays in its epoch ──given up──▶ look again
//	                              │no
//	                              └──▶ target's epoch, with what is free ──▶ STABLE, or UNRELEASED while others still have a part of it
func (k *consumerGroup) reconcile(m *draftMember, targetEpoch int32, owned *partition.Set) entry.Current {
	cur := m.cur
	target := m.target.Keep(func(topic partition.TopicID) bool { return k.wantsID(&m.info, topic) })
	switch cur.State {
	case entry.Stable:
		if cur.Epoch == targetEpoch && cur.Assigned.SubsetOf(target) {
			return cur
		}
	case entry.Unrevoked:
		if owned == nil || len(owned.Intersect(cur.Revoking)) > 0 {
			return k.unsubscribe(cur, &m.info)
		}
		cur.Revoking = nil
	case entry.Unreleased, entry.Unknown:
	}
	keep := cur.Assigned.Intersect(target)
	revoke := cur.Assigned.Minus(keep)
	next := entry.Current{Group: cur.Group, MemberID: cur.MemberID, Epoch: cur.Epoch, PreviousEpoch: cur.PreviousEpoch}
	if len(revoke) > 0 && (owned == nil || len(owned.Intersect(revoke)) > 0) {
		next.State, next.Assigned, next.Revoking = entry.Unrevoked, keep, revoke
		return next
	}
	missing := target.Minus(keep)
	held := k.held(missing, cur.MemberID)
	if targetEpoch != cur.Epoch { // else it may not even know of this one
		next.Epoch, next.PreviousEpoch = targetEpoch, cur.Epoch
	}
	next.Assigned = keep.Union(missing.Minus(held))
	next.State = entry.Stable
	if len(held) > 0 {
		next.State = entry.Unreleased
	}
	return next
}

// unsubscribe takes away, from a member that has to give partitions up and has not yet, what it no longer subscribes to.
func (k *consumerGroup) unsubscribe(cur entry.Current, info *entry.Member) entry.Current {
	keep := cur.Assigned.Keep(func(topic partition.TopicID) bool { return k.wantsID(info, topic) })
	if len(keep) == len(cur.Assigned) {
		return cur
	}
	cur.Revoking = cur.Revoking.Union(cur.Assigned.Minus(keep))
	cur.Assigned = keep
	return cur
}

// held is the part of a set that other members have. What the member itself had to give up it has given up by now.
func (k *consumerGroup) held(set partition.Set, member string) partition.Set {
	var held []partition.Partition
	for p := range set.All {
		if owner := k.owner(p); owner != "" && owner != member {
			held = append(held, p)
		}
	}
	return partition.Of(held...)
}

// wantsID tells whether a member subscribes to a topic by its id.
func (k *consumerGroup) wantsID(info *entry.Member, id partition.TopicID) bool {
	t, ok := k.c.metadata.TopicByID(id)
	if !ok {
		return false // deleted
	}
	if r := k.regex(info.Regex); r != nil {
		for _, name := range r.Topics {
			if name == t.Name {
				return true
			}
		}
	}
	for _, name := range info.Topics {
		if name == t.Name {
			return true
		}
	}
	return false
}
