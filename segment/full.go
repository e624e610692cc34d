package segment

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// FullError says that there was no space, or no descriptor, for something to be written or read, and that nothing was changed: the same call may succeed later.
type FullError struct {
	Path string
	Op   string
	Err  error
}

func (e *FullError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the system's error.
func (e *FullError) Unwrap() error { return e.Err }

// IsExhausted tells whether err says that the disk is full or that there are too many open files: it passes, unlike a disk that fails.
func IsExhausted(err error) bool {
	return vfs.IsNoSpace(err) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// full makes a *StorageError that passes a *FullError, for those who have changed nothing.
func full(err error) error {
	if e, ok := errors.AsType[*StorageError](err); ok && IsExhausted(e.Err) {
		return &FullError{Path: e.Path, Op: e.Op, Err: e.Err}
	}
	return err
}

// reserve makes room in the indexes for the entries of batches that are about to be written, so that the writing is all that can meet a full disk. header is that of the first, for it may stand alone.
func (s *Segment) reserve(header record.Batch, size int64, rest []byte) error {
	w := &s.w
	entries, since, largest := 0, w.sinceEntry, w.maxTimestamp
	for {
		if since > int64(s.cfg.IndexIntervalBytes) {
			entries++
			since = 0
		}
		since += size
		largest = max(largest, header.MaxTimestamp())
		if len(rest) == 0 {
			break
		}
		b, next, err := record.Split(rest)
		if err != nil {
			return s.corrupt(w.size, w.end, err)
		}
		header, size, rest = b[:record.HeaderSize], int64(len(b)), next
	}
	if entries == 0 {
		return nil
	}
	if err := s.offsets.reserve(entries); err != nil {
		return full(err)
	}
	if largest > w.timeEntry {
		return full(s.times.reserve(entries))
	}
	return nil
}

// reserve makes sure that append has room for so many entries.
func (x *indexFile) reserve(entries int) error {
	n := int(x.count.Load()) + entries
	if m := x.current.Load(); m != nil && n*x.entrySize <= len(m.data) {
		return nil
	}
	_, err := x.grow(n)
	return err
}

// undo cuts off what a write that failed may have left behind the end, with the blocks written ahead, if the segment can go on after such a failure.
func (s *Segment) undo(f vfs.File, cause error) error {
	err := storage("write", s.path, cause)
	if !IsExhausted(cause) {
		return err
	}
	s.w.fileEnd, s.w.blocksEnd = 0, 0
	cut := f.Truncate(s.w.size)
	s.wrote()
	if cut != nil {
		return storage("truncate", s.path, cut)
	}
	return full(err)
}

// Unseal takes Seal back for a segment that is to be appended to after all, because no other could be made. For the writer.
func (s *Segment) Unseal() { s.sealed.Store(false) }
