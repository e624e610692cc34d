package consumer

import (
	"sync/atomic"
	"time"
)

// state is what a partition needs next.
type state int8

const (
	unplaced   state = iota // its position is to be resolved: start says to what
	validating              // its leader has changed: has the log lost what was read? (KIP-320)
	fetching                // it can be fetched
	failed                  // err was or will be handed to the application; only Seek helps
)

// tenure is where a partition of a group is between being given to this member and being given up. Without a group it is always reading.
type tenure int8

const (
	reading    tenure = iota
	loading           // where to begin is being asked for
	announcing        // OnAssigned runs
	yielding          // asked back: nothing more is handed out, marks still count
	gone              // not this member's
)

// key names a partition.
type key struct {
	topic  string
	number int32
}

// partition is one assigned partition. All fields but key are guarded by Consumer.mu.
type partition struct {
	key

	state     state
	resolving bool      // the resolver has a request under way for it
	start     Position  // state unplaced: where to
	retryAt   time.Time // nothing is asked before

	id          [16]byte
	leader      int32 // -1 unknown
	leaderEpoch int32 // of leader; -1 unknown
	stale       bool  // the metadata about it must be asked for anew
	replica     int32 // preferred read replica (KIP-392); -1: read from the leader
	replicaEnds time.Time

	generation int   // seeks so far: an answer to a fetch of an earlier one is dropped
	fetchAt    int64 // next offset to fetch; -1 until placed
	lastEpoch  int32 // leader epoch of the last batch fetched; -1 unknown
	position   int64 // next offset to hand out; -1 until placed
	buffered   int   // bytes fetched and not handed out
	asked      bool  // part of a fetch under way
	paused     bool

	highWatermark int64 // -1 unknown
	visible       int64 // end of what this consumer may see: high watermark or last stable offset; -1 unknown
	err           error // the last error, nil when all is well

	membership
	told bool // state failed: the application has got err
}

// membership is what a partition of a group has besides.
type membership struct {
	tenure           tenure
	stopped          atomic.Bool // set with yielding and gone, and by Seek and Pause: the iteration stops at the next record
	announced        bool        // OnAssigned was called, and OnRevoked or OnLost was not
	assignedID       [16]byte    // topic id by which it was assigned; zero in the classic protocol
	memberID         string      // whom it was assigned to
	memberGeneration int32       // and when
	refusedAt        time.Time   // LoadOffsets was refused with ErrFenced then
	loadFailures     retrying
	loadsAt          int // generation when loading began

	run          int          // seeks so far; marks of an earlier run do not count
	floor        int64        // where the run began; -1 before its first record
	origin       int64        // where the first run began, after a seek; -1 unknown
	lastBatch    int64        // where the last batch that was handed out in this run begins; -1 none was
	handing      atomic.Int64 // end of what was handed out of that batch, while floor is not negative; stored by the iteration
	handedEnd    int64        // end of the records of it, without what follows that is none; -1 nothing
	marked       int64        // end of what is marked as processed; -1 nothing
	markedRun    int          // run of marked
	markedEpoch  int32        // leader epoch of the last record marked
	committed    int64        // as the coordinator knows it; -1 unknown, nothing
	committedRun int          // run of committed: after a Seek back it follows
	pausedTold   bool         // the coordinator has been told that it is paused
	baseline     bool         // the position it begins at must be committed before anything is handed out
	expected     int64        // External: what the application's store should hold; -1 nothing
}

// gated tells whether nothing of it may be fetched and handed out.
func (p *partition) gated() bool { return p.tenure != reading || p.baseline }

func newPartition(k key, start Position) *partition {
	p := &partition{key: k, start: start, leader: -1, leaderEpoch: -1, replica: -1, fetchAt: -1, lastEpoch: -1, position: -1, highWatermark: -1, visible: -1}
	p.floor, p.origin, p.lastBatch, p.handedEnd, p.marked, p.markedEpoch, p.committed, p.expected = -1, -1, -1, -1, -1, -1, -1, -1
	return p
}

// seek makes the partition begin anew at p.
func (p *partition) seek(to Position) {
	if p.run == 0 {
		p.origin = p.began()
	}
	p.generation++
	p.run++
	p.stopped.Store(true)
	p.floor, p.lastBatch, p.handedEnd, p.baseline = -1, -1, -1, false
	p.state, p.start, p.retryAt, p.err = unplaced, to, time.Time{}, nil
	p.fetchAt, p.position, p.lastEpoch, p.replica = -1, -1, -1, -1
}

// began is where reading began, before any seek; -1 unknown.
func (p *partition) began() int64 {
	switch {
	case p.run > 0:
		return p.origin
	case p.lastBatch < 0:
		return p.position
	}
	return p.floor
}

// place gives the partition its position. Nothing was read yet, so there is no epoch to check it by.
func (p *partition) place(offset int64) {
	p.state, p.fetchAt, p.position, p.lastEpoch, p.err = fetching, offset, offset, -1, nil
}

// node is where the partition is fetched from; -1 unknown.
func (p *partition) node(now time.Time) int32 {
	if p.replica >= 0 {
		if now.Before(p.replicaEnds) {
			return p.replica
		}
		p.replica = -1
	}
	return p.leader
}

// fail ends the partition with an error for the application.
func (p *partition) fail(err error) { p.state, p.err, p.told = failed, err, false }

// backOff tries again later.
func (p *partition) backOff(now time.Time, d time.Duration, err error) {
	p.retryAt, p.err = now.Add(d), err
}
