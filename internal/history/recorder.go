package history

import (
	"slices"
	"sync"
	"time"
)

// Recorder collects the operations of many processes. It is safe for concurrent use. Its times are those of the clock, moved up by nanoseconds where that stands still, so that what was
// recorded after something else has a later time: a send that begins when another was acknowledged in the same instant of virtual time is known to have come later.
type Recorder struct {
	mu    sync.Mutex
	begun time.Time
	last  time.Duration
	ops   []History // of chunk each, but the last: what was written is not moved again
}

const chunk = 1 << 10

// NewRecorder begins a history.
func NewRecorder() *Recorder { return &Recorder{begun: time.Now(), last: -1} }

func (r *Recorder) now() time.Duration {
	r.last = max(r.last+1, time.Since(r.begun))
	return r.last
}

// Begin notes an operation before it is done, and returns the number to End it with.
func (r *Recorder) Begin(op Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Invoke, op.Complete, op.Outcome = r.now(), Unfinished, Info
	return r.append(op)
}

func (r *Recorder) append(op Op) int {
	last := len(r.ops) - 1
	if last < 0 || len(r.ops[last]) == chunk {
		r.ops = append(r.ops, make(History, 0, chunk))
		last++
	}
	r.ops[last] = append(r.ops[last], op)
	return last*chunk + len(r.ops[last]) - 1
}

// End notes what became of an operation: op is the one given to Begin with what is known now.
func (r *Recorder) End(id int, op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := &r.ops[id/chunk][id%chunk]
	op.Invoke, op.Twice = was.Invoke, was.Complete != Unfinished
	op.Complete = r.now()
	*was = op
}

// Note records an operation that took no time.
func (r *Recorder) Note(op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Invoke = r.now()
	op.Complete = r.now()
	r.append(op)
}

// History returns a copy of what was recorded until now.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.ops...)
}
