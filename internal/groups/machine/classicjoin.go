package machine

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// join decides a JoinGroup (kafka-semantics: classic protocol).
func (c *Coordinator) join(now time.Time, id uint64, g *group, r *Join, fx *Effects) {
	refuse := func(err error) { fx.refuseWith(id, err, &Joined{MemberID: r.MemberID, Generation: -1}) }
	switch {
	case r.Group == "":
		refuse(ErrInvalidGroupID)
		return
	case g != nil && g.consumer != nil && !g.consumer.empty():
		g.consumer.classicJoin(now, id, r, fx)
		return
	case r.SessionTimeout < c.c.MinSessionTimeout || r.SessionTimeout > c.c.MaxSessionTimeout:
		refuse(ErrInvalidSessionTimeout)
		return
	case g == nil || g.classic == nil:
		if r.MemberID != "" {
			refuse(ErrUnknownMember)
			return
		}
		if r.ProtocolType == "" || len(r.Protocols) == 0 {
			refuse(ErrInconsistentProtocol)
			return
		}
		if g != nil && g.consumer != nil {
			c.replaceConsumer(now, id, g, r, fx)
			return
		}
		g = c.group(r.Group)
		g.classic = newClassicGroup(c, g)
	}
	k := g.classic
	if err := k.admit(r); err != nil {
		refuse(err)
		return
	}
	switch {
	case r.MemberID != "":
		k.joinKnown(now, id, r, fx)
	case r.InstanceID != "" && k.instances[r.InstanceID] != "":
		k.replaceStatic(now, id, k.members[k.instances[r.InstanceID]], r, fx)
	case r.InstanceID == "" && r.RequireMemberID:
		k.introduce(now, id, r, fx)
	default:
		k.add(now, id, k.c.newMemberID(r), r, fx)
	}
}

// replaceConsumer ends an empty consumer group for a member that speaks the classic protocol.
func (c *Coordinator) replaceConsumer(now time.Time, id uint64, g *group, r *Join, fx *Effects) {
	entries := g.consumer.tombstones()
	if len(entries) == 0 {
		g.consumer.stop()
		g.consumer = nil // nothing of it is written but what damage has left
		c.Step(now, id, r, fx)
		return
	}
	c.write(g, true, entries, func(now time.Time, err error, fx *Effects) {
		if err != nil {
			fx.refuseWith(id, err, &Joined{Generation: -1})
			return
		}
		g.later = append([]func(now time.Time, fx *Effects){func(now time.Time, fx *Effects) { c.Step(now, id, r, fx) }}, g.later...)
	})
}

// newMemberID makes the id of a new classic member, after the name by which its owner knows it.
func (c *Coordinator) newMemberID(r *Join) string {
	name, suffix := cmp.Or(r.InstanceID, r.ClientID), "-"+c.c.NewID()
	return name[:min(len(name), maxString-len(suffix))] + suffix // longer ones could not be written
}

// admit tells whether there is room, and something in common with the others.
func (k *classicGroup) admit(r *Join) error {
	known := k.members[r.MemberID] != nil || r.InstanceID != "" && k.instances[r.InstanceID] != ""
	size := len(k.members) + len(k.pending)
	if k.pending[r.MemberID] != nil {
		size-- // it is one of them
	}
	if !known && size >= k.c.c.MaxSize {
		return ErrMaxSizeReached
	}
	if r.ProtocolType == "" || len(r.Protocols) == 0 {
		return ErrInconsistentProtocol
	}
	if len(k.members) == 0 {
		return nil
	}
	common := k.common(r.MemberID)
	if r.ProtocolType != k.protocolType || !slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return common(p.Name) }) {
		return ErrInconsistentProtocol
	}
	return nil
}

// introduce tells a new member its id, with which it is to join (KIP-394): a client that loses the answer to its first JoinGroup would otherwise leave a member behind that nobody speaks for.
func (k *classicGroup) introduce(now time.Time, id uint64, r *Join, fx *Effects) {
	memberID := k.c.newMemberID(r)
	t := &timer{}
	k.pending[memberID] = t
	k.start(t, now.Add(r.SessionTimeout), func(now time.Time, fx *Effects) {
		if k.pending[memberID] == t {
			delete(k.pending, memberID)
			k.unawaited(now, fx)
		}
	})
	fx.refuseWith(id, ErrMemberIDRequired, &Joined{MemberID: memberID, Generation: -1})
}

