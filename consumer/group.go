package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/transport"
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is "topic-3".
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }

// Protocol is how a member and its coordinator share out partitions.
type Protocol int8

// The protocols.
const (
	ProtocolAuto     Protocol = iota // KIP-848 where the coordinator has it, else the classic one
	ProtocolClassic                  // members share out among themselves: JoinGroup, SyncGroup, cooperative-sticky
	ProtocolConsumer                 // KIP-848: the coordinator shares out; a cluster without it is an error
)

// String names it as Kafka's group.protocol does.
func (p Protocol) String() string {
	switch p {
	case ProtocolClassic:
		return "classic"
	case ProtocolConsumer:
		return "consumer"
	}
	return "auto"
}

// CommitMode says when the group's offsets are committed, and so what a crash repeats or loses.
type CommitMode int8

// The modes.
const (
	// AtLeastOnce commits what was marked as processed (MarkProcessed, MarkBatch, a nil from Process): in the background every Config.CommitInterval, when a partition is given up, on Close and by
	// CommitMarked. Nothing unmarked is ever committed. After a crash what was not committed yet comes again.
	AtLeastOnce CommitMode = iota
	// AtMostOnce commits the end of each batch before its records are handed out, and waits for that: nothing comes twice, and a crash loses what was handed out and not finished, to the end of its batch.
	AtMostOnce
	// External commits nothing: offsets live in the application's own store, in one transaction with the results. See Config.LoadOffsets, Process, and the package sqloffsets.
	External
)

// Fence names one assignment of partitions to one member: who read what a Batch holds. A store that keeps offsets with the results refuses writes under any other fence than the last one claimed.
//
// Generation is the member epoch (KIP-848) or the generation (classic protocol) under which the partition was assigned, not that of the moment: it stays the same for as long as the member keeps the
// partition. A later assignment of the partition to another member has a higher one, with one exception: a static member that takes over from its predecessor may have the same. So compare both the
// generation and the member.
type Fence struct {
	Group      string
	MemberID   string
	Generation int32
}

// Claim is what Config.LoadOffsets is asked: partitions that were assigned to this member under one fence.
type Claim struct {
	Fence
	Partitions []TopicPartition

	// Confirmed says that an earlier claim was refused with ErrFenced, and that the coordinator has said since that the partitions are this member's. Generations rise for as long as a group exists, so
	// that the higher one in the store is that of an earlier group of this name: coordinators forget groups that have neither members nor offsets. The claim may replace it.
	Confirmed bool
}

// MemberState says where a member is in its group.
type MemberState int8

// The states, in the order of a life.
const (
	NotJoined   MemberState = iota // no iteration has begun yet, or the member has left because of Config.MaxProcessing
	Joining                        // it is on its way in, for the first time or again
	Reconciling                    // partitions are being given up or taken over
	Stable                         // it has what the group gave it
	Ended                          // it will not come back: closed, or an error that ends iterations
)

// String says it in a word.
func (s MemberState) String() string {
	return [...]string{"not joined", "joining", "reconciling", "stable", "ended"}[s]
}

// GroupStatus tells how this consumer stands in its group.
type GroupStatus struct {
	Group       string
	MemberID    string // "" before the coordinator has given one (classic protocol)
	Generation  int32  // member epoch or generation; 0 or less: not a member
	Protocol    Protocol
	State       MemberState
	Coordinator int32 // node; -1 not known
	LateMarks   int64 // marks that came too late: the partition was another's by then
	Err         error // why it is not a member, or may soon not be: errors that have not passed
}

// group is what a consumer keeps of its group. Everything but the channels and config is guarded by Consumer.mu.
type group struct {
	wake     chan struct{} // capacity 1: the member loop has something to do
	work     chan struct{} // capacity 1: the reconciler has
	dirty    chan struct{} // capacity 1: the committer should not wait for its interval
	released chan struct{} // capacity 1: the application let go of a record of a partition that is asked back
	turn     chan struct{} // capacity 1: one commit at a time, so that a retry cannot undo a later one
	left     chan struct{} // closed when the member loop has ended

	machine  machine
	protocol Protocol // in use; ProtocolAuto not known yet
	life     int      // of the membership: answers to requests of an earlier one are dropped
	lifeCtx  context.Context
	endLife  context.CancelFunc
	results  []result  // not absorbed yet
	lease    time.Time // when the partitions are given up as lost, soon before the coordinator may give them away; zero without partitions
	locating bool      // the coordinator is being looked for
	naming   bool      // topic ids are being looked up

	assignment *assignment // what the coordinator says; nil: nothing yet
	names      map[[16]byte]string
	version    int // of the partitions held, raised when the reconciler is done with some

	lostQueue  [][]TopicPartition // to be told to OnLost
	lostMarks  map[key]error      // partitions with marks that could not be committed, since the last CommitMarked
	late       int64
	held       *partition   // the application has a record or a batch of it in its hands
	heldAt     atomic.Int64 // since when, in nanoseconds of the consumer's life; stored by the iteration, read by the member loop
	heldCancel context.CancelCauseFunc
	parked     bool           // left because of Config.MaxProcessing, until the application is back
	closing    bool           // give everything up, then leave
	givenUp    bool           // everything is given up: the member may leave
	census     map[string]int // partitions by topic at the first assignment; nil before
	err        error          // why it is not a member, if so
	trouble    error          // of the last request of the membership
}

