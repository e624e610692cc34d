package producer

import (
	"sync"
	"sync/atomic"
	"time"
)

// reaper ends batches whose delivery timeout is over. One timer is enough: all batches have the same timeout, so the oldest is next.
type reaper struct {
	armed atomic.Bool // the timer is set, for a deadline no later than that of any new batch

	mu     sync.Mutex
	at     time.Time // when the timer goes off, if armed
	timer  *time.Timer
	closed bool
}

// watch sees to it that the timer goes off at a new batch's deadline, or before. The batch's partition is locked.
func (r *reaper) watch(p *Producer, deadline time.Time) {
	if !r.armed.Load() {
		r.arm(p, deadline)
	}
}

func (r *reaper) arm(p *Producer, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.armed.Load() && !at.Before(r.at) {
		return
	}
	r.at = at
	r.armed.Store(true)
	if r.timer == nil {
		r.timer = time.AfterFunc(time.Until(at), p.reap)
		return
	}
	r.timer.Reset(time.Until(at))
}

// disarm is the first thing that happens when the timer goes off. A batch that is opened from now on sets the timer; one that was opened
// before, and relied on it, is found by the scan, which needs its partition's lock.
func (r *reaper) disarm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed.Store(false)
}

func (r *reaper) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// reap is the timer's.
func (p *Producer) reap() {
	if !p.enter() {
		return
	}
	defer p.wg.Done()
	p.reaper.disarm()
	var oldest time.Time
	now := time.Now()
	for _, pt := range p.partitions() {
		at, n := pt.expire(now, p.timeoutError)
		if !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
		pt.deliver()
		if n != nil {
			n.wake(fullBatch) // a batch that is gone may have been in the way
		}
	}
	if !oldest.IsZero() {
		p.reaper.arm(p, oldest)
	}
}