// unpend takes an id from those that were given out.
func (k *classicGroup) unpend(memberID string) bool {
	t := k.pending[memberID]
	if t == nil {
		return false
	}
	k.c.timers.stop(t)
	delete(k.pending, memberID)
	return true
}

// unawaited goes on after an id that was given out has come to nothing: it was never a member, so that only a join phase that waits for it is concerned.
func (k *classicGroup) unawaited(now time.Time, fx *Effects) {
	if k.state == classicEmpty || k.state == preparingRebalance {
		k.shrunk(now, "", fx)
	}
}

// add takes a new member in.
func (k *classicGroup) add(now time.Time, id uint64, memberID string, r *Join, fx *Effects) {
	m := &classicMember{id: memberID, instanceID: r.InstanceID, fresh: true}
	m.tell(r)
	if len(k.members) == 0 {
		k.protocolType = r.ProtocolType
	}
	if k.leader == "" {
		k.leader = memberID
	}
	k.insert(m)
	k.added = true
	k.park(now, id, m, fx)
	k.rebalance(now, "a member joins", fx)
}

// tell takes what a JoinGroup says of its member.
func (m *classicMember) tell(r *Join) {
	m.clientID, m.clientHost, m.session, m.rebalance = r.ClientID, r.ClientHost, r.SessionTimeout, r.RebalanceTimeout
	if m.rebalance <= 0 { // before version 1, and what some clients send
		m.rebalance = r.SessionTimeout
	}
	m.protocols = make([]Protocol, len(r.Protocols))
	for i, p := range r.Protocols {
		m.protocols[i] = Protocol{Name: p.Name, Metadata: slices.Clone(p.Metadata)}
	}
}

// park has a JoinGroup wait for the end of the join phase. Its member is alive meanwhile.
func (k *classicGroup) park(now time.Time, id uint64, m *classicMember, fx *Effects) {
	if m.joining { // sent again: whoever sent the first one does not listen any more
		fx.refuseWith(m.join, ErrRebalanceInProgress, &Joined{MemberID: m.id, Generation: -1})
	}
	m.joining, m.join = true, id
	k.reads = nil
	if m.fresh {
		k.expectWithin(now, m, newMemberTimeout)
	} else {
		k.c.timers.stop(&m.timer)
	}
}

// joinKnown decides the JoinGroup of a member that has an id.
func (k *classicGroup) joinKnown(now time.Time, id uint64, r *Join, fx *Effects) {
	if r.InstanceID == "" && k.unpend(r.MemberID) { // ids are given out to dynamic members only
		k.add(now, id, r.MemberID, r, fx)
		return
	}
	m, err := k.find(r.MemberID, r.InstanceID)
	if err != nil {
		fx.refuseWith(id, err, &Joined{MemberID: r.MemberID, Generation: -1})
		return
	}
	same := slices.EqualFunc(m.protocols, r.Protocols, func(a, b Protocol) bool { return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata) })
	switch {
	case k.state == completingRebalance && same:
		fx.reply(id, k.joined(m)) // it has lost the answer
	case k.state == classicStable && same && m.id != k.leader:
		k.keepAlive(now, m)
		fx.reply(id, k.joined(m))
	default:
		m.tell(r)
		k.park(now, id, m, fx)
		k.rebalance(now, "a member joins again", fx)
	}
}

// joined is the answer to a JoinGroup in the present generation.
func (k *classicGroup) joined(m *classicMember) *Joined {
	j := &Joined{MemberID: m.id, Generation: k.generation, ProtocolType: k.protocolType, Protocol: k.protocol, Leader: k.leader}
	if m.id == k.leader {
		j.Members = k.joinedMembers()
	}
	return j
}

func (k *classicGroup) joinedMembers() []JoinedMember {
	list := make([]JoinedMember, len(k.order))
	for i, id := range k.order {
		m := k.members[id]
		list[i] = JoinedMember{MemberID: id, InstanceID: m.instanceID, Metadata: k.metadata(m)}
	}
	return list
}
