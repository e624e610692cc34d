package groups

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/replication"
)

const (
	// maxQueue bounds the requests that wait for a write. Those beyond it are refused with ErrNotAvailable, which clients take for a reason to come back.
	maxQueue = 1 << 15
	// maxSteps and maxWeight bound what is decided for one write: about so many bytes.
	maxSteps  = 4096
	maxWeight = 512 << 10
)

// shard is the coordinator of one partition, under one leader epoch.
//
// The goroutine that set mu.writing performs the write, or leaves it to the replica, which hands it on when the outcome is known; whoever has it owns write.
type shard struct {
	owner     *Coordinators
	partition int32
	epoch     int32
	replica   *replication.Replica
	stopped   chan struct{} // closed by stop: ends loading

	write write

	mu struct {
		sync.Mutex
		phase   Phase
		err     error
		load    Load
		machine *machine.Coordinator // nil while loading and after

		queue   []*call          // waits to be decided, the oldest first
		calls   map[uint64]*call // in the machine and not answered, by id
		lastID  uint64
		writing bool // Flush gave entries whose outcome is open
		since   time.Time

		metadata machine.Metadata // to be taken, nil without
		deleted  []string         // with it
		resolved []resolved       // likewise

		rewrite rewrite

		alarm    *time.Timer // for the machine's timers
		alarmAt  time.Time   // zero if it is not set
		watch    *time.Timer // looks for what waits too long
		watching bool
	}
}

// call is one request.
type call struct {
	id      uint64
	request machine.Request
	done    func(result any, err error)
	since   time.Time
}

// patient tells whether a call may be in the machine for long without anything being written: until other members have come.
func (c *call) patient() bool {
	switch c.request.(type) {
	case *machine.Join, *machine.Sync:
		return true
	}
	return false
}

func newShard(cs *Coordinators, partition, epoch int32, r *replication.Replica, m machine.Metadata) *shard {
	s := &shard{owner: cs, partition: partition, epoch: epoch, replica: r, stopped: make(chan struct{})}
	s.mu.calls = make(map[uint64]*call)
	s.mu.metadata = m
	return s
}

// submit takes a request: it is decided at once if nothing is being written. While the log's next leader may lead already nothing is, for that one may have decided more.
func (s *shard) submit(r machine.Request, done func(result any, err error)) {
	rd := s.owner.newRound()
	err := ErrLoading
	if !s.replica.HandedOver() {
		err = s.accept(rd, r, done)
	}
	if err != nil {
		if _, ok := r.(*machine.Heartbeat); ok && err == ErrLoading {
			err = nil // its session begins anew when the group is loaded
		}
		done(nil, err)
	}
	s.perform(rd, false)
}

