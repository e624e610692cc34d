package producer

import (
	"fmt"
	"math"
	"time"

	"github.com/insynclog/insync/log/record"
)

// batchState is where a batch is in its life.
//
//	open -> queued -> flying -> finished
//	                  ^    |
//	                  waiting  (for a retry)
type batchState int8

const (
	open     batchState = iota // takes records
	queued                     // closed, never sent
	flying                     // in a request under way
	waiting                    // was sent, and will be again
	finished                   // its outcome is known; its callbacks may not have run yet
)

func (s batchState) String() string {
	return [...]string{"open", "queued", "flying", "waiting", "finished"}[s]
}

// batch is a run of records of one partition that shares one fate. Its partition's lock guards it, with two exceptions: the builder
// and the encoded bytes of a flying batch belong to whoever sends it, and the callbacks of a finished batch to whoever delivers it.
type batch struct {
	part     *partition
	builder  *record.Builder // nil once encoded
	buf      *buffer         // nil before
	state    batchState
	deadline time.Time // when Config.DeliveryTimeout ends
	ripe     time.Time // when Config.Linger ends, or without one the patience
	reserved int64     // bytes of the producer's memory
	rawBytes int       // size before compression, once encoded

	callbacks []callback
	heavy     bool // a callback is a user's function, which must not run just anywhere

	count    int32 // records
	sequence int32 // of the first record, once sent with idempotence
	attempts int
	maybe    bool // an attempt may have left it in the log, or may yet
	aliased  bool // an attempt ended without an answer: somebody may still read the encoded bytes

	lastErr error

	baseOffset    int64 // of a finished batch; -1 unknown
	logAppendTime int64 // milliseconds, -1 if timestamps are the records' own
	err           *Error
	rejected      []error // by record, if the leader told them apart; else nil
	flushes       []*flush
}

// buffer is encoded bytes that go back to a pool.
type buffer struct{ b []byte }

// callback is what one record waits for: a function or a waiter.
type callback struct {
	done      func(Metadata, error)
	waiter    *waiter
	timestamp int64 // milliseconds
}

func (b *batch) String() string {
	s := fmt.Sprintf("{seq=%d count=%d %v attempts=%d", b.sequence, b.count, b.state, b.attempts)
	if b.maybe {
		s += " maybe"
	}
	if b.err != nil {
		s += " " + b.err.Outcome.String()
	}
	return s + "}"
}

// size is the number of bytes that b takes in a request, before it is encoded at most.
func (b *batch) size() int {
	if b.buf != nil {
		return len(b.buf.b)
	}
	return b.builder.Size()
}

// deliver tells everybody who waits for b. It runs once, without a lock.
func (b *batch) deliver() {
	md := Metadata{Topic: b.part.topic.name, Partition: b.part.number}
	for i := range b.callbacks {
		c := &b.callbacks[i]
		md.Offset, md.Timestamp = -1, time.UnixMilli(c.timestamp)
		var err error
		switch {
		case b.err != nil:
			err = b.recordError(i)
		default:
			if b.baseOffset >= 0 {
				md.Offset = b.baseOffset + int64(i)
			}
			if b.logAppendTime >= 0 {
				md.Timestamp = time.UnixMilli(b.logAppendTime)
			}
		}
		if c.waiter != nil {
			c.waiter.finish(md, err)
		} else if c.done != nil {
			c.done(md, err)
		}
	}
}

// recordError returns the error of the i-th record of a failed batch.
func (b *batch) recordError(i int) error {
	if i >= len(b.rejected) || b.rejected[i] == nil {
		return b.err
	}
	e := *b.err
	e.Err = b.rejected[i]
	return &e
}

// addSequence returns the sequence number n records after seq: MaxInt32 is followed by 0.
func addSequence(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}
