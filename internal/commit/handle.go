package commit

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bits of Handle.state.
const (
	// requested: a sync that has not started is owed. Whoever sets it while running is not set puts the handle into the queue.
	requested uint32 = 1 << iota
	// running: a worker has taken the handle, and will look at requested when it is done. Set and cleared under Engine.mu.
	running
	// closed: no sync starts any more. Never cleared.
	closed
)

// Handle is one target's place in the engine.
type Handle struct {
	engine *Engine
	target Target

	// state publishes appends to the sync: Request's Or comes before the worker's And in its modification order, and is observed by it.
	state atomic.Uint32

	// Under Engine.mu.
	next   *Handle       // in the queue
	index  int           // in Engine.mu.handles; -1 when removed
	owed   bool          // requested again before Engine.Close: one more sync although the engine is closed
	synced chan struct{} // Close waits for it; closed by the worker

	timer struct {
		sync.Mutex
		t       *time.Timer // created by the first RequestAfter
		fire    func()
		armed   bool
		closed  bool
		due     time.Time
		within  time.Duration  // the d that armed it
		running sync.WaitGroup // the pending timer and callbacks under way; grows only under the mutex and before closed
	}
}

// Request asks for a sync that starts after this call. It never blocks and allocates nothing.
func (h *Handle) Request() {
	old := h.state.Or(requested)
	if old&(requested|running|closed) == 0 {
		h.engine.enqueue(h)
	}
}

// RequestAfter asks for a sync within d (flush.ms); an earlier request includes it, and so does an earlier RequestAfter that is due before.
// d <= 0 is Request. It never blocks; the first call allocates a timer.
func (h *Handle) RequestAfter(d time.Duration) {
	if d <= 0 {
		h.Request()
		return
	}
	t := &h.timer
	t.Lock()
	defer t.Unlock()
	if t.closed || t.armed && d >= t.within {
		return // due before now+d: it was armed in the past with no more than d
	}
	now := time.Now()
	if t.armed && t.due.Sub(now) <= d {
		return
	}
	t.armed, t.within, t.due = true, d, now.Add(d)
	if t.t == nil || !t.t.Stop() {
		t.running.Add(1)
	}
	if t.t == nil {
		t.t = time.AfterFunc(d, t.fire)
	} else {
		t.t.Reset(d)
	}
}

// timerFired is the timer's callback. One that was stopped too late may find the timer armed anew, and then syncs early: allowed.
func (h *Handle) timerFired() {
	t := &h.timer
	defer t.running.Done()
	t.Lock()
	due := t.armed
	t.armed = false
	t.Unlock()
	if due {
		h.Request()
	}
}

// stopTimer disarms the timer, for good if final, and says whether it was armed.
func (h *Handle) stopTimer(final bool) bool {
	t := &h.timer
	t.Lock()
	defer t.Unlock()
	t.closed = t.closed || final
	if !t.armed && !final {
		return false
	}
	// The timer may be pending although it is not armed: when a callback that was stopped too late has taken the arming for its own.
	if t.t != nil && t.t.Stop() {
		t.running.Done()
	}
	armed := t.armed
	t.armed = false
	return armed
}

// Close removes the target and waits for a sync under way. It must not be called from Sync. A request that no sync has begun to answer is
// dropped: whoever closes a log syncs it himself. It may be called again, and then waits too.
func (h *Handle) Close() {
	h.stopTimer(true)
	e := h.engine
	e.mu.Lock()
	old := h.state.Or(closed)
	e.removeLocked(h)
	var synced chan struct{}
	if old&running != 0 {
		if h.synced == nil {
			h.synced = make(chan struct{})
		}
		synced = h.synced
	}
	e.mu.Unlock()
	if synced != nil {
		<-synced
	}
	h.timer.running.Wait()
}

// removeLocked forgets h. It may still be in the queue, where workers pass over it.
func (e *Engine) removeLocked(h *Handle) {
	last := len(e.mu.handles) - 1
	if h.index < 0 || h.index > last || e.mu.handles[h.index] != h {
		return // removed before, or registered after Engine.Close
	}
	e.mu.handles[h.index] = e.mu.handles[last]
	e.mu.handles[h.index].index = h.index
	e.mu.handles[last] = nil
	e.mu.handles = e.mu.handles[:last]
	h.index = -1
}
