package machine

import (
	"math"
	"time"

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

	reads *topicsRead    // nil: members or what they say have changed
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

// emptySince is when the group became empty, in milliseconds.
func (k *classicGroup) emptySince() (int64, bool) {
	return k.stateAt, k.state == classicEmpty && k.stateAt >= 0
}

func (k *classicGroup) become(now time.Time, s classicState) {
	k.state, k.stateAt = s, k.c.Wall(now).UnixMilli()
}

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
