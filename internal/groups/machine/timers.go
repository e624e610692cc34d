package machine

import (
	"time"
)

// timer is one alarm of a group. The zero value is not set.
type timer struct {
	at    time.Time
	seq   uint64 // among equal times the one set first rings first
	index int    // in the heap, plus one; 0 not set
	late  bool   // it was due while its group stood still, and rings afterwards
	ring  func(now time.Time, fx *Effects)
}

func (t *timer) set() bool { return t.index > 0 }

// timers is a heap of what is to ring, the earliest on top.
type timers struct {
	heap []*timer
	seq  uint64
}

// start sets a timer, anew if it was set.
func (ts *timers) start(t *timer, at time.Time, ring func(now time.Time, fx *Effects)) {
	ts.seq++
	t.at, t.seq, t.ring, t.late = at, ts.seq, ring, false
	if t.index == 0 {
		ts.heap = append(ts.heap, t)
		t.index = len(ts.heap)
		ts.up(t.index - 1)
		return
	}
	i := t.index - 1
	ts.up(i)
	ts.down(t.index - 1)
}

// stop unsets a timer, if it is set or late.
func (ts *timers) stop(t *timer) {
	t.late = false
	i := t.index - 1
	if i < 0 {
		return
	}
	last := len(ts.heap) - 1
	moved := ts.heap[last]
	ts.heap[last] = nil
	ts.heap = ts.heap[:last]
	t.index = 0
	if i < last {
		ts.heap[i] = moved
		moved.index = i + 1
		ts.up(i)
		ts.down(moved.index - 1)
	}
}

// next is when the first timer rings.
func (ts *timers) next() (time.Time, bool) {
	if len(ts.heap) == 0 {
		return time.Time{}, false
	}
	return ts.heap[0].at, true
}

// due takes the first timer that is due, nil without one.
func (ts *timers) due(now time.Time) *timer {
	if len(ts.heap) == 0 || ts.heap[0].at.After(now) {
		return nil
	}
	t := ts.heap[0]
	ts.stop(t)
	return t
}

func (ts *timers) less(i, j int) bool {
	a, b := ts.heap[i], ts.heap[j]
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return a.seq < b.seq
}

func (ts *timers) swap(i, j int) {
	ts.heap[i], ts.heap[j] = ts.heap[j], ts.heap[i]
	ts.heap[i].index, ts.heap[j].index = i+1, j+1
}

func (ts *timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !ts.less(i, parent) {
			return
		}
		ts.swap(i, parent)
		i = parent
	}
}

func (ts *timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(ts.heap) {
			return
		}
		if right := child + 1; right < len(ts.heap) && ts.less(right, child) {
			child = right
		}
		if !ts.less(child, i) {
			return
		}
		ts.swap(i, child)
		i = child
	}
}
