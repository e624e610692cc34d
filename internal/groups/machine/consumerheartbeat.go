package machine

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// consumerHeartbeat decides a ConsumerGroupHeartbeat: join, leave, or life and what changed.
func (c *Coordinator) consumerHeartbeat(now time.Time, id uint64, g *group, r *ConsumerHeartbeat, fx *Effects) {
	if err := c.checkConsumerHeartbeat(r); err != nil {
		fx.refuse(id, err)
		return
	}
	if r.MemberEpoch < JoinEpoch {
		c.consumerLeave(now, id, g, r, fx)
		return
	}
	k, err := c.consumerGroupFor(g, r)
	if err != nil {
		fx.refuse(id, err)
		return
	}
	m, err := k.admit(r)
	if err != nil {
		fx.refuse(id, err)
		k.abandon()
		return
	}
	known := k.members[r.MemberID]
	if known != nil {
		k.keepAlive(now, known)
	}
	full := r.MemberEpoch == JoinEpoch || r.RebalanceTimeout >= 0 && (r.Topics != nil || r.Regex != nil) && r.Owned != nil
	if known != nil && !full && k.idle(m, r) {
		fx.reply(id, k.consumerState(m, nil))
		return
	}
	k.update(m, r, nil)
	d := k.drafting()
	d.asks = append(d.asks, ask{id: id, member: r.MemberID, owned: r.Owned, full: full, reply: k.consumerState})
}

// idle tells whether a heartbeat says nothing new and finds nothing new, as almost all do: then there is nothing to decide.
func (k *consumerGroup) idle(m *draftMember, r *ConsumerHeartbeat) bool {
	if k.draft != nil || k.stale || k.epoch != k.targetEpoch || m.cur.State != entry.Stable || m.cur.Epoch != k.targetEpoch {
		return false
	}
	info := k.merged(&m.info, r, nil)
	return sameInfo(&info, &m.info)
}

// consumerState is the answer to a heartbeat.
func (k *consumerGroup) consumerState(m *draftMember, assigned *partition.Set) any {
	interval := k.c.c.ConsumerHeartbeatInterval
	if m.cur.State == entry.Unreleased {
		interval /= hurry
	}
	return &ConsumerState{MemberID: m.info.MemberID, MemberEpoch: m.cur.Epoch, HeartbeatInterval: interval, Assignment: assigned}
}

// hurry is how many times more often a member is heard that waits for partitions which others are giving up. Kafka has it wait for its next regular heartbeat.
const hurry = 10

// checkConsumerHeartbeat finds what is wrong with a request by itself.
func (c *Coordinator) checkConsumerHeartbeat(r *ConsumerHeartbeat) error {
	switch {
	case r.Group == "" || r.MemberID == "" || r.MemberEpoch < LeaveStaticEpoch:
		return ErrInvalidRequest
	case r.MemberEpoch == LeaveStaticEpoch && r.InstanceID == "":
		return ErrInvalidRequest
	case r.MemberEpoch == JoinEpoch && (r.RebalanceTimeout <= 0 || r.Topics == nil && r.Regex == nil || r.Owned != nil && len(*r.Owned) > 0):
		return ErrInvalidRequest
	case r.Assignor != nil && *r.Assignor != "" && !slices.Contains(c.c.Assignors, *r.Assignor):
		return ErrUnsupportedAssignor
	}
	return nil
}

// consumerGroupFor finds the consumer group that a heartbeat is for, or begins one: in the place of nothing, of a group that only commits, or of a classic group that is empty or can be converted.
func (c *Coordinator) consumerGroupFor(g *group, r *ConsumerHeartbeat) (*consumerGroup, error) {
	switch {
	case g != nil && g.consumer != nil:
		return g.consumer, nil
	case r.MemberEpoch != JoinEpoch:
		return nil, ErrGroupIDNotFound
	case g != nil && g.classic != nil && !g.classic.empty():
		return c.convert(g)
	}
	g = c.group(r.Group)
	k := newConsumerGroup(c, g)
	k.sessions = true
	g.consumer = k
	if g.classic != nil {
		k.replaceClassic()
	}
	return k, nil
}

// replaceClassic ends an empty classic group in whose place this one comes.
func (k *consumerGroup) replaceClassic() {
	d := k.drafting()
	old := k.g.classic
	k.g.writing = true // it may still wait for members whose ids were given out: it stands still until it is known which of the two goes on
	d.first = append(d.first, old.tombstones()...)
	d.finished = append(d.finished, func(_ time.Time, err error, _ *Effects) {
		if err == nil {
			old.stop()
			if k.g.classic == old {
				k.g.classic = nil
			}
		}
	})
}

