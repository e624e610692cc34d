package segment

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/internal/vfs"
)

// Config sets up a segment.
type Config struct {
	FS                 vfs.FS
	Dir                string
	IndexIntervalBytes int32  // Kafka: index.interval.bytes
	MaxIndexBytes      int32  // Kafka: segment.index.bytes; the files start small and grow towards it
	Files              *Files // bounds how many segments have their files open; nil is no bound

	// Suffix follows the names of all files: that of a segment that is not part of a log yet.
	Suffix string
}

// Segment is one segment. See the package's documentation for who may call what beside what.
type Segment struct {
	cfg  Config
	base int64
	path string // of the .log file

	refs atomic.Int64 // the owner's and one for every Slice; the last one to go closes the files
	cuts atomic.Int64 // number of truncations: a Slice found before one may be cut off
	tail atomic.Pointer[tail]

	offsets offsetIndex
	times   timeIndex
	txns    txnIndex

	sealed  atomic.Bool // nothing is appended any more: the time index ends with the largest timestamp
	rebuilt atomic.Bool // the offset index was made anew in memory; see rebuild
	suspect atomic.Bool // a batch did not confirm an entry of the offset index: look-ups start at the base

	open struct {
		sync.Mutex // held while the files are opened by whoever needs them, or closed
		err        error
		kept       bool // the files stay open: the names may be another's
	}
	file   atomic.Pointer[logFile] // nil: not open; see Files
	writes atomic.Int64            // changes of the .log file so far
	synced atomic.Int64            // how many of them a sync has followed
	used   atomic.Bool             // since a sweep of Files came by
	seat   int                     // in the list of Files, from 1; Files guards it

	// The rest belongs to the writer.
	w writer
}

// Create makes the files of an empty segment. What files of these names hold is overwritten. The names are durable after a sync of the directory.
func Create(c Config, base int64) (*Segment, error) {
	s := newSegment(c, base)
	f, err := c.FS.Open(s.path, vfs.Create)
	if err != nil {
		return nil, storage("create", s.path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, storage("truncate", s.path, err)
	}
	s.file.Store(newLogFile(f, 1))
	s.used.Store(true)
	s.offsets.create()
	s.times.create()
	s.txns.clear()
	c.Files.opened(s)
	return s, nil
}

// OpenSealed opens a segment that is not written to any more. size is that of its file and end the base offset of the next segment. It touches no
// file: the first reader does.
func OpenSealed(c Config, base, size, end int64) *Segment {
	s := newSegment(c, base)
	s.sealed.Store(true)
	s.setEnd(boundary{offset: end, pos: size})
	return s
}

func newSegment(c Config, base int64) *Segment {
	name := func(suffix string) string { return c.Dir + "/" + FileName(base, suffix) + c.Suffix }
	s := &Segment{cfg: c, base: base, path: name(LogSuffix)}
	s.offsets.init(c.FS, name(OffsetIndexSuffix), offsetEntrySize, int(c.MaxIndexBytes))
	s.times.init(c.FS, name(TimeIndexSuffix), timeEntrySize, int(c.MaxIndexBytes))
	s.txns.fs, s.txns.path = c.FS, name(TxnIndexSuffix)
	s.refs.Store(1)
	s.w.reset(base)
	s.setEnd(boundary{offset: base})
	return s
}

// BaseOffset is the offset that names the files.
func (s *Segment) BaseOffset() int64 { return s.base }

// EndOffset is one past the last offset; of a sealed segment, the base offset of the next. Safe for concurrent use.
func (s *Segment) EndOffset() int64 { return s.tail.Load().latest().offset }

// SizeBytes is the length of the batches, without blocks written ahead. Safe for concurrent use.
func (s *Segment) SizeBytes() int64 { return s.tail.Load().latest().pos }

// Sealed tells whether the segment is not written to any more. Safe for concurrent use.
func (s *Segment) Sealed() bool { return s.sealed.Load() }

// Path is the name of the .log file.
func (s *Segment) Path() string { return s.path }

// setEnd forgets the tail and starts it anew at b.
func (s *Segment) setEnd(b boundary) {
	s.w.size, s.w.end = b.pos, b.offset
	s.tail.Store(newTail(idleSlots, b))
}

// Acquire takes a reference, which keeps the files open; false if the owner has let go and nobody else holds one.
func (s *Segment) Acquire() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a reference back: one that Acquire took, or the owner's. The last one closes the files, and its caller gets the error of that.
func (s *Segment) Release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	s.cfg.Files.closed(s)
	s.open.Lock()
	defer s.open.Unlock()
	s.open.err = ErrDeleted
	var err error
	if f := s.file.Swap(nil); f != nil {
		err = storage("close", s.path, f.unpin())
	}
	return errors.Join(err, s.offsets.close(), s.times.close())
}

// Sync makes the batches written before the call durable, not the files' names; with indexes, these too. It may run beside anything.
func (s *Segment) Sync(indexes bool) error {
	err := s.sync(indexes)
	if x := s.cfg.Files; err == nil && x != nil && x.over.Load() {
		s.Shut() // until now it had to stay open
	}
	return err
}

func (s *Segment) sync(indexes bool) error {
	if err := s.syncLog(); err != nil || !indexes {
		return err
	}
	return s.SyncIndexes()
}

// SyncIndexes makes the entries of the indexes durable that were there before the call. One at a time. After a *FullError some are not, and the same call may succeed later.
func (s *Segment) SyncIndexes() error {
	for _, sync := range []func() error{s.offsets.sync, s.times.sync, s.txns.sync} {
		if err := sync(); err != nil {
			return err
		}
	}
	return nil
}

// syncLog syncs the .log file, unless a sync has followed the last change of it. Without a sync in this life nothing is known of what lives before it left unsynced.
func (s *Segment) syncLog() error {
	n := s.writes.Load()
	if n > 0 && s.synced.Load() >= n {
		return nil
	}
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	n = s.writes.Load()
	if err := f.Sync(); err != nil {
		return storage("sync", s.path, err)
	}
	s.syncedUpTo(n)
	return nil
}

// Detach sees to it that the files of a sealed segment are not looked up by name any more, so that the names can be given to others: readers that hold the segment
// find in it what they would have found. What is damaged may be looked up once more. The caller holds a reference.
func (s *Segment) Detach() error {
	s.keep(nil)
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	if _, err := s.offsets.len(); err != nil {
		return err
	}
	if _, err := s.times.len(); err != nil {
		return err
	}
	_, err = s.Aborted()
	return ignoreCorrupt(err)
}

// Remove removes the files' names, the log before its indexes: an index without a log means nothing. Readers go on with what they have open.
// Durable after a sync of the directory.
func (s *Segment) Remove() error {
	s.keep(ErrDeleted) // the names may soon be another's
	for _, suffix := range []string{SealSuffix, LogSuffix, OffsetIndexSuffix, TimeIndexSuffix, TxnIndexSuffix} {
		name := s.cfg.Dir + "/" + FileName(s.base, suffix) + s.cfg.Suffix
		if err := s.cfg.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storage("remove", name, err)
		}
	}
	return nil
}

// corrupt makes the error for a bad batch of this segment.
func (s *Segment) corrupt(pos, offset int64, err error) error {
	return &CorruptError{Path: s.path, Position: pos, Offset: offset, Err: err}
}
