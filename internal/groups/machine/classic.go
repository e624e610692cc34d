package machine

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/embedded"
	"github.com/insynclog/insync/internal/groups/entry"
)

// classicState is where a classic group is. The words are Kafka's.
//
//	Empty ──join──▶ PreparingRebalance ──all have joined, or time is over──▶ CompletingRebalance ──the leader's assignment is written──▶ Stable
//	  ▲                 │   ▲                                                        │                                                   │
//	  └──nobody is left─┘   └───────────────────── join, leave, expiry, changed subscription ◀────────────────────────────────────────────┘
type classicState int8

const (
	classicEmpty classicState = iota
	preparingRebalance
	completingRebalance
	classicStable
)

// String is Kafka's word.
func (s classicState) String() string {
	switch s {
	case preparingRebalance:
		return "PreparingRebalance"
	case completingRebalance:
		return "CompletingRebalance"
	case classicStable:
		return "Stable"
	}
	return "Empty"
}

// newMemberTimeout is how long a new member may wait for its first rebalance: its client may be gone, and nobody would know before.
const newMemberTimeout = 5 * time.Minute

// classicGroup is the members of a group that assign among themselves.
//
// Only what a rebalance ends with is written, and what it takes to go on from there: members, generation, assignments. Joins and syncs wait in memory; a coordinator that moves has their clients ask again.
type classicGroup struct {
	c *Coordinator
	g *group

	state        classicState
	stateAt      int64 // milliseconds; -1 unknown
	protocolType string
	protocol     string // "" before the first rebalance and while empty
	generation   int32  // rises when a join phase ends
	leader       string // "" without members
	members      map[string]*classicMember
	order        []string          // ids as they joined
	instances    map[string]string // instance id → member id
	pending      map[string]*timer // ids given out whose members have not joined with them yet

	joinEnd   timer
	syncEnd   timer
	delaying  bool          // the first rebalance of an empty group waits for more members
	remaining time.Duration // for how long it may be put off again
	added     bool          // a member has come since it was put off last

	saved *entry.Classic // as last written; nil if it never was
}

// classicMember is one member.
type classicMember struct {
	id, instanceID       string
	clientID, clientHost string
	session, rebalance   time.Duration
	protocols            []Protocol // by preference
	assignment           []byte

	fresh   bool   // has not been through a rebalance
	joining bool   // a JoinGroup waits: that of join
	join    uint64 // its id
	syncing bool   // a SyncGroup waits: that of sync
	sync    uint64 // its id
	synced  bool   // it has asked for its assignment in this generation

	timer timer // of its session; not set while a join or sync waits
}

func newClassicGroup(c *Coordinator, g *group) *classicGroup {
	return &classicGroup{c: c, g: g, stateAt: -1, members: map[string]*classicMember{}, instances: map[string]string{}, pending: map[string]*timer{}}
}

func (k *classicGroup) empty() bool { return len(k.members) == 0 }

// consumers tells whether the members are consumers, so that what they read can be known.
func (k *classicGroup) consumers() bool { return k.protocolType == consumerProtocol }

// subscribed tells whether a member may read a topic. A subscription that cannot be read may have any.
func (k *classicGroup) subscribed(topic string) bool {
	if !k.consumers() {
		return false
	}
	return slices.ContainsFunc(k.order, func(id string) bool {
		sub, err := embedded.ParseSubscription(k.metadata(k.members[id]))
		return err != nil || slices.Contains(sub.Topics, topic)
	})
}

// metadata is what a member tells the leader under the group's protocol, or its first one before there is one.
func (k *classicGroup) metadata(m *classicMember) []byte {
	for _, p := range m.protocols {
		if p.Name == k.protocol || k.protocol == "" {
			return p.Metadata
		}
	}
	return nil
}

// emptySince is when the group became empty, in milliseconds.
func (k *classicGroup) emptySince() (int64, bool) {
	return k.stateAt, k.state == classicEmpty && k.stateAt >= 0
}

func (k *classicGroup) become(now time.Time, s classicState) { k.state, k.stateAt = s, now.UnixMilli() }