func (s *shard) accept(rd *round, r machine.Request, done func(result any, err error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // with the lock: the machine's time does not go back
	switch {
	case s.mu.phase == Loading:
		return ErrLoading
	case s.mu.phase == Stopped:
		return ErrNotCoordinator
	case len(s.mu.queue) >= maxQueue:
		return ErrNotAvailable
	}
	s.mu.lastID++
	s.mu.queue = append(s.mu.queue, &call{id: s.mu.lastID, request: r, done: done, since: now})
	if !s.mu.writing {
		s.decideLocked(now, rd)
	}
	return nil
}

// decideLocked runs the machine until there is something to write or nothing to decide. Nothing may be being written.
func (s *shard) decideLocked(now time.Time, rd *round) {
	m := s.mu.machine
	rd.entries = s.rewriteLocked(rd.entries) // the state of now goes in front of what is decided now
	s.takeNewsLocked(now, rd)
	if next, ok := m.Next(); ok && !next.After(now) {
		m.Tick(now, &rd.fx)
	}
	for {
		s.stepLocked(now, rd)
		decided := m.Flush(now, &rd.fx)
		s.settleLocked(rd)
		if s.mu.writing = len(decided) > 0 || len(rd.entries) > 0; s.mu.writing {
			rd.entries = append(rd.entries, decided...)
			rd.decided, rd.at, rd.wall = len(decided) > 0, now, m.Wall(now)
			s.mu.since = now
			s.watchLocked()
			return // the machine rings no timer before the write's end
		}
		if len(s.mu.queue) == 0 {
			break
		}
	}
	s.alarmLocked(now)
}

// takeNewsLocked tells the machine what came while something was written.
func (s *shard) takeNewsLocked(now time.Time, rd *round) {
	m := s.mu.machine
	if md := s.mu.metadata; md != nil {
		deleted := s.mu.deleted
		s.mu.metadata, s.mu.deleted = nil, nil
		m.SetMetadata(now, md, deleted, &rd.fx)
	}
	for _, r := range s.mu.resolved {
		m.RegexResolved(now, r.group, r.regex, r.topics, r.version, &rd.fx)
	}
	s.mu.resolved = nil
}

// stepLocked decides what has queued up, as much as one write may take. What is large is written alone: if the log does not take it nobody else suffers.
func (s *shard) stepLocked(now time.Time, rd *round) {
	steps, weight := 0, 0
	for steps < len(s.mu.queue) && steps < maxSteps {
		c := s.mu.queue[steps]
		if weight += weigh(c.request); steps > 0 && weight > maxWeight {
			break
		}
		s.mu.queue[steps] = nil
		steps++
		s.mu.calls[c.id] = c
		s.mu.machine.Step(now, c.id, c.request, &rd.fx)
	}
	if s.mu.queue = s.mu.queue[steps:]; len(s.mu.queue) == 0 {
		s.mu.queue = nil
	}
}

// weigh estimates how many bytes a request has written.
func weigh(r machine.Request) int {
	const record = 64
	n := record
	switch r := r.(type) {
	case *machine.Commit:
		for i := range r.Offsets {
			n += record + len(r.Group) + len(r.Offsets[i].Topic) + len(r.Offsets[i].Metadata)
		}
	case *machine.Join:
		for i := range r.Protocols {
			n += len(r.Protocols[i].Metadata)
		}
	case *machine.Sync:
		for i := range r.Assignments {
			n += record + len(r.Assignments[i].Assignment)
		}
	}
	return n
}

// settleLocked turns the machine's replies into answers. Those of calls that were given up are dropped.
func (s *shard) settleLocked(rd *round) {
	for _, r := range rd.fx.Replies {
		if c := s.mu.calls[r.ID]; c != nil {
			delete(s.mu.calls, r.ID)
			rd.answers = append(rd.answers, answer{done: c.done, result: r.Result, err: r.Err})
		}
	}
	clear(rd.fx.Replies)
	rd.fx.Replies = rd.fx.Replies[:0]
}

// alarmLocked sets the timer for what the machine does next. One that rings too early does no harm.
func (s *shard) alarmLocked(now time.Time) {
	next, ok := s.mu.machine.Next()
	if !ok || !s.mu.alarmAt.IsZero() && !next.Before(s.mu.alarmAt) {
		return
	}
	s.mu.alarmAt = next
	d := max(0, next.Sub(now))
	if s.mu.alarm == nil {
		s.mu.alarm = time.AfterFunc(d, func() { s.owner.c.Spawn(s.ring) })
		return
	}
	s.mu.alarm.Reset(d)
}

// ring is what the alarm is for.
func (s *shard) ring() {
	rd := s.owner.newRound()
	s.locked(func(now time.Time) {
		s.mu.alarmAt = time.Time{}
		if s.mu.phase == Serving && !s.mu.writing {
			s.decideLocked(now, rd)
		}
	})
	s.perform(rd, true)
}

// watchLocked has somebody look after the write that begins, and after who waits for it. There is one timer for all requests: it is set when it is not, and looks when it rings.
func (s *shard) watchLocked() {
	if s.mu.watching {
		return
	}
	s.mu.watching = true
	s.lookLocked(s.owner.c.CommitTimeout)
}

func (s *shard) lookLocked(d time.Duration) {
	if s.mu.watch == nil {
		s.mu.watch = time.AfterFunc(d, func() { s.owner.c.Spawn(s.look) })
		return
	}
	s.mu.watch.Reset(d)
}

// lookAgain is the part of the commit timeout after which is looked again: no request waits longer beyond its time than that.
const lookAgain = 10

// look answers what has waited too long for a write. The machine may answer later, upon which nobody listens; what waits in the queue was not decided and will not be.
func (s *shard) look() {
	rd := s.owner.newRound()
	s.locked(func(now time.Time) {
		s.mu.watching = false
		if s.mu.phase != Serving || !s.mu.writing {
			return
		}
		timeout := s.owner.c.CommitTimeout
		s.giveUpLocked(now.Add(-timeout), rd)
		s.mu.watching = true
		s.lookLocked(timeout / lookAgain)
	})
	s.perform(rd, true)
}

// giveUpLocked answers what was there before a time. Joins and syncs have timers of their own in the machine, but those stand still while a write does.
func (s *shard) giveUpLocked(before time.Time, rd *round) {
	n := 0
	for n < len(s.mu.queue) && !s.mu.queue[n].since.After(before) {
		n++
	}
	var late []*call
	stuck := !s.mu.since.After(before)
	for _, c := range s.mu.calls {
		if !c.since.After(before) && (stuck || !c.patient()) {
			late = append(late, c)
		}
	}
	for _, c := range late {
		delete(s.mu.calls, c.id)
	}
	late = append(late, s.mu.queue[:n]...)
	s.mu.queue = slices.Delete(s.mu.queue, 0, n)
	rd.refuse(late, ErrNotAvailable)
	if len(late) > 0 {
		s.owner.logger.Warn("group coordinator: requests are given up, a write takes too long", "partition", s.partition, "requests", len(late), "writing", stuck)
	}
}

// stop ends the shard: what is outstanding is answered with ErrNotCoordinator. err tells why, nil for an orderly end. Idempotent.
func (s *shard) stop(err error) {
	rd := s.owner.newRound()
	s.locked(func(time.Time) { s.stopLocked(rd, err) })
	s.perform(rd, true)
}

func (s *shard) stopLocked(rd *round, err error) {
	if s.mu.phase == Stopped {
		return
	}
	s.mu.phase, s.mu.err, s.mu.machine = Stopped, err, nil
	close(s.stopped)
	outstanding := s.mu.queue
	for _, c := range s.mu.calls {
		outstanding = append(outstanding, c)
	}
	s.mu.queue, s.mu.calls = nil, nil
	rd.refuse(outstanding, ErrNotCoordinator)
	s.mu.metadata, s.mu.deleted, s.mu.resolved = nil, nil, nil
	for _, t := range []*time.Timer{s.mu.alarm, s.mu.watch} {
		if t != nil {
			t.Stop()
		}
	}
}

// setMetadata takes newer metadata, now or when the write under way has ended.
func (s *shard) setMetadata(m machine.Metadata, deleted []string) {
	rd := s.owner.newRound()
	s.locked(func(now time.Time) {
		if s.mu.phase == Stopped {
			return
		}
		s.mu.metadata = m
		s.mu.deleted = append(s.mu.deleted, deleted...)
		if s.mu.phase == Serving && !s.mu.writing {
			s.decideLocked(now, rd)
		}
	})
	s.perform(rd, false) // on the goroutine that applies metadata
}

// read calls f under the lock. While the log's next leader may lead already nothing is told.
func (s *shard) read(f func(*machine.Coordinator)) (err error) {
	if s.replica.HandedOver() {
		return ErrLoading
	}
	s.locked(func(time.Time) {
		switch s.mu.phase {
		case Loading:
			err = ErrLoading
		case Stopped:
			err = ErrNotCoordinator
		default:
			f(s.mu.machine)
		}
	})
	return err
}

// locked runs f with the lock, which a panic of f leaves free: the node that fails is closed, and closing takes it.
func (s *shard) locked(f func(now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(time.Now())
}

// byAge orders calls as they came.
func byAge(a, b *call) int { return cmp.Compare(a.id, b.id) }
