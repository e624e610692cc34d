package replication

import (
	"slices"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication/machine"
)

// Status is a snapshot for people and for the broker.
type Status struct {
	Topic       string
	Partition   int32
	TopicID     log.TopicID
	Role        Role
	State       State // as committed, as far as known
	MaximalISR  []int32
	Offsets     log.Offsets
	EpochStart  int64 // leader: the offset at which its epoch starts; else -1
	Followers   []Progress
	ProposalOut bool
	Err         error
}

// Progress is what a leader knows of one follower.
type Progress struct {
	ID             int32
	FetchOffset    int64 // -1 unknown
	LogStartOffset int64 // -1 unknown
	LastCaughtUp   time.Time
	LastFetch      time.Time
	InSync         bool
	Counts         bool // the high watermark waits for it: it is in sync, or may be by now
	BrokerEpoch    int64
}

// Status returns a snapshot that shares no memory with the replica.
func (r *Replica) Status() Status {
	r.lock()
	defer r.mu.Unlock()
	m := r.mu.machine
	s := m.State()
	s.Replicas, s.ISR, s.ELR, s.HandOver = slices.Clone(s.Replicas), slices.Clone(s.ISR), slices.Clone(s.ELR), slices.Clone(s.HandOver)
	st := Status{
		Topic: r.config.Topic, Partition: r.config.Partition, TopicID: r.config.TopicID,
		Role: Role(m.Role()), State: State(s), Offsets: r.log.Offsets(), EpochStart: m.EpochStart(), Err: r.mu.err,
	}
	if m.Role() != machine.Leader {
		return st
	}
	st.MaximalISR = m.MaximalISR(nil)
	st.ProposalOut = m.PendingChange() != machine.Committed
	for _, f := range m.Followers() {
		st.Followers = append(st.Followers, Progress{
			ID: f.ID, FetchOffset: f.Offset, LogStartOffset: f.LogStartOffset, LastCaughtUp: f.LastCaughtUp, LastFetch: f.LastFetch, InSync: f.InISR,
			Counts: f.InMaximal, BrokerEpoch: f.BrokerEpoch,
		})
	}
	return st
}
