package broker

import (
	"sync"
	"time"
)

// sessionCache is the driver of the session cache: a lock around the machine, and freeing what it closed outside of the lock.
type sessionCache struct {
	mu    sync.Mutex // not held while partitions are freed: that takes replicas' locks
	cache *fetchSessions
}

func (b *Broker) beginSession(r sessionRequest) sessionGrant {
	if r.id == 0 && r.epoch == -1 {
		return sessionGrant{} // the common case of a client without sessions
	}
	b.sessions.mu.Lock()
	g := b.sessions.cache.begin(r)
	b.sessions.mu.Unlock()
	g.settle()
	return g
}

// settle does what the machine asked for.
func (g *sessionGrant) settle() {
	for _, s := range g.free {
		s.set.free()
	}
	for _, s := range g.stop {
		s.set.end()
	}
}

func (b *Broker) endSession(s *fetchSession) {
	size := len(s.set.byKey)
	b.sessions.mu.Lock()
	free := b.sessions.cache.end(s, size, time.Now())
	b.sessions.mu.Unlock()
	if free {
		s.set.free()
	}
}

// closeSessions frees all sessions; those in use are freed by their requests.
func (b *Broker) closeSessions() {
	b.sessions.mu.Lock()
	g := b.sessions.cache.closeAll()
	b.sessions.mu.Unlock()
	g.settle()
}

// parkedFetches are the fetches that wait, for Close.
type parkedFetches struct {
	mu     sync.Mutex // nothing is called under it
	oldest *fetchOp
	newest *fetchOp
}

func (l *parkedFetches) add(op *fetchOp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	op.older = l.newest
	if l.newest != nil {
		l.newest.newer = op
	} else {
		l.oldest = op
	}
	l.newest = op
}

func (l *parkedFetches) remove(op *fetchOp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(op)
}

func (l *parkedFetches) removeLocked(op *fetchOp) {
	switch {
	case op.older != nil:
		op.older.newer = op.newer
	case l.oldest == op:
		l.oldest = op.newer
	default:
		return // not in the list
	}
	if op.newer != nil {
		op.newer.older = op.older
	} else {
		l.newest = op.older
	}
	op.older, op.newer = nil, nil
}

// endAll ends the waits of all.
func (l *parkedFetches) endAll() {
	for {
		l.mu.Lock()
		op := l.oldest
		if op == nil {
			l.mu.Unlock()
			return
		}
		set := op.set
		l.removeLocked(op)
		l.mu.Unlock()
		set.end()
	}
}

// maxIdleWorkers is how many goroutines that go on with parked fetches are kept for the next: a fresh one would grow its stack each time.
const maxIdleWorkers = 2

// resume goes on with a fetch that was parked, on a goroutine of its own: whoever has news must not wait for what others do with it.
func (b *Broker) resume(op *fetchOp) {
	select {
	case b.work <- op: // one is idle
		return
	default:
	}
	if !b.spawn(func() { b.worker(op) }) {
		op.resume() // closing: it ends at once
	}
}

// worker goes on with op, then with others if few wait for them.
func (b *Broker) worker(op *fetchOp) {
	for op != nil {
		op.resume()
		op = nil
		if b.idleWorkers.Add(1) <= maxIdleWorkers {
			select {
			case op = <-b.work:
			case <-b.ctx.Done():
			}
		}
		b.idleWorkers.Add(-1)
	}
}
