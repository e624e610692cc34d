package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/log"
)

const (
	// spaceInterval is how long a look at the disk is believed.
	spaceInterval = time.Second
	// spaceGrant is how many bytes are let in before the next look, at most.
	spaceGrant = 64 << 20
	// fullInterval is how long a full node refuses before it looks, and retention runs, again.
	fullInterval = 100 * time.Millisecond
)

// space holds clients' records back before the disk is full: below a reserve, and within a budget if there is one. What is replicated, the groups' records and metadata go on.
//
// A look at the disk lets so many bytes in for so long. Producers spend them without a lock.
type space struct {
	b     *Broker
	left  atomic.Int64 // of the last look's bytes
	until atomic.Int64 // nanoseconds since b.began: the end of the last look
	mu    sync.Mutex   // held while looking, which waits for no goroutine
	full  atomic.Bool
}

// admit takes n bytes, or refuses them with *log.FullError.
func (s *space) admit(now time.Time, n int64) error {
	if s.b.c.MaxBytes <= 0 && s.b.c.ReserveBytes <= 0 {
		return nil
	}
	at := int64(now.Sub(s.b.began))
	if at >= s.until.Load() || !s.full.Load() && s.left.Load() < n {
		s.look(at, n)
	}
	if s.full.Load() || s.left.Add(-n) < 0 {
		return &log.FullError{Path: s.b.c.Directory.Path(), Op: "append", Err: errBudget}
	}
	return nil
}

// look finds out how much may be written.
func (s *space) look(at, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < s.until.Load() && s.left.Load() >= n {
		return // somebody else has looked
	}
	c := &s.b.c
	room := max(spaceGrant, n)
	if _, free, err := c.Directory.Space(); err == nil {
		room = min(room, free-c.ReserveBytes)
	}
	if c.MaxBytes > 0 {
		room = min(room, c.MaxBytes-s.used())
	}
	full := room < n
	if full != s.full.Swap(full) {
		s.b.logger.Warn("space for records", "node", c.NodeID, "full", full, "bytes", room)
	}
	s.left.Store(max(room, 0))
	s.until.Store(at + int64(spaceInterval))
	if full {
		s.until.Store(at + int64(fullInterval))
		s.b.life.kick() // retention now, rather than in minutes
	}
}

// Space tells how many bytes the node's logs have, and whether records from clients are refused for lack of space.
func (b *Broker) Space() (used int64, full bool) { return b.space.used(), b.space.full.Load() }

// used is the size of all logs.
func (s *space) used() (n int64) {
	for _, p := range s.b.replicas.all() {
		if p.replica != nil {
			n += p.replica.Log().SizeBytes()
		}
	}
	return n
}
