package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// memory is what the requests of a server may have, those that are still arriving included. Most takes and gives are one atomic addition. Who finds it used up waits in a queue; and when that does not
// move, because what is there belongs to frames that do not arrive, the connection that has been sending its frame for the longest is ended: senders of half frames cannot keep others out.
type memory struct {
	max     int64
	used    atomic.Int64
	waiting atomic.Int32 // length of mu.queue

	mu struct {
		sync.Mutex
		queue  []*account // who waits, the first first
		slow   *account   // those whose frame is awaited, the longest first
		latest *account   // the end of that list
	}
}

// account is one connection's part of a memory.
type account struct {
	m    *memory
	kill func(error) // ends the connection; must not block

	// guarded by m.mu
	since      time.Time     // when the frame that is awaited began; zero if none is
	held       int64         // what that frame has
	prev, next *account      // in m.mu.slow
	want       int64         // what it waits for
	granted    chan struct{} // closed when it is there; nil while it does not wait
}

const (
	// freeBytes is what a connection gets without waiting while it has nothing else: heartbeats and the like go through when bulk has to wait.
	freeBytes = 4 << 10
	// relief is how long the queue may stand still before somebody loses its connection, and how old a half frame must be for that.
	relief = time.Second
)

// take reserves n bytes and waits until they are there, or ctx ends. first says that the connection has nothing yet.
func (a *account) take(ctx context.Context, n int, first bool) error {
	m := a.m
	if m.waiting.Load() == 0 || first && n <= freeBytes {
		if m.used.Add(int64(n)) <= m.max || first && n <= freeBytes {
			return nil
		}
		m.give(n)
	}
	return a.wait(ctx, int64(n))
}

// has tells whether n bytes are there, for the moment.
func (m *memory) has(n int) bool { return m.waiting.Load() == 0 && m.used.Load()+int64(n) <= m.max }

// give returns n bytes.
func (m *memory) give(n int) {
	m.used.Add(-int64(n))
	if m.waiting.Load() > 0 {
		m.mu.Lock()
		m.grantLocked()
		m.mu.Unlock()
	}
}

// grantLocked lets those in who fit: whose frame has the most already first, for it is the next to be done and to give everything back; else in their order. Many frames that each got a little would all wait for
// each other. What is larger than everything waits until there is nothing else.
func (m *memory) grantLocked() {
	for len(m.mu.queue) > 0 {
		best := 0
		for i, a := range m.mu.queue {
			if a.held > m.mu.queue[best].held {
				best = i
			}
		}
		a := m.mu.queue[best]
		if used := m.used.Add(a.want); used > m.max && used > a.want {
			m.used.Add(-a.want)
			return
		}
		m.removeLocked(best)
		close(a.granted)
	}
}

func (m *memory) removeLocked(i int) {
	copy(m.mu.queue[i:], m.mu.queue[i+1:])
	m.mu.queue[len(m.mu.queue)-1] = nil
	m.mu.queue = m.mu.queue[:len(m.mu.queue)-1]
	m.waiting.Add(-1)
}

func (a *account) wait(ctx context.Context, n int64) error {
	m := a.m
	m.mu.Lock()
	granted := make(chan struct{})
	a.want, a.granted = n, granted
	m.mu.queue = append(m.mu.queue, a)
	m.waiting.Add(1)
	m.grantLocked() // perhaps room was made meanwhile
	m.mu.Unlock()
	t := time.NewTimer(relief)
	defer t.Stop()
	for {
		select {
		case <-granted:
			m.mu.Lock()
			a.granted = nil
			m.mu.Unlock()
			return nil
		case <-ctx.Done():
			return a.giveUp(ctx.Err())
		case <-t.C:
			if victim := m.victim(a); victim != nil {
				victim.kill(ErrMemory)
			}
			t.Reset(relief)
		}
	}
}

// giveUp leaves the queue. What was granted meanwhile is given back.
func (a *account) giveUp(err error) error {
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	a.granted = nil
	for i, o := range m.mu.queue {
		if o == a {
			m.removeLocked(i)
			m.grantLocked() // the next may be smaller
			return err
		}
	}
	m.used.Add(-a.want)
	m.grantLocked()
	return err
}

// victim chooses who makes room for a, the first in the queue: the one that has been sending its frame for the longest, if that is long. If nobody sends, and nothing but frames that wait for room has memory,
// it is the largest of them: nobody would ever give anything back.
func (m *memory) victim(a *account) *account {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.queue) == 0 || m.mu.queue[0] != a {
		return nil
	}
	var held int64
	var largest *account
	for s := m.mu.slow; s != nil; s = s.next {
		if s.granted == nil {
			if time.Since(s.since) < relief {
				return nil // it may still be quick
			}
			m.unlinkLocked(s) // once
			return s
		}
		held += s.held
		if largest == nil || s.held > largest.held {
			largest = s
		}
	}
	if held < m.used.Load() {
		return nil // a reply will make room
	}
	return largest
}

// awaited notes that the rest of a frame is still to come, until arrived. held is what it has so far.
func (a *account) awaited(held int) {
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	a.held = int64(held)
	if !a.since.IsZero() {
		return
	}
	a.since = time.Now()
	a.prev, a.next = m.mu.latest, nil
	if a.prev != nil {
		a.prev.next = a
	} else {
		m.mu.slow = a
	}
	m.mu.latest = a
}

// arrived ends awaited.
func (a *account) arrived() {
	a.m.mu.Lock()
	a.m.unlinkLocked(a)
	a.m.mu.Unlock()
}

func (m *memory) unlinkLocked(a *account) {
	if a.since.IsZero() {
		return
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		m.mu.slow = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		m.mu.latest = a.prev
	}
	a.prev, a.next, a.since, a.held = nil, nil, time.Time{}, 0
}
