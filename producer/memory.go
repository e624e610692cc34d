package producer

import (
	"context"
	"sync"
	"sync/atomic"
)

// memory bounds the bytes that a producer holds. Who wants more waits in line.
type memory struct {
	free   atomic.Int64
	queued atomic.Int32 // length of the line; while it is not 0, nobody is served out of turn

	mu   sync.Mutex
	line []*claim // first come, first served
}

// claim is one call that waits for memory.
type claim struct {
	bytes int64
	ready chan struct{} // closed when the bytes are the claim's
}

// take takes n bytes if they are free and nobody waits for them.
func (m *memory) take(n int64) bool {
	if m.queued.Load() > 0 {
		return false
	}
	return m.takeFree(n)
}

func (m *memory) takeFree(n int64) bool {
	for {
		free := m.free.Load()
		if free < n {
			return false
		}
		if m.free.CompareAndSwap(free, free-n) {
			return true
		}
	}
}

// short tells whether somebody waits for memory: a reason to send what there is.
func (m *memory) short() bool { return m.queued.Load() > 0 }

// claim takes its place in the line for n bytes. The caller must either wait for ready and use the bytes, or call abandon.
func (m *memory) claim(n int64) *claim {
	c := &claim{bytes: n, ready: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.line = append(m.line, c)
	m.queued.Add(1)
	m.serveLocked() // a release may have come before the place in the line was taken
	return c
}

// wait waits for c's bytes, or for the end of ctx or of the producer.
func (m *memory) wait(ctx context.Context, c *claim, closed <-chan struct{}) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		m.abandon(c)
		return ctx.Err()
	case <-closed:
		m.abandon(c)
		return ErrClosed
	}
}

// abandon gives up c, and its bytes if it had them already.
func (m *memory) abandon(c *claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, o := range m.line {
		if o == c {
			m.line = append(m.line[:i], m.line[i+1:]...)
			m.queued.Add(-1)
			m.serveLocked() // a smaller one may have been behind it
			return
		}
	}
	m.free.Add(c.bytes)
	m.serveLocked()
}

// release gives n bytes back.
func (m *memory) release(n int64) {
	m.free.Add(n)
	if m.queued.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serveLocked()
}

func (m *memory) serveLocked() {
	for len(m.line) > 0 && m.takeFree(m.line[0].bytes) {
		close(m.line[0].ready)
		m.line = m.line[1:]
		m.queued.Add(-1)
	}
}
