package replication

import (
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication/machine"
)

// State is one partition as the controller committed it.
type State struct {
	Leader         int32 // -1 without
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []int32 // in order of preference
	ISR            []int32
	ELR            []int32
	HandOver       []int32 // to whom the leader is to hand over, once that one has all that it has: one broker, or none
}

// Settings are what topic and broker configs say; they may change while the replica lives.
type Settings struct {
	MinInSyncReplicas int           // effective: already min(min.insync.replicas, replica count); below 1 counts as 1
	FlushMessages     int64         // flush.messages; 1 (and 0) = an offset counts as confirmed when it is synced (the default of insync); MaxInt64 = never
	FlushInterval     time.Duration // flush.ms; 0 = never
	LagTime           time.Duration // replica.lag.time.max.ms; 0 = 30 s
	HandOverTime      time.Duration // how long a leader tries to hand over, and may hold appends back for it; 0 = 1 s
}

const (
	defaultLagTime      = 30 * time.Second
	defaultHandOverTime = time.Second
)

func (s Settings) withDefaults() Settings {
	s.MinInSyncReplicas = max(1, s.MinInSyncReplicas)
	s.FlushMessages = max(1, s.FlushMessages)
	if s.LagTime <= 0 {
		s.LagTime = defaultLagTime
	}
	if s.HandOverTime <= 0 {
		s.HandOverTime = defaultHandOverTime
	}
	return s
}

// synced tells whether an offset is confirmed only when it is synced.
func (s Settings) synced() bool { return s.FlushMessages == 1 }

func (s Settings) machine() machine.Settings {
	return machine.Settings{MinISR: s.MinInSyncReplicas, Synced: s.synced(), LagTime: s.LagTime, HandOverTime: s.HandOverTime}
}

// needsFlush tells whether a log with this many unsynced offsets wants a sync now.
func (s Settings) needsFlush(unsynced int64) bool {
	return s.FlushMessages != math.MaxInt64 && unsynced >= s.FlushMessages
}

// Config sets up a Replica. All fields are needed unless said otherwise.
type Config struct {
	NodeID    int32
	Topic     string
	Partition int32
	TopicID   log.TopicID
	Log       *log.Log // the replica owns its appends and truncations; the owner of the replica closes it after Replica.Close
	Commit    *commit.Engine
	Settings  Settings

	// Eligible tells whether a broker may be in an ISR now: registered with this epoch (-1 = any), unfenced, not shutting down. Called with the replica's lock held: it must not block.
	Eligible func(broker int32, brokerEpoch int64) bool
	// BrokerEpoch returns the epoch under which a broker is registered now, -1 if it is not. The same rules as Eligible.
	BrokerEpoch func(broker int32) int64
	// ProposeISR sends an ISR change to the controller once and calls done once, from any goroutine, never from within the call. Called without locks; it must not block.
	// A repetition is the replica's decision, for what an answer means depends on whether an earlier attempt may still be on its way.
	ProposeISR func(p ISRProposal, done func(ISRResult))

	Events Events       // optional
	Logger *slog.Logger // nil = silent
}

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("replication: config without "+what))
		}
	}
	need(c.Topic != "", "Topic")
	need(c.Log != nil, "Log")
	need(c.Commit != nil, "Commit")
	need(c.Eligible != nil, "Eligible")
	need(c.BrokerEpoch != nil, "BrokerEpoch")
	need(c.ProposeISR != nil, "ProposeISR")
	return errors.Join(errs...)
}

// Events are called without locks and must not block. Any may be nil.
type Events struct {
	ISRChanged func(topic string, partition int32, isr []int32)    // as leader
	Offline    func(topic string, partition int32, err error)      // a disk error took the replica down
	Damaged    func(topic string, partition int32, offset int64)   // a read met bytes that are not what was written, or that the disk does not give
	Truncated  func(topic string, partition int32, from, to int64) // as follower: the offsets in [from, to) were cut off
}

// ISRProposal is an AlterPartition request for one partition.
type ISRProposal struct {
	TopicID        log.TopicID
	Topic          string
	Partition      int32
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []ISRMember
	HandOver       []int32 // not empty: the leader appends no more, and this broker has all that it has
}

// ISRMember is one proposed member with the broker epoch the leader knows it by (-1: it has not fetched from this leader yet).
type ISRMember struct {
	ID    int32
	Epoch int64
}

// ISRResult is the controller's answer: Err nil and the committed State, or one of ErrIneligibleReplica, ErrNotAttempted (certainly not applied), ErrFencedEpoch, ErrUnknownTopic,
// ErrInvalidUpdateVersion, ErrInvalidRequest, ErrNewLeaderElected (wait for metadata), or anything else (retry).
// Of State only LeaderEpoch, PartitionEpoch and ISR are looked at, for an AlterPartition response has no more.
type ISRResult struct {
	State State
	Err   error
}

// Role is what a replica is at the moment.
type Role int8

// The roles.
const (
	Idle     = Role(machine.Idle) // no leader known, or not yet told
	Follower = Role(machine.Follower)
	Leader   = Role(machine.Leader)
	Offline  = Role(machine.Offline) // a disk error: everything returns *log.StorageError
)

// String is the role in lower case.
func (r Role) String() string { return machine.Role(r).String() }