// assignment is what the coordinator gave a member, by topic. One of the id (KIP-848) and the name (classic) is known.
type assignment struct {
	generation int32
	memberID   string
	topics     []assignedTopic
}

type assignedTopic struct {
	id         [16]byte
	name       string
	partitions []int32
}

// machine is one of the two protocols as a pure state machine: it is told the time and what happened, and says what to send. One call at a time.
type machine interface {
	// next returns the next request to send now; without one, when to ask again at the latest (zero: when something happens).
	next(now time.Time, v view) (messageRequest, time.Time)
	// answer takes what came of a request that was sent at a time.
	answer(now, sent time.Time, req messageRequest, resp messageResponse, err error) outcome
	// shared tells a leader of the classic protocol what it has shared out.
	shared(now time.Time, s sharing)
	// gaveUp says that partitions were given up which the assignment did not have any more.
	gaveUp(now time.Time)
	// hurry makes the next heartbeat due.
	hurry(now time.Time)
	// reset forgets the membership because the consumer has decided that it is over. With leave it is taken leave of first; with park no other begins until unpark.
	reset(now time.Time, leave, park bool)
	unpark(now time.Time)
	// quit takes leave for good; afterwards gone is true.
	quit(now time.Time)
	gone() bool
	// member names the membership; a generation below 1 means that there is none.
	member() (id string, generation int32)
	// confirmed is when the last request was sent that the coordinator answered as to a member: its session runs from then or later.
	confirmed() time.Time
	// settled says that no change of generation is under way on this side.
	settled() bool
	// watched are the topics, with their partitions, on which this member's sharing out depends.
	watched() map[string]int
	kind() Protocol
}

// view is what a machine sees of the consumer.
type view struct {
	owned   []ownedPartition // also those that are being given up
	version int              // changes when the reconciler has taken over or given up
}

type ownedPartition struct {
	key
	id [16]byte
}

// outcome is what a machine makes of an answer.
type outcome struct {
	relocate    bool         // the coordinator must be looked for
	trouble     error        // it will be tried again because of this
	lost        error        // the membership is over, and all partitions with it
	end         error        // and no other will begin
	unsupported bool         // the coordinator does not speak this protocol
	assigned    *assignment  // what the member is to have
	lead        []subscriber // share out among these; nil: nothing to do
}

// result is what came of a request of the member loop.
type result struct {
	life int
	sent time.Time
	node int32
	req  messageRequest
	resp messageResponse
	err  error
}

func newGroup() *group {
	g := &group{
		wake: make(chan struct{}, 1), work: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		released: make(chan struct{}, 1), turn: make(chan struct{}, 1), left: make(chan struct{}),
		names: map[[16]byte]string{}, lostMarks: map[key]error{},
	}
	return g
}

// GroupStatus tells how this consumer stands in its group; the zero GroupStatus without one.
func (c *Consumer) GroupStatus() GroupStatus {
	g := c.group
	if g == nil {
		return GroupStatus{}
	}
	node, ok := c.client.CachedCoordinator(transport.GroupCoordinator, c.config.Group)
	if !ok {
		node = -1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := GroupStatus{Group: c.config.Group, Protocol: g.protocol, Coordinator: node, LateMarks: g.late, Err: errors.Join(g.err, g.trouble)}
	if g.machine != nil {
		s.MemberID, s.Generation = g.machine.member()
	}
	switch {
	case c.mu.ended != nil || c.mu.closed:
		s.State = Ended
	case g.machine == nil || g.parked:
		s.State = NotJoined
	case s.Generation < 1:
		s.State = Joining
	case !g.machine.settled() || c.busyLocked():
		s.State = Reconciling
	default:
		s.State = Stable
	}
	return s
}

// fenceLocked names the assignment of a partition.
func (c *Consumer) fenceLocked(p *partition) Fence {
	return Fence{Group: c.config.Group, MemberID: p.memberID, Generation: p.memberGeneration}
}
