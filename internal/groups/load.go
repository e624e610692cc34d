package groups

import (
	"errors"
	"fmt"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication"
)

// loadBytes is how much a load reads at a time.
const loadBytes = 1 << 20

// errStopped ends a load whose shard has stopped.
var errStopped = errors.New("groups: stopped")

// load reads the log and begins to serve.
func (s *shard) load() {
	l := newLoader(s)
	began := time.Now()
	err := l.run()
	l.stats.Duration = time.Since(began)
	switch {
	case errors.Is(err, errStopped):
		return
	case err != nil:
		if storage(err) {
			s.owner.logger.Error("group coordinator cannot load", "partition", s.partition, "epoch", s.epoch, "offset", l.offset, "error", err)
		}
		s.stop(err)
		return
	}
	s.owner.logger.Debug("group coordinator loaded", "partition", s.partition, "epoch", s.epoch, "entries", l.stats.Entries, "bytes", l.stats.Bytes, "took", l.stats.Duration)
	live := liveBytes(l.machine, l.stats.Bytes)
	rd := s.owner.newRound()
	s.locked(func(now time.Time) {
		if s.mu.phase != Loading {
			return
		}
		s.mu.phase, s.mu.machine, s.mu.load = Serving, l.machine, l.stats
		s.mu.rewrite.logBytes, s.mu.rewrite.live = l.stats.Bytes, live
		m, deleted := s.mu.metadata, s.mu.deleted
		s.mu.metadata, s.mu.deleted = nil, nil
		l.machine.Loaded(now, m, &rd.fx)
		if len(deleted) > 0 { // while it was loading
			l.machine.SetMetadata(now, m, deleted, &rd.fx)
		}
		s.decideLocked(now, rd)
	})
	s.perform(rd, true)
}

// storage tells damage and failed disks from lost leaderships.
func storage(err error) bool {
	return !errors.Is(err, replication.ErrNotLeader) && !errors.Is(err, replication.ErrFencedEpoch) && !errors.Is(err, replication.ErrUnknownEpoch) && !errors.Is(err, replication.ErrClosed)
}

// loader reads one shard's log into its machine, which nobody else has yet.
type loader struct {
	s       *shard
	machine *machine.Coordinator
	stats   Load
	offset  int64
	reader  record.Reader
	buf     []byte
	// held are the entries of open transactions, by producer: they mean something when their marker says so. What is still open at the end is a matter of the transactions' coordinator, which this
	// node does not have.
	held map[int64][]entry.Entry
	wake chan struct{} // holds one
}

func newLoader(s *shard) *loader {
	c := s.owner.c.Machine
	if f := s.owner.c.LoadGrace; f != nil {
		c.LoadGrace = f()
	}
	return &loader{s: s, machine: machine.New(c), held: make(map[int64][]entry.Entry), wake: make(chan struct{}, 1)}
}

// Wake implements replication.Watcher.
func (l *loader) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run reads from the start of the log to where it ended when the epoch began, as it becomes committed: an entry that is not may yet be cut off, and state that was read from it would be wrong.
func (l *loader) run() error {
	r := l.s.replica
	r.Watch(l, replication.ReadUncommitted)
	defer r.Unwatch(l)
	o := r.Log().Offsets()
	end := o.LogEndOffset
	for l.offset = o.LogStartOffset; ; {
		select {
		case <-l.s.stopped:
			return errStopped
		default:
		}
		res := r.Read(replication.ReadOptions{
			Offset: l.offset, MaxBytes: loadBytes, AtLeastOne: true, As: replication.ReadUncommitted, CurrentLeaderEpoch: l.s.epoch, LeaderOnly: true,
		})
		if e, ok := errors.AsType[*log.OffsetOutOfRangeError](res.Err); ok && l.offset < e.LogStartOffset {
			l.offset = e.LogStartOffset // it was moved meanwhile
			continue
		}
		handedOver := errors.Is(res.Err, replication.ErrHandedOver) // it is woken when it is known who leads
		if res.Err != nil && !handedOver {
			return res.Err
		}
		if res.Slice.Len() > 0 {
			if err := l.slice(res.Slice); err != nil {
				return err
			}
			continue
		}
		if !handedOver && res.Bound >= end {
			return nil
		}
		select {
		case <-l.wake:
		case <-l.s.stopped:
			return errStopped
		}
	}
}

// slice takes a run of batches.
func (l *loader) slice(sl log.Slice) (err error) {
	l.buf, err = sl.Append(l.buf[:0])
	sl.Release()
	if errors.Is(err, log.ErrTruncated) {
		return replication.ErrNotLeader
	}
	if err != nil {
		return err
	}
	for b, err := range record.Batches(l.buf) {
		if err == nil {
			err = b.CheckCRC()
		}
		if err == nil && b.NextOffset() > l.offset {
			err = l.batch(b)
		}
		if err != nil {
			return fmt.Errorf("load %d bytes from offset %d: %w", len(l.buf), l.offset, err)
		}
		l.offset = max(l.offset, b.NextOffset())
	}
	l.stats.Bytes += int64(len(l.buf))
	return nil
}

func (l *loader) batch(b record.Batch) error {
	if b.Control() {
		t, ok := b.ControlType()
		if !ok {
			return nil
		}
		if t == record.ControlCommit {
			for _, e := range l.held[b.ProducerID()] {
				l.machine.Replay(e)
			}
		}
		delete(l.held, b.ProducerID())
		return nil
	}
	if err := l.reader.Reset(b, 0); err != nil {
		return err
	}
	for l.reader.Next() {
		r := l.reader.Record()
		l.stats.Entries++
		e, err := entry.Parse(r.Key, r.Value)
		switch {
		case err != nil:
			// Written by a later version, or not by a coordinator. One entry must not take all groups of the partition down.
			l.s.owner.logger.Error("group coordinator: an entry cannot be read and is left out", "partition", l.s.partition, "offset", r.Offset, "error", err)
		case e == nil:
		case b.Transactional():
			l.held[b.ProducerID()] = append(l.held[b.ProducerID()], e)
		default:
			l.machine.Replay(e)
		}
	}
	return l.reader.Err()
}
