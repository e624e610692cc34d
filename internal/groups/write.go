package groups

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication"
)

// write is the append under way.
type write struct {
	size    int
	decided bool // the machine waits for the outcome
	result  replication.AppendResult

	// turn says who goes on: the replica may answer before Append returns, and then the goroutine that appends goes on itself.
	// It publishes result: stored before turn becomes answered, loaded after.
	turn atomic.Int32
}

const (
	appending int32 = iota // Append has not returned
	returned               // it has, without an answer
	answered               // the answer was there first
)

// perform does what a round wants done: it appends, answers, and goes on with the next round while appends are answered at once. own says that the goroutine has nothing better to do; one that
// belongs to a connection takes part in one write and leaves those that follow to another.
func (s *shard) perform(rd *round, own bool) {
	for {
		appends := len(rd.entries) > 0
		ended := appends && s.append(rd)
		s.tell(rd)
		if !ended {
			s.owner.free(rd)
			return
		}
		rd.reset()
		s.locked(func(now time.Time) { s.writtenLocked(now, rd) })
		if !own && len(rd.entries) > 0 {
			if !s.owner.c.Spawn(func() { s.perform(rd, true) }) {
				s.tell(rd) // closing: nothing is appended any more, but what was decided before is told
			}
			return
		}
	}
}

// append appends the round's entries; true if the outcome is known already. Otherwise the write is not the caller's any more.
func (s *shard) append(rd *round) (ended bool) {
	batch, err := rd.encode()
	s.write.size, s.write.decided = len(batch), rd.decided
	if err != nil {
		s.write.result = replication.AppendResult{Err: err}
		return true
	}
	if f := s.owner.c.Admit; f != nil {
		if err := f(); err != nil {
			s.write.result = replication.AppendResult{Err: err}
			return true
		}
	}
	if f := s.owner.c.Changed; f != nil {
		f()
	}
	s.write.turn.Store(appending)
	s.replica.Append(batch, replication.AppendOptions{
		Acks: replication.AcksAll, Now: rd.at, Origin: log.FromCoordinator, RequiredLeaderEpoch: s.epoch,
	}, s.appended)
	return !s.write.turn.CompareAndSwap(appending, returned)
}

// appended takes the outcome, on a goroutine of the replica, which has other things to do.
func (s *shard) appended(res replication.AppendResult) {
	s.write.result = res
	if s.write.turn.CompareAndSwap(appending, answered) {
		return
	}
	s.owner.c.Spawn(func() { // otherwise it is closing, which answers all
		rd := s.owner.newRound()
		s.locked(func(now time.Time) { s.writtenLocked(now, rd) })
		s.perform(rd, true)
	})
}

// writtenLocked tells the machine how the write has ended and decides what has come meanwhile.
func (s *shard) writtenLocked(now time.Time, rd *round) {
	if s.mu.phase == Stopped {
		return
	}
	w := &s.write
	err, lost := outcome(w.result.Err)
	if lost {
		s.stopLocked(rd, w.result.Err)
		return
	}
	s.mu.writing = false
	if w.decided {
		s.mu.machine.Written(now, err, &rd.fx)
	}
	rd.advance = s.rewrittenLocked(w, err)
	s.decideLocked(now, rd)
	if err != nil {
		s.owner.logger.Warn("group coordinator: a write failed", "partition", s.partition, "error", w.result.Err)
		rd.refused = w.result.Err
	}
}

// outcome is what the failure of an append means to those who wait for it; lost means that the shard cannot go on: somebody else leads, or it is open whether the entries are in the log.
func outcome(err error) (told error, lost bool) {
	switch {
	case err == nil:
		return nil, false
	case errors.Is(err, replication.ErrNotEnoughReplicas), isFull(err):
		return ErrNotAvailable, false // nothing was appended
	case refused(err):
		return ErrRefused, false // nor here
	}
	return ErrNotCoordinator, true
}

// isFull tells of a disk without space, where appends are refused until there is some.
func isFull(err error) bool {
	_, full := errors.AsType[*log.FullError](err)
	return full
}

// refused tells whether the log did not take a batch for what it is: too large, most likely.
func refused(err error) bool {
	if errors.Is(err, log.ErrRecordListTooLarge) || errors.Is(err, record.ErrEmpty) {
		return true
	}
	if _, ok := errors.AsType[*record.TooLargeError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*record.InvalidError](err); ok {
		return true
	}
	_, ok := errors.AsType[*record.TimestampError](err)
	return ok
}

// tell does what a round wants done besides appending.
func (s *shard) tell(rd *round) {
	for i := range rd.answers {
		a := &rd.answers[i]
		a.done(a.result, a.err)
	}
	for _, n := range rd.fx.Notices {
		s.owner.logger.Debug("group: "+n.Text, "group", n.Group, "partition", s.partition)
	}
	for _, r := range rd.fx.Regexes {
		s.owner.c.Spawn(func() { s.resolve(r) })
	}
	if f := s.owner.c.Refused; f != nil && rd.refused != nil {
		f(rd.refused)
	}
	if rd.advance > 0 {
		s.advance(rd.advance)
	}
}