// abandon forgets a group that was begun for a request which is refused.
func (k *consumerGroup) abandon() {
	if k.g.classic != nil && k.draft != nil {
		k.g.writing = false // the classic group stays what it is
		k.draft.members = nil
	}
	if k.epoch == 0 && len(k.members) == 0 && (k.draft == nil || len(k.draft.members) == 0) {
		if k.draft != nil {
			k.draft = nil
			k.c.open = slices.DeleteFunc(k.c.open, func(o *consumerGroup) bool { return o == k })
		}
		k.g.consumer = nil
		k.c.prune(k.g)
	}
}

// admit finds the member that a heartbeat comes from, or takes it in.
func (k *consumerGroup) admit(r *ConsumerHeartbeat) (*draftMember, error) {
	joining := r.MemberEpoch == JoinEpoch
	holder := ""
	if r.InstanceID != "" {
		holder = k.instance(r.InstanceID)
	}
	m := k.lookup(r.MemberID)
	switch {
	case holder != "" && holder != r.MemberID:
		return k.takeOver(holder, r)
	case m == nil && !joining, r.InstanceID != "" && holder == "" && !joining:
		return nil, ErrUnknownMember
	case m == nil:
		if k.size() >= k.c.c.ConsumerMaxSize {
			return nil, ErrMaxSizeReached
		}
		return k.edit(r.MemberID), nil
	case joining:
		return k.edit(r.MemberID), nil // it has lost its memory, not its place
	case m.info.Classic != nil:
		return nil, ErrFencedMemberEpoch // that member speaks the other protocol, and has to join anew to change
	}
	if err := checkMemberEpoch(&m.cur, r.MemberEpoch, r.Owned); err != nil {
		return nil, err
	}
	return m, nil
}

// checkMemberEpoch tells whether an epoch is the member's. The one before is taken from a member that has not had the answer which told it the present one: it shows so by owning nothing that it does
// not have by now.
func checkMemberEpoch(cur *entry.Current, epoch int32, owned *partition.Set) error {
	switch {
	case epoch == cur.Epoch:
		return nil
	case epoch < cur.Epoch && epoch == cur.PreviousEpoch && owned != nil && owned.SubsetOf(cur.Assigned):
		return nil
	}
	return ErrFencedMemberEpoch
}

// takeOver gives the place of a static member that has left for a while to its next incarnation.
func (k *consumerGroup) takeOver(holder string, r *ConsumerHeartbeat) (*draftMember, error) {
	old := k.lookup(holder)
	switch {
	case r.MemberEpoch != JoinEpoch, k.lookup(r.MemberID) != nil: // or it is a member with a place of its own
		return nil, ErrFencedInstance
	case old.cur.Epoch != LeaveStaticEpoch && old.info.Classic == nil:
		return nil, ErrUnreleasedInstance
	}
	return k.inherit(holder, r.MemberID, r.InstanceID), nil
}

// inherit gives a static member's place to its next incarnation. The group has as many members as before, and they have the same place: its epoch stays.
func (k *consumerGroup) inherit(holder, memberID, instanceID string) *draftMember {
	d := k.drafting()
	bump, heir := d.bump, *k.lookup(holder)
	k.expel(holder)
	d.bump = bump
	m := k.edit(memberID)
	m.info, m.target = heir.info, heir.target
	m.info.MemberID, m.info.InstanceID = memberID, instanceID
	m.newInfo, m.newTarget = true, true
	k.setCurrent(m, entry.Current{
		Group: k.g.id, MemberID: memberID, Epoch: JoinEpoch, PreviousEpoch: JoinEpoch, State: entry.Stable, Assigned: heir.cur.Assigned,
	})
	return m
}

// update takes what a heartbeat says anew of its member; classic is nil for one that speaks this protocol.
func (k *consumerGroup) update(m *draftMember, r *ConsumerHeartbeat, classic *entry.ClassicMetadata) {
	fresh := !m.known && !m.newInfo
	info := k.merged(&m.info, r, classic)
	if !fresh && sameInfo(&info, &m.info) {
		return
	}
	m2 := k.edit(r.MemberID)
	if fresh || info.Regex != m2.info.Regex || !slices.Equal(info.Topics, m2.info.Topics) {
		k.drafting().bump = true
	}
	m2.info, m2.newInfo = info, true
}

// merged is what a member is after a heartbeat.
func (k *consumerGroup) merged(before *entry.Member, r *ConsumerHeartbeat, classic *entry.ClassicMetadata) entry.Member {
	info := *before
	set := func(to *string, v *string) {
		if v != nil {
			*to = *v
		}
	}
	info.Group, info.MemberID = k.g.id, r.MemberID
	info.ClientID, info.ClientHost = r.ClientID, r.ClientHost
	if r.InstanceID != "" {
		info.InstanceID = r.InstanceID
	}
	set(&info.Rack, r.Rack)
	set(&info.Regex, r.Regex)
	set(&info.Assignor, r.Assignor)
	if r.RebalanceTimeout >= 0 {
		info.RebalanceTimeoutMillis = int32(min(r.RebalanceTimeout.Milliseconds(), math.MaxInt32))
	}
	if r.Topics != nil && !slices.Equal(r.Topics, info.Topics) {
		info.Topics = slices.Clone(r.Topics)
		slices.Sort(info.Topics)
		info.Topics = slices.Compact(info.Topics)
	}
	info.Classic = classic
	return info
}

