package machine

import (
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/embedded"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// A group changes its protocol while it works, in both directions, as its members are exchanged one by one (group.consumer.migration.policy=bidirectional): a classic group becomes a consumer group with
// the first member that speaks KIP-848, and a classic one again when the last of those has gone. Either way the one's end and the other's beginning are one write.

// migrant is a member of a classic group on its way from one kind of group to the other.
type migrant struct {
	id, instanceID       string
	clientID, clientHost string
	session, rebalance   time.Duration
	protocols            []Protocol
	assignment           []byte // in the embedded protocol
}

// convert begins a consumer group in the place of a classic one with members.
func (c *Coordinator) convert(g *group) (*consumerGroup, error) {
	old := g.classic
	if !old.convertible() {
		return nil, ErrGroupIDNotFound
	}
	migrants := old.migrants()
	if len(migrants) > c.c.ConsumerMaxSize {
		return nil, ErrGroupIDNotFound
	}
	k := newConsumerGroup(c, g)
	k.sessions = true
	g.consumer = k
	g.writing = true // the classic group stands still until it is known which of the two goes on
	d := k.drafting()
	d.first = append(d.first, old.tombstones()...)
	d.epoch, d.bump = old.generation, true
	for _, m := range migrants {
		k.takeIn(m, old.generation)
	}
	d.finished = append(d.finished, func(now time.Time, err error, fx *Effects) {
		if err != nil {
			g.consumer = nil
			return
		}
		old.dissolve(now, ErrRebalanceInProgress, fx) // whoever waits for the old group joins the new one
		g.classic = nil
		fx.note(g.id, "is assigned by the coordinator now")
	})
	return k, nil
}

// takeIn makes a member of a classic group one of this.
func (k *consumerGroup) takeIn(m migrant, generation int32) {
	d := k.edit(m.id)
	sub, _ := embedded.ParseSubscription(m.protocols[0].Metadata) // convertible has checked it
	topics := slices.Clone(sub.Topics)
	slices.Sort(topics)
	d.info = entry.Member{
		Group: k.g.id, MemberID: m.id, InstanceID: m.instanceID, Rack: sub.Rack, ClientID: m.clientID, ClientHost: m.clientHost, Topics: slices.Compact(topics),
		RebalanceTimeoutMillis: int32(min(m.rebalance.Milliseconds(), math.MaxInt32)),
		Classic:                classicMetadata(m.session, m.protocols),
	}
	var assigned partition.Set
	if a, err := embedded.ParseAssignment(m.assignment); err == nil {
		assigned = k.idsOf(a.Partitions)
	}
	for p := range assigned.All { // a leader of the classic protocol may have given a partition to two
		if k.owner(p) != "" {
			assigned = assigned.Minus(partition.Of(p))
		}
	}
	d.newInfo, d.newTarget, d.target = true, true, assigned
	k.setCurrent(d, entry.Current{Group: k.g.id, MemberID: m.id, Epoch: generation, PreviousEpoch: generation, State: entry.Stable, Assigned: assigned})
}

// onlyClassic tells whether all members that are to be speak the classic protocol.
func (k *consumerGroup) onlyClassic(ids []string) bool {
	return len(ids) > 0 && !slices.ContainsFunc(ids, func(id string) bool { return k.lookup(id).info.Classic == nil })
}

// revert ends the group in favour of a classic one, whose members are told to join. Their generation goes on: a heartbeat in a later one would be told that it is illegal, upon which clients give up their
// partitions without a commit, where REBALANCE_IN_PROGRESS has them commit first.
func (k *consumerGroup) revert(d *draft, ids []string) {
	g := k.g
	migrants := make([]migrant, len(ids))
	for i, id := range ids {
		migrants[i] = k.migrant(k.lookup(id))
	}
	epoch := max(k.epoch, d.epoch)
	successor := newClassicFrom(k.c, g, epoch, migrants[0].id, migrants)
	entries := d.first
	for _, id := range k.ids() {
		entries = append(entries, &entry.Current{Group: g.id, MemberID: id, Gone: true}, &entry.TargetMember{Group: g.id, MemberID: id, Gone: true},
			&entry.Member{Group: g.id, MemberID: id, Gone: true})
	}
	entries = append(entries, k.tombstones()...)
	written := successor.entry()
	written.Generation++ // a coordinator that takes over before they have joined knows nothing of the rebalance: to it they come with an old generation, and join all the same
	entries = append(entries, written)
	k.draft = nil
	k.c.write(g, true, entries, func(now time.Time, err error, fx *Effects) {
		for _, f := range d.finished {
			f(now, err, fx)
		}
		for _, a := range d.asks {
			if err == nil {
				fx.refuse(a.id, ErrRebalanceInProgress)
			} else {
				fx.refuse(a.id, err)
			}
		}
		if err != nil {
			k.undone(now, d)
			return
		}
		successor.saved = written
		g.classic = successor
		successor.loaded(now, fx)
		successor.rebalance(now, "the last member that speaks the consumer protocol has left", fx)
		fx.note(g.id, "is assigned by its members now")
	})
}

// migrant is a classic member of this group as one of a classic group.
func (k *consumerGroup) migrant(m *draftMember) migrant {
	out := migrant{
		id: m.info.MemberID, instanceID: m.info.InstanceID, clientID: m.info.ClientID, clientHost: m.info.ClientHost,
		session:    time.Duration(m.info.Classic.SessionTimeoutMillis) * time.Millisecond,
		rebalance:  time.Duration(m.info.RebalanceTimeoutMillis) * time.Millisecond,
		assignment: embedded.Assignment{Partitions: k.namesOf(m.cur.Assigned)}.Append(nil, 0),
	}
	for _, p := range m.info.Classic.Protocols {
		out.protocols = append(out.protocols, Protocol(p))
	}
	return out
}
