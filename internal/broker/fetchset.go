package broker

import (
	"sync"
	"time"

	"github.com/insynclog/insync/replication"
)

// followerWake is how long a follower's parked fetch waits after the high watermark moved, for data to go with it. Under load the next batch comes sooner and carries the high watermark; when
// nothing comes, the follower learns it after this time and not only after its max wait.
//
// Differs from Kafka: there a high watermark that moves does not answer a follower's fetch (KIP-1166 changed that for the metadata log only), so a follower's own lags by up to 500 ms.
const followerWake = 5 * time.Millisecond

// fetchPartition is one partition of a fetch: what is wanted of it, and in a session what was said of it last.
type fetchPartition struct {
	set  *fetchSet
	key  fetchKey
	want fetchWant

	listed    bool  // the request under way names it, and its progress is not recorded yet
	found     bool  // it is in what is about to be answered
	sentHW    int64 // as the last answer had them; -1: must be in the next answer
	sentStart int64
	watched   *partition // of which set is told

	older, newer *fetchPartition // all of a session, in the order of their coming

	// guarded by set.mu
	active, queued bool
	prev, next     *fetchPartition
}

// fetchSet holds the partitions of one fetch, or of one session over all its fetches. Those that may have news are in a queue, first come first served; the others cost nothing.
// A partition leaves the queue when it was looked at and had neither data nor an error, and comes back when its replica wakes it, when a request names it, and after every answer that it was in
// with more than a high watermark: so it is looked at in turns, and no error is said only once.
//
//	    request names it ─▶┐                  ┌─▶ nothing new: out, until its replica wakes it
//	                       queue ─▶ look at it ┤
//	replica wakes it ─────▶┘  ▲               └─▶ data, error ─▶ answer ─┐
//	                          └─────────────────────────────────────────┘
type fetchSet struct {
	// of the request's owner
	byKey          map[fetchKey]*fetchPartition // nil without a session
	oldest, newest *fetchPartition
	lastFull       time.Time // when all of a follower's partitions were recorded last

	b *Broker

	mu         sync.Mutex // a leaf: Wake takes it
	head, tail *fetchPartition
	parked     *fetchOp // the request that waits for news; whoever takes it from here goes on with it
	ended      bool     // the request under way has waited enough
	hwTimer    *time.Timer
	hwArmed    bool
	hwDue      bool // the high watermark had its time
}

// init prepares for a request.
func (s *fetchSet) init(b *Broker) {
	s.mu.Lock()
	s.b, s.ended = b, false
	s.mu.Unlock()
}

// add makes a partition of a session.
func (s *fetchSet) add(key fetchKey) *fetchPartition {
	p := &fetchPartition{set: s, key: key, sentHW: -1, sentStart: -1, active: true, older: s.newest}
	if s.newest != nil {
		s.newest.newer = p
	} else {
		s.oldest = p
	}
	s.newest = p
	if s.byKey == nil {
		s.byKey = make(map[fetchKey]*fetchPartition)
	}
	s.byKey[key] = p
	return p
}

// remove forgets a partition of a session.
func (s *fetchSet) remove(p *fetchPartition) {
	delete(s.byKey, p.key)
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		s.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		s.newest = p.older
	}
	p.older, p.newer = nil, nil
	p.unwatch()
	s.mu.Lock()
	p.active = false
	s.unlinkLocked(p)
	s.mu.Unlock()
}

// free forgets all partitions of a session.
func (s *fetchSet) free() {
	for s.oldest != nil {
		s.remove(s.oldest)
	}
	s.calm()
}

// push puts p at the end of the queue unless it is in it.
func (s *fetchSet) push(p *fetchPartition) {
	s.mu.Lock()
	s.pushLocked(p)
	s.mu.Unlock()
}

func (s *fetchSet) pushLocked(p *fetchPartition) {
	if p.queued || !p.active {
		return
	}
	p.queued = true
	p.prev, p.next = s.tail, nil
	if s.tail != nil {
		s.tail.next = p
	} else {
		s.head = p
	}
	s.tail = p
}

