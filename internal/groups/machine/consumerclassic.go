package machine

import (
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/embedded"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// Members that speak the classic protocol in a group that the coordinator assigns (KIP-848, migration): their JoinGroup is a heartbeat that tells what they own, the generation that they get is their member
// epoch, SyncGroup brings their assignment, and a Heartbeat that is told of a rebalance has them join again. Assignors of their own are not asked.

// consumerProtocol is the type of protocol of consumers, the only one that can be migrated.
const consumerProtocol = "consumer"

// classicJoin decides a JoinGroup.
func (k *consumerGroup) classicJoin(now time.Time, id uint64, r *Join, fx *Effects) {
	sub, err := k.checkClassicJoin(r)
	if err != nil {
		fx.refuse(id, err)
		return
	}
	memberID, err := k.classicMemberID(r)
	if err != nil {
		fx.refuseWith(id, err, &Joined{MemberID: memberID, Generation: -1})
		return
	}
	owned := k.idsOf(sub.Owned)
	topics := append([]string{}, sub.Topics...) // not nil: none is a subscription, too
	m, err := k.classicMember(memberID, r)
	if err != nil {
		fx.refuse(id, err)
		return
	}
	rebalance := r.RebalanceTimeout
	if rebalance <= 0 {
		rebalance = r.SessionTimeout
	}
	k.update(m, &ConsumerHeartbeat{
		Group: r.Group, MemberID: memberID, MemberEpoch: m.cur.Epoch, InstanceID: r.InstanceID, ClientID: r.ClientID, ClientHost: r.ClientHost, Rack: &sub.Rack,
		RebalanceTimeout: rebalance, Topics: topics,
	}, classicMetadata(r.SessionTimeout, r.Protocols))
	if known := k.members[memberID]; known != nil {
		k.c.timers.stop(&known.owed)
		k.keepAlive(now, known)
	}
	d := k.drafting()
	d.asks = append(d.asks, ask{id: id, member: memberID, owned: &owned, full: true, reply: func(m *draftMember, _ *partition.Set) any {
		return &Joined{MemberID: memberID, Generation: m.cur.Epoch, ProtocolType: consumerProtocol, Protocol: r.Protocols[0].Name}
	}})
	d.finished = append(d.finished, func(now time.Time, err error, _ *Effects) {
		if m := k.members[memberID]; err == nil && m != nil {
			k.expect(now, m, "does not ask for its assignment")
		}
	})
}

func classicMetadata(session time.Duration, protocols []Protocol) *entry.ClassicMetadata {
	c := &entry.ClassicMetadata{SessionTimeoutMillis: int32(session.Milliseconds())}
	for _, p := range protocols {
		c.Protocols = append(c.Protocols, entry.ClassicProtocol{Name: p.Name, Metadata: slices.Clone(p.Metadata)})
	}
	return c
}

// checkClassicJoin finds what is wrong with a JoinGroup, and reads the subscription.
func (k *consumerGroup) checkClassicJoin(r *Join) (embedded.Subscription, error) {
	var none embedded.Subscription
	switch {
	case r.SessionTimeout < k.c.c.MinSessionTimeout || r.SessionTimeout > k.c.c.MaxSessionTimeout:
		return none, ErrInvalidSessionTimeout
	case r.ProtocolType != consumerProtocol || len(r.Protocols) == 0:
		return none, ErrInconsistentProtocol
	}
	sub, err := embedded.ParseSubscription(r.Protocols[0].Metadata)
	if err != nil {
		return none, ErrInconsistentProtocol
	}
	if !k.shareProtocol(r) {
		return none, ErrInconsistentProtocol
	}
	return sub, nil
}

// shareProtocol tells whether one of a member's protocols is known to all other classic members: should they be left to themselves they need one.
func (k *consumerGroup) shareProtocol(r *Join) bool {
	common := map[string]bool{}
	for _, p := range r.Protocols {
		common[p.Name] = true
	}
	for _, id := range k.draftIDs() {
		m := k.lookup(id)
		if id == r.MemberID || m.info.Classic == nil {
			continue
		}
		both := make(map[string]bool, len(common))
		for _, p := range m.info.Classic.Protocols {
			if common[p.Name] {
				both[p.Name] = true
			}
		}
		common = both
	}
	return len(common) > 0
}

// classicMemberID is the id of a member that joins: a new one for a new member, which it may have to be told first (KIP-394).
func (k *consumerGroup) classicMemberID(r *Join) (string, error) {
	if r.MemberID != "" {
		return r.MemberID, nil
	}
	id := k.c.newMemberID(r)
	if r.InstanceID == "" && r.RequireMemberID {
		return id, ErrMemberIDRequired
	}
	return id, nil
}

// classicMember finds the member that joins, or takes it in.
func (k *consumerGroup) classicMember(memberID string, r *Join) (*draftMember, error) {
	m := k.lookup(memberID)
	if r.InstanceID != "" {
		switch holder := k.instance(r.InstanceID); {
		case holder == "" && r.MemberID != "":
			return nil, ErrUnknownMember
		case holder != "" && holder != memberID && r.MemberID != "":
			return nil, ErrFencedInstance
		case holder != "" && holder != memberID:
			return k.inherit(holder, memberID, r.InstanceID), nil
		}
	}
	switch {
	case m != nil && m.info.Classic == nil && r.InstanceID == "":
		return nil, ErrUnknownMember // that member speaks the other protocol
	case m != nil:
		return k.edit(memberID), nil
	case k.size() >= k.c.c.ConsumerMaxSize:
		return nil, ErrMaxSizeReached
	}
	return k.edit(memberID), nil
}

// classicOf finds the classic member that a request comes from, in its generation.
func (k *consumerGroup) classicOf(memberID, instanceID string, generation int32) (*member, error) {
	m := k.members[memberID]
	if instanceID != "" {
		switch holder := k.instances[instanceID]; {
		case holder == "":
			return nil, ErrUnknownMember
		case holder != memberID:
			return nil, ErrFencedInstance
		}
	}
	switch {
	case m == nil || m.info.Classic == nil:
		return nil, ErrUnknownMember
	case generation != m.cur.Epoch:
		return nil, ErrIllegalGeneration
	}
	return m, nil
}

// classicSync decides a SyncGroup: what is written of the member's assignment is its answer.
func (k *consumerGroup) classicSync(now time.Time, id uint64, r *Sync, fx *Effects) {
	m, err := k.classicOf(r.MemberID, r.InstanceID, r.Generation)
	switch {
	case err != nil:
	case r.ProtocolType != "" && r.ProtocolType != consumerProtocol,
		r.Protocol != "" && !slices.ContainsFunc(m.info.Classic.Protocols, func(p entry.ClassicProtocol) bool { return p.Name == r.Protocol }):
		err = ErrInconsistentProtocol
	case k.epoch > m.cur.Epoch && m.cur.State != entry.Unrevoked: // who has to give partitions up does that first
		k.expectJoin(now, m)
		err = ErrRebalanceInProgress
	}
	if err != nil {
		fx.refuse(id, err)
		return
	}
	k.keepAlive(now, m)
	k.c.timers.stop(&m.owed)
	const version = 0 // the later ones have the same fields
	assignment := embedded.Assignment{Partitions: k.namesOf(m.cur.Assigned)}.Append(nil, version)
	fx.reply(id, &Synced{ProtocolType: consumerProtocol, Protocol: m.info.Classic.Protocols[0].Name, Assignment: assignment})
}

// classicHeartbeat decides a Heartbeat.
func (k *consumerGroup) classicHeartbeat(now time.Time, id uint64, r *Heartbeat, fx *Effects) {
	m, err := k.classicOf(r.MemberID, r.InstanceID, r.Generation)
	if err != nil {
		fx.refuse(id, err)
		return
	}
	k.keepAlive(now, m)
	if m.cur.Epoch < k.epoch || m.cur.State == entry.Unrevoked || m.cur.State == entry.Unreleased && len(k.held(m.target.Minus(m.cur.Assigned), m.id)) < m.target.Minus(m.cur.Assigned).Len() {
		k.expectJoin(now, m)
		fx.refuse(id, ErrRebalanceInProgress)
		return
	}
	fx.reply(id, nil)
}

// expectJoin limits the time in which a member that was told of a rebalance has to join again.
func (k *consumerGroup) expectJoin(now time.Time, m *member) {
	if !m.owed.set() {
		k.expect(now, m, "does not join again")
	}
}

// expect gives a classic member its rebalance timeout for the next step, to join or to ask for its assignment; heartbeats alone do not keep it.
func (k *consumerGroup) expect(now time.Time, m *member, failing string) {
	timeout := time.Duration(m.info.RebalanceTimeoutMillis) * time.Millisecond
	k.c.start(k.g, &m.owed, now.Add(timeout), func(_ time.Time, fx *Effects) {
		if k.members[m.id] == m && m.info.Classic != nil {
			fx.note(k.g.id, "member %s: %s", m.id, failing)
			k.expel(m.id)
		}
	})
}

// classicLeave decides a LeaveGroup, or an administrator's removal, of members of either protocol.
func (k *consumerGroup) classicLeave(_ time.Time, id uint64, r *Leave, fx *Effects) {
	left := &Left{Errs: make([]error, len(r.Members))}
	some := false
	for i, l := range r.Members {
		memberID := l.MemberID
		if l.InstanceID != "" {
			holder := k.instance(l.InstanceID)
			switch {
			case holder == "":
				left.Errs[i] = ErrUnknownMember
			case memberID != "" && holder != memberID:
				left.Errs[i] = ErrFencedInstance
			}
			memberID = holder
		}
		if m := k.lookup(memberID); left.Errs[i] == nil && (m == nil || l.InstanceID == "" && m.info.Classic == nil) {
			left.Errs[i] = ErrUnknownMember
		}
		if left.Errs[i] == nil {
			k.expel(memberID)
			some = true
		}
	}
	if !some {
		fx.reply(id, left)
		return
	}
	d := k.drafting()
	d.finished = append(d.finished, func(_ time.Time, err error, fx *Effects) {
		if err != nil {
			fx.refuse(id, err)
			return
		}
		fx.reply(id, left)
	})
}

// idsOf is a set of partitions named by topic names; what does not exist is left out.
func (k *consumerGroup) idsOf(named []embedded.TopicPartitions) partition.Set {
	var topics []partition.Topic
	for _, tp := range named {
		if t, ok := k.c.metadata.Topic(tp.Topic); ok {
			topics = append(topics, partition.Topic{ID: t.ID, Numbers: tp.Partitions})
		}
	}
	return partition.FromTopics(topics...)
}

// namesOf is idsOf the other way round.
func (k *consumerGroup) namesOf(set partition.Set) []embedded.TopicPartitions {
	var named []embedded.TopicPartitions
	for _, t := range set {
		if topic, ok := k.c.metadata.TopicByID(t.ID); ok {
			named = append(named, embedded.TopicPartitions{Topic: topic.Name, Partitions: t.Numbers})
		}
	}
	return named
}
