package log

import "sync"

// slot is held by one at a time. Unlike a mutex it may be held across syncs and waits: whoever waits for it blocks on a condition, which virtual time understands.
type slot struct {
	mu   sync.Mutex
	cond sync.Cond // on mu
	busy bool
}

func (s *slot) acquire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waitLocked()
	s.busy = true
}

func (s *slot) waitLocked() {
	s.cond.L = &s.mu
	for s.busy {
		s.cond.Wait()
	}
}

func (s *slot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.L = &s.mu
	s.busy = false
	s.cond.Broadcast()
}

// acquireUnless waits for the slot until done says that it is not needed any more; it tells whether the caller has the slot.
func (s *slot) acquireUnless(done func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.L = &s.mu
	for {
		if done() {
			return false
		}
		if !s.busy {
			s.busy = true
			return true
		}
		s.cond.Wait()
	}
}