// find returns the member that a request comes from.
func (k *classicGroup) find(memberID, instanceID string) (*classicMember, error) {
	if instanceID != "" {
		switch holder, ok := k.instances[instanceID]; {
		case !ok:
			return nil, ErrUnknownMember
		case holder != memberID:
			return nil, ErrFencedInstance
		}
	}
	m := k.members[memberID]
	if m == nil {
		return nil, ErrUnknownMember
	}
	return m, nil
}

// inGeneration is find for requests that name a generation.
func (k *classicGroup) inGeneration(memberID, instanceID string, generation int32) (*classicMember, error) {
	m, err := k.find(memberID, instanceID)
	if err == nil && generation != k.generation {
		return nil, ErrIllegalGeneration
	}
	return m, err
}

// checkCommit tells whether a commit comes from a member in the present generation, or the group is empty.
func (k *classicGroup) checkCommit(now time.Time, r *Commit) error {
	if r.Epoch < 0 && k.state == classicEmpty {
		return nil // an administrator's, or a consumer's that assigns its partitions itself
	}
	m, err := k.inGeneration(r.MemberID, r.InstanceID, r.Epoch)
	switch {
	case err != nil:
		return err
	case k.state == completingRebalance:
		return ErrRebalanceInProgress // who has which partition is not known yet
	}
	if !m.joining {
		k.keepAlive(now, m)
	}
	return nil
}

// entry is the group as it is to be written.
func (k *classicGroup) entry() *entry.Classic {
	e := &entry.Classic{Group: k.g.id, ProtocolType: k.protocolType, Generation: k.generation, Protocol: k.protocol, Leader: k.leader, StateAt: k.stateAt}
	for _, id := range k.order {
		m := k.members[id]
		e.Members = append(e.Members, entry.ClassicMember{
			ID: m.id, InstanceID: m.instanceID, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMillis: millis(m.rebalance), SessionTimeoutMillis: millis(m.session),
			Subscription: k.metadata(m), Assignment: m.assignment,
		})
	}
	return e
}

func millis(d time.Duration) int32 { return int32(min(d.Milliseconds(), math.MaxInt32)) }

// written is the group as it was last written.
func (k *classicGroup) written() *entry.Classic { return k.saved }

// tombstones delete the group, which is empty.
func (k *classicGroup) tombstones() []entry.Entry {
	if k.saved == nil {
		return nil
	}
	return []entry.Entry{&entry.Classic{Group: k.g.id, Gone: true}}
}

// replayClassic takes an entry of the log. On the group as it lives only its end has an effect: for the rest the decision that was written has the whole of it.
func (c *Coordinator) replayClassic(e *entry.Classic) {
	g := c.groups[e.Group]
	switch {
	case e.Gone:
		if g != nil && g.classic != nil {
			g.classic.stop()
			g.classic = nil
			c.prune(g)
		}
		return
	case c.live:
		if g != nil && g.classic != nil {
			g.classic.saved = e
		}
		return
	}
	g = c.group(e.Group)
	k := newClassicGroup(c, g)
	k.protocolType, k.protocol, k.generation, k.leader, k.stateAt, k.saved = e.ProtocolType, e.Protocol, e.Generation, e.Leader, e.StateAt, e
	for i := range e.Members {
		m := &e.Members[i]
		rebalance := m.RebalanceTimeoutMillis
		if rebalance < 0 { // of a version that had none
			rebalance = m.SessionTimeoutMillis
		}
		k.insert(&classicMember{
			id: m.ID, instanceID: m.InstanceID, clientID: m.ClientID, clientHost: m.ClientHost, session: time.Duration(m.SessionTimeoutMillis) * time.Millisecond,
			rebalance: time.Duration(rebalance) * time.Millisecond, protocols: []Protocol{{Name: e.Protocol, Metadata: m.Subscription}}, assignment: m.Assignment, synced: true,
		})
	}
	if len(k.members) > 0 {
		k.state = classicStable
	}
	g.classic = k
}

// insert puts a member into the tables.
func (k *classicGroup) insert(m *classicMember) {
	if k.members[m.id] == nil {
		k.order = append(k.order, m.id)
	}
	k.members[m.id] = m
	if m.instanceID != "" {
		k.instances[m.instanceID] = m.id
	}
}

