package machine

import (
	"slices"
	"time"
)

// Machine is the state of one replica of one partition. See the package comment. The zero value is not ready: use New.
type Machine struct {
	id       int32
	settings Settings
	eligible func(broker int32, brokerEpoch int64) bool

	role  Role
	state State // as committed, as far as known; its slices belong to the machine

	steppedDown int32 // up to this leader epoch this replica leads no more, whatever the state says

	// What follows is used by a leader only.

	logEnd     int64
	syncedEnd  int64
	hw         int64
	epochStart int64      // the log end offset when this epoch of leadership began
	followers  []Progress // every replica but this one, in the order of State.Replicas
	isr        isrState
	handOver   handOver

	allWaiters    waitList // by end offset: for the high watermark
	leaderWaiters waitList // by end offset: for the leader's own confirmed offset
}

// Role is what the replica is at the moment.
type Role int8

// The roles.
const (
	Idle     Role = iota // no leader known, or not a replica, or a leader that has stepped down
	Follower             // another broker leads
	Leader               // this broker leads
	Offline              // a disk error; final
)

// String is the role in lower case.
func (r Role) String() string {
	switch r {
	case Idle:
		return "idle"
	case Follower:
		return "follower"
	case Leader:
		return "leader"
	case Offline:
		return "offline"
	}
	return "unknown"
}

// State is one partition as the controller committed it.
type State struct {
	Leader         int32 // -1 without
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []int32
	ISR            []int32
	ELR            []int32
	HandOver       []int32 // to whom the leader is to hand over: one, or none
}

// Settings are the configs that decisions depend on.
type Settings struct {
	MinISR  int           // effective: not above the number of replicas; below 1 counts as 1
	Synced  bool          // an offset is confirmed when it is synced, not when it is written
	LagTime time.Duration // replica.lag.time.max.ms

	HandOverTime time.Duration // how long a planned move of the leadership may take until the leader goes on
}

// Positions are the offsets of the local log that the machine starts from when its role changes.
type Positions struct {
	LogEnd        int64
	SyncedEnd     int64
	HighWatermark int64
}

// New returns an idle machine for the broker with the given id. eligible tells whether a broker may be in an ISR now if it is known by this epoch (-1: any epoch); it must be a function of the
// caller's state, not of the clock.
func New(id int32, s Settings, eligible func(broker int32, brokerEpoch int64) bool) *Machine {
	return &Machine{
		id:          id,
		settings:    s,
		eligible:    eligible,
		state:       State{Leader: -1, LeaderEpoch: -1, PartitionEpoch: -1},
		steppedDown: -1,
	}
}

// Apply takes a state of the partition as committed by the controller. One with an older partition epoch is ignored: the leader learns committed states both from metadata and from answers to
// its proposals, in any order. One with the same partition epoch changes no in-sync set and drops no pending proposal: that could be applied yet.
func (m *Machine) Apply(s State, p Positions, now time.Time, fx *Effects) {
	if s.PartitionEpoch < m.state.PartitionEpoch || s.LeaderEpoch < m.state.LeaderEpoch {
		return
	}
	if s.PartitionEpoch == m.state.PartitionEpoch && s.LeaderEpoch == m.state.LeaderEpoch {
		// The answer to a proposal carries the in-sync set only; replicas and ELR come with the metadata.
		m.state.Replicas = append(m.state.Replicas[:0], s.Replicas...)
		m.state.ELR = append(m.state.ELR[:0], s.ELR...)
		m.state.HandOver = append(m.state.HandOver[:0], s.HandOver...)
		if m.role == Leader {
			m.assignFollowers(now, false)
			m.advance(now, fx)
			m.takeHandOver(s.HandOver, now, fx)
		}
		return
	}
	newEpoch := s.LeaderEpoch > m.state.LeaderEpoch
	isrChanged := !slices.Equal(s.ISR, m.state.ISR)
	m.state.Leader, m.state.LeaderEpoch, m.state.PartitionEpoch = s.Leader, s.LeaderEpoch, s.PartitionEpoch
	m.state.Replicas = append(m.state.Replicas[:0], s.Replicas...)
	m.state.ISR = append(m.state.ISR[:0], s.ISR...)
	m.state.ELR = append(m.state.ELR[:0], s.ELR...)
	m.state.HandOver = append(m.state.HandOver[:0], s.HandOver...)
	if m.role == Offline {
		return
	}
	role := m.roleIn(s)
	if role != m.role || newEpoch {
		fx.RoleChanged = true
	}
	switch {
	case role == Leader && (newEpoch || m.role != Leader):
		m.lead(p, now, fx)
	case role == Leader:
		// Same leader epoch, newer partition epoch: the controller compares partition epochs, so a proposal made under the older one has been applied already or never will be.
		m.isr.settle()
		m.handOver.doubt = false
		m.assignFollowers(now, false)
		fx.ISRChanged = isrChanged
		m.advance(now, fx)
	case m.role == Leader:
		m.role = role
		m.resign(LostLeadership, fx)
	default:
		m.role = role
	}
	if m.role == Leader {
		m.takeHandOver(s.HandOver, now, fx)
	}
}