func sameInfo(a, b *entry.Member) bool {
	return a.InstanceID == b.InstanceID && a.Rack == b.Rack && a.ClientID == b.ClientID && a.ClientHost == b.ClientHost && a.Regex == b.Regex &&
		a.RebalanceTimeoutMillis == b.RebalanceTimeoutMillis && a.Assignor == b.Assignor && sameClassic(a.Classic, b.Classic) && slices.Equal(a.Topics, b.Topics)
}

func sameClassic(a, b *entry.ClassicMetadata) bool {
	return a == b || a != nil && b != nil && a.SessionTimeoutMillis == b.SessionTimeoutMillis &&
		slices.EqualFunc(a.Protocols, b.Protocols, func(p, q entry.ClassicProtocol) bool { return p.Name == q.Name && bytes.Equal(p.Metadata, q.Metadata) })
}

// consumerLeave decides a heartbeat that says good-bye, for good or, of a static member, for a while.
func (c *Coordinator) consumerLeave(now time.Time, id uint64, g *group, r *ConsumerHeartbeat, fx *Effects) {
	if g == nil || g.consumer == nil {
		fx.refuse(id, ErrGroupIDNotFound)
		return
	}
	k := g.consumer
	memberID := r.MemberID
	if r.InstanceID != "" {
		switch holder := k.instance(r.InstanceID); {
		case holder == "":
			fx.refuse(id, ErrUnknownMember)
			return
		case holder != memberID:
			fx.refuse(id, ErrFencedInstance)
			return
		}
	}
	m := k.lookup(memberID)
	if m == nil {
		fx.refuse(id, ErrUnknownMember)
		return
	}
	d := k.drafting()
	if r.MemberEpoch == LeaveEpoch {
		k.expel(memberID)
	} else {
		m := k.edit(memberID)
		k.setCurrent(m, entry.Current{
			Group: k.g.id, MemberID: memberID, Epoch: LeaveStaticEpoch, PreviousEpoch: m.cur.Epoch, State: m.cur.State, Assigned: m.cur.Assigned,
		})
	}
	reply := &ConsumerState{MemberID: memberID, MemberEpoch: r.MemberEpoch}
	d.finished = append(d.finished, func(_ time.Time, err error, fx *Effects) {
		if err != nil {
			fx.refuse(id, err)
			return
		}
		fx.reply(id, reply)
	})
}

// keepAlive begins a member's session anew.
func (k *consumerGroup) keepAlive(now time.Time, m *member) {
	timeout := k.c.c.ConsumerSessionTimeout
	if m.info.Classic != nil {
		timeout = time.Duration(m.info.Classic.SessionTimeoutMillis) * time.Millisecond
	}
	k.endSession(m, k.c.count(now).Add(timeout))
}

// retryInterval is when an expulsion that could not be written is tried again.
const retryInterval = time.Second

// endSession has a member expelled at a time unless it is heard of before.
func (k *consumerGroup) endSession(m *member, at time.Time) {
	k.c.start(k.g, &m.session, at, func(now time.Time, fx *Effects) {
		if k.members[m.id] == m {
			fx.note(k.g.id, "member %s: its session ends", m.id)
			k.expel(m.id)
		}
	})
}

// watchRevocation limits the time in which a member has to give partitions up.
func (k *consumerGroup) watchRevocation(now time.Time, m *member) {
	if m.cur.State != entry.Unrevoked || m.cur.Epoch < 0 {
		k.c.timers.stop(&m.revoke)
		return
	}
	if m.revoke.set() {
		return
	}
	timeout := time.Duration(m.info.RebalanceTimeoutMillis) * time.Millisecond
	k.c.start(k.g, &m.revoke, k.c.count(now).Add(timeout), func(now time.Time, fx *Effects) {
		if k.members[m.id] == m && m.cur.State == entry.Unrevoked {
			fx.note(k.g.id, "member %s: does not give up %d partitions", m.id, m.cur.Revoking.Len())
			k.expel(m.id)
		}
	})
}

// metadataChanged has the group look at its topics again.
func (k *consumerGroup) metadataChanged(now time.Time, fx *Effects) {
	if k.size() == 0 {
		return
	}
	k.resolveAll(now, fx)
	if k.topicsHash(k.draftIDs()) != k.hash {
		k.stale = true
		k.drafting()
	}
}