// loaded begins the sessions.
func (k *classicGroup) loaded(now time.Time, _ *Effects) {
	for _, id := range k.order {
		k.keepAlive(now, k.members[id])
	}
}

// keepAlive begins a member's session anew.
func (k *classicGroup) keepAlive(now time.Time, m *classicMember) { k.expectWithin(now, m, m.session) }

// expectWithin has a member removed if nothing is heard of it for some time.
func (k *classicGroup) expectWithin(now time.Time, m *classicMember, d time.Duration) {
	k.c.start(k.g, &m.timer, now.Add(d), func(now time.Time, fx *Effects) {
		if k.g.classic == k && k.members[m.id] == m {
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

// dissolve refuses whatever waits, and stops all timers.
func (k *classicGroup) dissolve(_ time.Time, err error, fx *Effects) {
	k.stop()
	for _, id := range k.order {
		k.members[id].refuse(err, fx)
	}
}

// refuse answers what a member waits for with an error.
func (m *classicMember) refuse(err error, fx *Effects) {
	if m.joining {
		m.joining = false
		fx.refuseWith(m.join, err, &Joined{MemberID: m.id, Generation: -1})
	}
	if m.syncing {
		m.syncing = false
		fx.refuse(m.sync, err)
	}
}

func (k *classicGroup) describe() Description {
	d := Description{State: k.state.String(), ProtocolType: k.protocolType}
	if k.state == classicStable {
		d.Protocol = k.protocol
	}
	for _, id := range k.order {
		m := k.members[id]
		md := MemberDescription{MemberID: m.id, InstanceID: m.instanceID, ClientID: m.clientID, ClientHost: m.clientHost}
		if k.state == classicStable {
			md.Metadata, md.Assignment = k.metadata(m), m.assignment
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// convertible tells whether the coordinator could assign the group's members: they are consumers, and their subscriptions can be read.
func (k *classicGroup) convertible() bool {
	return k.consumers() && !slices.ContainsFunc(k.order, func(id string) bool {
		m := k.members[id]
		if len(m.protocols) == 0 {
			return true
		}
		_, err := embedded.ParseSubscription(m.protocols[0].Metadata)
		return err != nil
	})
}

// migrants are the members, in order of joining.
func (k *classicGroup) migrants() []migrant {
	out := make([]migrant, len(k.order))
	for i, id := range k.order {
		m := k.members[id]
		out[i] = migrant{
			id: m.id, instanceID: m.instanceID, clientID: m.clientID, clientHost: m.clientHost, session: m.session, rebalance: m.rebalance,
			protocols: m.protocols, assignment: m.assignment,
		}
	}
	return out
}

// newClassicFrom makes a stable group without timers, which loaded starts.
func newClassicFrom(c *Coordinator, g *group, generation int32, protocol, leader string, members []migrant) *classicGroup {
	k := newClassicGroup(c, g)
	k.state, k.protocolType, k.protocol, k.generation, k.leader = classicStable, consumerProtocol, protocol, generation, leader
	for _, m := range members {
		k.insert(&classicMember{
			id: m.id, instanceID: m.instanceID, clientID: m.clientID, clientHost: m.clientHost, session: m.session, rebalance: m.rebalance,
			protocols: m.protocols, assignment: m.assignment, synced: true,
		})
	}
	k.saved = k.entry()
	return k
}

// rebalanceTimeout is the longest that any member asks for.
func (k *classicGroup) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range k.members { // in any order
		longest = max(longest, m.rebalance)
	}
	return longest
}

// choose is the protocol that most members prefer among those that all support.
func (k *classicGroup) choose() string {
	supported := func(name string) bool {
		return !slices.ContainsFunc(k.order, func(id string) bool { return !k.members[id].supports(name) })
	}
	votes := map[string]int{}
	var candidates []string
	for _, id := range k.order {
		for _, p := range k.members[id].protocols {
			if supported(p.Name) {
				if votes[p.Name]++; votes[p.Name] == 1 {
					candidates = append(candidates, p.Name)
				}
				break
			}
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	return slices.MaxFunc(candidates, func(a, b string) int { return cmp.Compare(votes[a], votes[b]) })
}

func (m *classicMember) supports(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == name })
}
