package broker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
)

const (
	// spaceInterval is how long a look at the disk is believed.
	spaceInterval = time.Second
	// spaceGrant is how many bytes are let in before the next look, at most.
	spaceGrant = 64 << 20
	// fullInterval is how long a full node refuses before it looks, and retention runs, again.
	fullInterval = 100 * time.Millisecond
	// watchInterval is how often a full node looks although nobody asks.
	watchInterval = 500 * time.Millisecond
	// diskFullFor is how long a disk that refused a write counts as full.
	diskFullFor = 2 * time.Second
)

// space holds records back before the disk is full: clients' below a reserve, and within a budget if there is one; what is replicated below half of the reserve, so that a follower with a smaller disk than its leader's
// stays a member. The groups' records and metadata go on.
//
// A look at the disk lets so many bytes in for so long. They are spent without a lock.
//
// While the directory's ballast is short nothing is let in, the groups' records neither: what is free then is for metadata, and for what deletes.
type space struct {
	b       *Broker
	clients allowance
	copies  allowance

	refused  atomic.Int64 // nanoseconds since b.began: until then the disk counts as full, for it has refused a write
	watching atomic.Bool  // a goroutine looks, as long as the node is full
}

// allowance is what a look at the disk lets in.
type allowance struct {
	left  atomic.Int64 // bytes
	until atomic.Int64 // nanoseconds since b.began: the end of the look
	need  atomic.Int64 // bytes that did not fit
	full  atomic.Bool
	mu    sync.Mutex // held while looking, which waits for no goroutine
}

func (s *space) init(b *Broker) { s.b = b }

// admit takes n bytes for a client's batch, or refuses them with *log.FullError.
func (s *space) admit(now time.Time, n int64) error {
	if err := s.short(); err != nil || s.b.c.MaxBytes <= 0 && s.b.c.ReserveBytes <= 0 {
		return err
	}
	return s.take(&s.clients, now, n)
}

// admitCopies is admit for what another node sent of a partition.
func (s *space) admitCopies(now time.Time, n int64) error {
	if err := s.short(); err != nil || s.b.c.ReserveBytes <= 0 {
		return err
	}
	return s.take(&s.copies, now, n)
}

// short refuses what is not let in while the ballast is.
func (s *space) short() error {
	if !s.b.c.Directory.Short() {
		return nil
	}
	s.watch()
	return &log.FullError{Path: s.b.c.Directory.Path(), Op: "append", Err: errBallast}
}

// restock makes the ballast whole if it is not. It waits for the disk.
func (s *space) restock() {
	if err := s.b.c.Directory.Restock(); err != nil && s.b.ctx.Err() == nil {
		s.b.logger.Error("cannot make the ballast", "error", err)
	}
	if s.b.c.Directory.Short() {
		s.watch()
	}
}

func (s *space) take(a *allowance, now time.Time, n int64) error {
	at := int64(now.Sub(s.b.began))
	if at >= a.until.Load() || !a.full.Load() && a.left.Load() < n {
		s.look(a, at, n)
	}
	if a.full.Load() || a.left.Add(-n) < 0 {
		return &log.FullError{Path: s.b.c.Directory.Path(), Op: "append", Err: errBudget}
	}
	return nil
}

// look finds out how much may be written.
func (s *space) look(a *allowance, at, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at < a.until.Load() && a.left.Load() >= n {
		return // somebody else has looked
	}
	room := s.room(a, max(spaceGrant, n))
	full := room < n
	a.full.Store(full)
	a.left.Store(max(room, 0))
	a.until.Store(at + int64(spaceInterval))
	if full {
		a.need.Store(n)
		a.until.Store(at + int64(fullInterval))
		s.watch()
		s.b.life.kick() // retention now, rather than in minutes
	}
}

// room is how many bytes may be written, no more than limit.
func (s *space) room(a *allowance, limit int64) int64 {
	c := &s.b.c
	keep := c.ReserveBytes
	if a == &s.copies {
		keep /= 2
	}
	room := limit
	if _, free, err := c.Directory.Space(); err == nil {
		room = min(room, free-keep)
		c.Directory.SetTight(free-c.ReserveBytes < spaceGrant)
	}
	if c.MaxBytes > 0 && a == &s.clients {
		room = min(room, c.MaxBytes-s.used())
	}
	return room
}

// met takes the error of a write, which may be that the disk is full.
func (s *space) met(now time.Time, err error) {
	if e, ok := errors.AsType[*log.FullError](err); !ok || !vfs.IsNoSpace(e) { // it may be descriptors that there are none of
		return
	}
	s.refused.Store(int64(now.Sub(s.b.began) + diskFullFor))
	s.watch()
}

// isFull tells whether something is refused.
func (s *space) isFull(now time.Time) bool {
	return s.clients.full.Load() || s.copies.full.Load() || s.b.c.Directory.Short() || int64(now.Sub(s.b.began)) < s.refused.Load()
}

// watch has a goroutine look for space until there is, and tell of both.
func (s *space) watch() {
	if !s.watching.Load() && s.watching.CompareAndSwap(false, true) && !s.b.spawn(s.watchFull) {
		s.watching.Store(false)
	}
}

func (s *space) watchFull() {
	told := false
	for {
		now := time.Now()
		for _, a := range []*allowance{&s.clients, &s.copies} {
			if at := int64(now.Sub(s.b.began)); a.full.Load() && at >= a.until.Load() {
				s.look(a, at, a.need.Load())
			}
		}
		if full := s.isFull(now); full != told {
			told = full
			s.b.logger.Warn("space for records", "node", s.b.c.NodeID, "full", full)
			if f := s.b.c.Events.Space; f != nil {
				f(full)
			}
		}
		if !told {
			s.watching.Store(false)
			if !s.isFull(time.Now()) || !s.watching.CompareAndSwap(false, true) {
				return
			}
			continue
		}
		s.b.life.kick() // retention
		if !sleep(s.b.ctx, watchInterval) {
			return
		}
	}
}

// Space tells how many bytes the node's logs have, and whether records are refused for lack of space.
func (b *Broker) Space() (used int64, full bool) { return b.space.used(), b.space.isFull(time.Now()) }

// used is the size of all logs.
func (s *space) used() (n int64) {
	for _, p := range s.b.replicas.all() {
		if p.replica != nil {
			n += p.replica.Log().SizeBytes()
		}
	}
	return n
}

// holdBack takes the records out of what a leader sent that there is no space for. The groups' go on, unless the ballast is short.
func (s *space) holdBack(r *replication.FetchResponse) {
	if s.b.c.ReserveBytes <= 0 && !s.b.c.Directory.Short() {
		return
	}
	now := time.Now()
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if len(p.Records) == 0 || p.Err != nil {
			continue
		}
		part := s.b.replicas.getByID(p.TopicID, p.Partition)
		if part == nil || isInternal(part.topic) && !s.b.c.Directory.Short() {
			continue
		}
		if err := s.admitCopies(now, int64(len(p.Records))); err != nil {
			p.Records, p.Held = nil, err
		}
	}
}