// pushFront puts p at the front of the queue, wherever it is.
func (s *fetchSet) pushFront(p *fetchPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.active {
		return
	}
	s.unlinkLocked(p)
	p.queued = true
	p.prev, p.next = nil, s.head
	if s.head != nil {
		s.head.prev = p
	} else {
		s.tail = p
	}
	s.head = p
}

// pop takes the first of the queue.
func (s *fetchSet) pop() *fetchPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.head
	if p != nil {
		s.unlinkLocked(p)
	}
	return p
}

func (s *fetchSet) unlinkLocked(p *fetchPartition) {
	if !p.queued {
		return
	}
	p.queued = false
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		s.head = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		s.tail = p.prev
	}
	p.prev, p.next = nil, nil
}

// state tells whether the request has waited enough, and whether a high watermark alone is now worth an answer.
func (s *fetchSet) state() (ended, highWatermarkDue bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended, s.hwDue
}

// park leaves op to be gone on with when there is news; false means that there is news already. due is what state said before op looked last; news tells that a follower has high watermarks to learn.
func (s *fetchSet) park(op *fetchOp, due, news bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if due {
		s.hwDue = false
	}
	if s.head != nil || s.ended || s.hwDue {
		return false
	}
	s.parked = op
	if news {
		s.armLocked()
	}
	return true
}

// goOn lets go of the lock and of the parked request.
func (s *fetchSet) goOn() {
	op := s.parked
	s.parked = nil
	s.mu.Unlock()
	if op != nil {
		op.b.resume(op)
	}
}

// end ends the wait of the request under way.
func (s *fetchSet) end() {
	s.mu.Lock()
	s.ended = true
	s.goOn()
}

// calm ends what a request has armed.
func (s *fetchSet) calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hwArmed {
		s.hwTimer.Stop()
	}
	s.hwArmed, s.hwDue = false, false
}

func (s *fetchSet) armLocked() {
	switch {
	case s.hwArmed || s.hwDue:
		return
	case s.hwTimer == nil:
		s.hwTimer = time.AfterFunc(followerWake, s.highWatermarkDue)
	default:
		s.hwTimer.Reset(followerWake)
	}
	s.hwArmed = true
}

func (s *fetchSet) highWatermarkDue() {
	s.mu.Lock()
	if !s.hwArmed {
		s.mu.Unlock() // a late one
		return
	}
	s.hwArmed, s.hwDue = false, true
	s.goOn()
}

// Wake implements replication.Watcher: there may be data, or another role, epoch or log.
func (p *fetchPartition) Wake() {
	s := p.set
	s.mu.Lock()
	if !p.active {
		s.mu.Unlock()
		return
	}
	s.pushLocked(p)
	s.goOn()
}

// hwWatch is the same partition, watched for its high watermark on behalf of a follower.
type hwWatch fetchPartition

// Wake implements replication.Watcher: the high watermark moved.
func (w *hwWatch) Wake() {
	p := (*fetchPartition)(w)
	s := p.set
	s.mu.Lock()
	if p.active {
		s.pushLocked(p)
		if s.parked != nil {
			s.armLocked()
		}
	}
	s.mu.Unlock()
}

// watch asks the partition's replica to wake p. Watching must begin before the read whose result it is to follow up.
func (p *fetchPartition) watch(part *partition, as replication.Reader) {
	if p.watched == part {
		return
	}
	p.unwatch()
	if part == nil || part.replica == nil {
		return
	}
	p.watched = part
	part.replica.Watch(p, as)
	if as == replication.ReadAsReplica {
		part.replica.Watch((*hwWatch)(p), replication.ReadUncommitted)
	}
}

func (p *fetchPartition) unwatch() {
	if p.watched == nil {
		return
	}
	p.watched.replica.Unwatch(p)
	p.watched.replica.Unwatch((*hwWatch)(p))
	p.watched = nil
}
