package segment

import (
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/internal/vfs"
)

// Files bounds how many of the segments that share it have their files open: each has a descriptor and up to two mappings then. It is a clock: whoever opens one too many goes round the
// open ones and closes those that nobody uses and nobody has used since it last came by, the sealed ones first. The next user opens them again.
//
// The bound is soft. A segment stays open while an operation or a Slice uses it, and as long as it has writes that were not synced: a descriptor that is opened after a write has failed in
// the background may never be told. What is synced while too many are open is closed at once.
type Files struct {
	limit int
	over  atomic.Bool // too many are open

	mu struct {
		sync.Mutex
		open     []*Segment // in no order
		hand     int
		sweeping bool
		rest     int // no sweep up to so many: the last one found nothing more to close
	}
}

// NewFiles makes a bound of limit segments, at least 1.
func NewFiles(limit int) *Files { return &Files{limit: max(1, limit)} }

// Open is how many segments have their files open now.
func (x *Files) Open() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.mu.open)
}

// Limit is the bound.
func (x *Files) Limit() int { return x.limit }

// opened takes note of a segment that has its files open, and closes others if those are too many. The caller holds no lock. Nothing of it happens without a bound.
func (x *Files) opened(s *Segment) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.addLocked(s)
	x.boundLocked()
}

// Sweep closes what is too many, as far as that is possible now.
func (x *Files) Sweep() {
	if x == nil || !x.over.Load() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.rest = 0
	x.boundLocked()
}

func (x *Files) boundLocked() {
	if n := len(x.mu.open); n > x.limit && n > x.mu.rest && !x.mu.sweeping {
		x.mu.sweeping = true
		x.sweepLocked(x.limit - x.limit/16) // more than one: going round is not for nothing
		x.mu.sweeping = false
	}
	x.over.Store(len(x.mu.open) > x.limit)
}

// closed forgets a segment.
func (x *Files) closed(s *Segment) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(s)
	x.mu.rest = 0 // one goes: others may
	x.over.Store(len(x.mu.open) > x.limit)
}

func (x *Files) addLocked(s *Segment) {
	if s.seat == 0 {
		x.mu.open = append(x.mu.open, s)
		s.seat = len(x.mu.open)
	}
}

func (x *Files) removeLocked(s *Segment) {
	if s.seat == 0 {
		return
	}
	n := len(x.mu.open)
	last := x.mu.open[n-1]
	x.mu.open[s.seat-1], last.seat = last, s.seat
	x.mu.open[n-1] = nil
	x.mu.open = x.mu.open[:n-1]
	s.seat = 0
}

// The rounds of a sweep, each of which takes what those before it have left.
const (
	sealedUnused = iota
	unused
	anyIdle
	rounds
)

// sweepLocked closes segments until no more than target are open. It lets go of the lock while it closes one.
func (x *Files) sweepLocked(target int) {
	for round := range rounds {
		for left := len(x.mu.open); left > 0 && len(x.mu.open) > target; left-- {
			if x.mu.hand >= len(x.mu.open) {
				x.mu.hand = 0
			}
			s := x.mu.open[x.mu.hand]
			if round == sealedUnused && !s.Sealed() || round < anyIdle && s.used.Swap(false) {
				x.mu.hand++
				continue
			}
			x.removeLocked(s) // another one sits there now
			x.mu.Unlock()
			gone := s.shut()
			x.mu.Lock()
			if !gone {
				x.addLocked(s)
			}
		}
	}
	x.mu.rest = 0
	if n := len(x.mu.open); n > x.limit {
		x.mu.rest = n + x.limit/16
	}
}

// logFile is an open .log file, counted: the segment holds one reference, every operation and every Slice another. The last one closes it. As long as there is a reference beside the
// segment's, the segment's files and index mappings stay.
type logFile struct {
	vfs.File
	refs atomic.Int64
}

func newLogFile(f vfs.File, refs int64) *logFile {
	l := &logFile{File: f}
	l.refs.Store(refs)
	return l
}

func (f *logFile) acquire() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// unpin gives a reference back. The last one's caller gets the error of closing the file.
func (f *logFile) unpin() error {
	if f.refs.Add(-1) > 0 {
		return nil
	}
	return f.File.Close()
}

// pin returns the .log file, opening it if it is not, and keeps it open until its unpin. The caller holds a reference.
func (s *Segment) pin() (*logFile, error) {
	if f := s.file.Load(); f != nil && f.acquire() {
		if !s.used.Load() {
			s.used.Store(true)
		}
		return f, nil
	}
	f, opened, err := s.pinClosed()
	if opened {
		s.cfg.Files.opened(s)
	}
	return f, err
}

// pinClosed is pin for a file that was not open a moment ago.
func (s *Segment) pinClosed() (f *logFile, opened bool, err error) {
	s.open.Lock()
	defer s.open.Unlock()
	if f := s.file.Load(); f != nil && f.acquire() {
		return f, false, nil
	}
	if s.open.err != nil {
		return nil, false, s.open.err
	}
	file, err := s.cfg.FS.Open(s.path, vfs.ReadWrite)
	if err != nil {
		return nil, false, storage("open", s.path, err)
	}
	s.used.Store(true)
	f = newLogFile(file, 2)
	s.file.Store(f)
	return f, true, nil
}

// shut closes the files, if nobody uses them and everything written to them was synced. It tells whether they are closed now. It does not wait.
func (s *Segment) shut() bool {
	if !s.open.TryLock() {
		return false
	}
	defer s.open.Unlock()
	f := s.file.Load()
	if f == nil {
		return true
	}
	if s.open.kept || !f.refs.CompareAndSwap(1, 0) {
		return false
	}
	// From here on whoever wants the files waits for the lock.
	if s.writes.Load() != s.synced.Load() || s.offsets.dirty.Load() || s.times.dirty.Load() {
		f.refs.Store(1)
		return false
	}
	s.file.Store(nil)
	// What the closing may say is of files that were only read since they were synced.
	f.Close()
	s.times.close()
	if !s.rebuilt.Load() {
		s.offsets.close()
	}
	return true
}

// Shut closes the files until somebody needs them, if nobody does now and nothing is unsynced: for a segment that was opened to look at its end.
func (s *Segment) Shut() {
	s.cfg.Files.closed(s)
	if !s.shut() {
		s.cfg.Files.opened(s)
	}
}

// keep has the files that are open stay open until the owner lets the segment go.
func (s *Segment) keep(err error) {
	s.open.Lock()
	defer s.open.Unlock()
	s.open.kept = true
	if s.open.err == nil {
		s.open.err = err
	}
}

// wrote takes note of a change of the .log file that a sync has to follow. The caller has pinned the file.
func (s *Segment) wrote() { s.writes.Add(1) }

// syncedUpTo takes note of a sync that began after so many changes were complete.
func (s *Segment) syncedUpTo(n int64) {
	for {
		old := s.synced.Load()
		if n <= old || s.synced.CompareAndSwap(old, n) {
			return
		}
	}
}