// roleIn is the role that s gives this broker.
func (m *Machine) roleIn(s State) Role {
	switch {
	case s.Leader == m.id && s.LeaderEpoch > m.steppedDown:
		return Leader
	case s.Leader == m.id:
		return Idle
	case s.Leader >= 0 && slices.Contains(s.Replicas, m.id):
		return Follower
	}
	return Idle
}

// SetSettings takes changed configs. A smaller minimum may let the high watermark move.
func (m *Machine) SetSettings(s Settings, now time.Time, fx *Effects) {
	m.settings = s
	if m.role == Leader {
		m.advance(now, fx)
		m.answerLeaderWaiters(fx)
	}
}

// StorageFailed takes the replica offline for good: what waits fails, and nothing is served any more (the error is with the driver).
func (m *Machine) StorageFailed(fx *Effects) {
	if m.role == Offline {
		return
	}
	m.role = Offline
	fx.RoleChanged = true
	m.resign(StorageLost, fx)
}

// Stop fails what waits, as a loss of leadership does.
func (m *Machine) Stop(fx *Effects) {
	if m.role != Offline {
		m.role = Idle
	}
	fx.RoleChanged = true
	m.resign(LostLeadership, fx)
}

// StepDown ends a leadership under an epoch, or an earlier one, for good: whoever asked for it may give it to another replica from now on. It may be one that is not known here yet.
func (m *Machine) StepDown(leaderEpoch int32, fx *Effects) {
	m.steppedDown = max(m.steppedDown, leaderEpoch)
	if m.role == Leader && m.state.LeaderEpoch <= m.steppedDown {
		m.role = Idle
		fx.RoleChanged = true
		m.resign(LostLeadership, fx)
	}
}

// resign ends a leadership: what waits fails with why, proposals on their way are no longer ours.
func (m *Machine) resign(why Outcome, fx *Effects) {
	m.isr.settle()
	m.handOver = handOver{}
	m.followers = m.followers[:0]
	m.allWaiters.failAll(why, fx)
	m.leaderWaiters.failAll(why, fx)
}

// Role is the replica's role.
func (m *Machine) Role() Role { return m.role }

// State is the committed state as far as known. Its slices belong to the machine.
func (m *Machine) State() State { return m.state }

// LeaderEpoch is the newest leader epoch known, -1 at first.
func (m *Machine) LeaderEpoch() int32 { return m.state.LeaderEpoch }

// EpochStart is where the leader's epoch starts in its log; -1 unless leader.
func (m *Machine) EpochStart() int64 {
	if m.role != Leader {
		return -1
	}
	return m.epochStart
}

// Followers is a leader's view of the other replicas. It belongs to the machine and is valid until the next event.
func (m *Machine) Followers() []Progress { return m.followers }

// EpochCheck is the outcome of comparing a request's leader epoch with the replica's.
type EpochCheck int8

// The outcomes, in Kafka's order of precedence: epochs first, then the role.
const (
	EpochOK      EpochCheck = iota
	EpochFenced             // the request is older: FENCED_LEADER_EPOCH
	EpochUnknown            // the request is newer, metadata has not arrived here: UNKNOWN_LEADER_EPOCH
	NotLeader               // NOT_LEADER_OR_FOLLOWER
	HandsOver               // of an append: it has to wait until another leads, or this leader goes on
)

// CheckEpoch compares the leader epoch of a request (-1: not compared) and, with leaderOnly, the role.
func (m *Machine) CheckEpoch(epoch int32, leaderOnly bool) EpochCheck {
	switch {
	case epoch >= 0 && epoch < m.state.LeaderEpoch:
		return EpochFenced
	case epoch >= 0 && epoch > m.state.LeaderEpoch:
		return EpochUnknown
	case leaderOnly && m.role != Leader, m.role == Idle, m.role == Offline:
		return NotLeader
	}
	return EpochOK
}
