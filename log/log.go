package log

import (
	"cmp"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// Log is one partition's log. See the package's documentation for who may call what beside what.
type Log struct {
	dir    string
	key    partitionKey
	home   *home // of the checkpoints
	clean  bool  // when it was opened: nobody had written to it since a clean stop
	fs     vfs.FS
	logger *slog.Logger
	wall   func(now time.Time) time.Time

	segments atomic.Pointer[[]*segment.Segment] // by base offset; never empty while open; immutable, replaced under mu
	offsets  offsetsCell                        // stored under mu, but for the end of what is synced
	epochs   epochCache                         // changed under mu
	// syncedStart is the durable log start; stored under the flush slot.
	syncedStart atomic.Int64
	closed      atomic.Bool
	cuts        atomic.Int64 // begins and ends of truncations so far; raised under the flush slot
	more        atomic.Bool  // a sync may have more to do than the active segment's data; stored under mu
	ahead       writeAhead
	failure     atomic.Pointer[StorageError] // set once
	repairs     repairs
	stopper     atomic.Pointer[age] // of the last retention; nil: not known

	compacting slot        // taken by a compaction
	ending     atomic.Bool // compactions end

	builder *record.Builder // of AppendRecords; the owner's

	// mu guards what appending changes. It is held across writes to the page cache, never across a sync or anything that waits.
	mu struct {
		sync.Mutex
		config    Config
		jitter    time.Duration
		producers *producerState
		reader    record.Reader // scratch of validation
		header    [record.HeaderSize]byte
		recoder   *recoder

		unsynced   []*segment.Segment // sealed ones that Sync has not seen yet
		pending    []snapshotFiles    // of rolls; written once what is below them is synced
		newNames   bool               // files were made since the directory was synced
		changed    bool               // something was appended or cut since the log was opened
		sinceProof int64              // bytes appended since the last snapshot
		snapshots  []int64            // offsets of those on disk, rising
	}

	// flush is taken by whoever syncs, truncates or checkpoints: one at a time, waited for without holding mu.
	flush struct {
		slot
		segments []*segment.Segment // scratch of the one who has it
	}
}

// Open opens or creates a log on its own (not in a node's Directory) in dir, with a lock, recovery point and clean marker of its own. If
// the last stop was not clean it is recovered.
//
// Errors: ErrDirectoryLocked, *ForeignDirectoryError (files that are no log's), *CorruptError, *StorageError.
func Open(dir string, c Config) (*Log, error) {
	c = c.withDefaults()
	h, err := openHome(c.FS, dir, c.Logger)
	if err != nil {
		return nil, err
	}
	h.alone = true
	l, err := openLog(h, standaloneKey(dir), dir, c, h.clean)
	if err != nil {
		return nil, errors.Join(err, h.abandon())
	}
	return l, nil
}

// active is the segment that is appended to.
func (l *Log) active() *segment.Segment {
	s := *l.segments.Load()
	return s[len(s)-1]
}

// usable tells why the log takes no more appends, or nil.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	if e := l.failure.Load(); e != nil {
		return e
	}
	return nil
}

// fail makes the log read-only if err is one of the disk, and returns err.
func (l *Log) fail(err error) error {
	if e, ok := errors.AsType[*StorageError](err); ok {
		l.failure.CompareAndSwap(nil, e)
		return e
	}
	if err != nil {
		// Damage met while writing: what was written and what is in memory may differ.
		l.failure.CompareAndSwap(nil, &StorageError{Path: l.dir, Op: "append", Err: err})
	}
	return err
}

// failSync is fail for what includes syncs. After a failed one the next life cannot trust what it reads. Not for callers that hold mu.
func (l *Log) failSync(err error) error {
	if err = l.fail(err); err != nil {
		l.home.distrust()
	}
	return err
}

// Err returns the error that made the log read-only, or nil.
func (l *Log) Err() error {
	if e := l.failure.Load(); e != nil {
		return e
	}
	return nil
}

// SizeBytes is the size of all segments' log files (logical bytes, without blocks written ahead).
func (l *Log) SizeBytes() int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		n += s.SizeBytes()
	}
	return n
}

// Dir is the log's directory.
func (l *Log) Dir() string { return l.dir }

// Close syncs, trims indexes and files to their length, writes a producer snapshot, and closes. Idempotent. A log of a Directory leaves the
// checkpoints to Directory.Close. Reads under way end with ErrClosed or what they have found; their slices stay valid until released.
func (l *Log) Close() error {
	l.endCompactions()
	l.flush.acquire()
	defer l.flush.release()
	if l.closed.Swap(true) {
		return nil
	}
	err := l.Err()
	if err == nil {
		err = l.refuseSync(l.settle())
	}
	err = errors.Join(err, l.letGo())
	if err == nil {
		l.home.note(l)
	}
	switch {
	case !l.home.alone:
		return err
	case err != nil:
		return errors.Join(err, l.home.abandon())
	}
	return l.home.close(-1)
}

// endCompactions waits until none is under way, and none begins any more: the directory may soon be another log's.
func (l *Log) endCompactions() {
	l.ending.Store(true)
	l.compacting.acquire()
	l.compacting.release()
}

// abandon closes without writing anything.
func (l *Log) abandon() {
	l.endCompactions()
	l.flush.acquire()
	defer l.flush.release()
	if !l.closed.Swap(true) {
		l.letGo()
	}
}

// letGo gives the segments up. Appends that come later find the log closed; mu waits for one under way.
func (l *Log) letGo() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for _, s := range *l.segments.Load() {
		err = errors.Join(err, s.Release())
	}
	return err
}

// settle brings the files to the form that the next start, or Kafka, finds after a clean stop; durable on return.
func (l *Log) settle() error {
	l.mu.Lock()
	changed, names := l.mu.changed, l.mu.newNames
	l.mu.Unlock()
	if !changed {
		if names {
			return syncDir(l.fs, l.dir)
		}
		return nil
	}
	// Sealed first, so that one sync is for both: what was appended and not synced is not lost for an index that cannot be written.
	l.mu.Lock()
	a := l.active()
	err := full(a.Settle()) // it met the full disk before it did anything that cannot be done again
	end := a.EndOffset()
	var snap *snapshotFiles
	if p := l.mu.producers; len(p.entries)+len(p.unreplicated)+len(l.mu.snapshots) > 0 {
		f := p.encode(end)
		snap = &f
	}
	l.mu.Unlock()
	late, bad := l.syncBatches(true)
	if err = cmp.Or(bad, err, late); err != nil {
		return err
	}
	if snap != nil {
		return l.writeSnapshots([]snapshotFiles{*snap})
	}
	l.mu.Lock()
	l.namesMadeLocked() // the indexes'
	l.mu.Unlock()
	return l.syncNames()
}
