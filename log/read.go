package log

import (
	"context"
	"errors"
	"iter"
	"os"
	"runtime"
	"sort"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// Slice is a run of whole batches in one segment file, found but not read. It keeps the file open until Release.
type Slice struct {
	Offset int64 // base offset of the first batch; may be below the offset asked for
	s      segment.Slice
	l      *Log
	want   int64 // the offset asked for
	cuts   int64
}

// Len returns the slice's length in bytes; 0 is an empty read.
func (s Slice) Len() int { return s.s.Len() }

// Append reads the bytes and appends them to dst. Errors: ErrTruncated, *StorageError.
func (s Slice) Append(dst []byte) ([]byte, error) { return s.s.Append(dst) }

// File returns the range as a file for sendfile; ok is false in memory.
func (s Slice) File() (f *os.File, pos int64, ok bool) { return s.s.File() }

// Release lets the file go. The slice must not be used afterwards. Releasing the zero Slice does nothing.
func (s Slice) Release() { s.s.Release() }

// readAttempts is how often a read looks again after a truncation came in between, before it says so.
const readAttempts = 4

// Read finds batches from the one that holds offset (or follows it) up to the batch boundary at or below end (exclusive bound, usually the high watermark), at most limit
// bytes. With atLeastOne the first batch is returned even if it is larger than limit. Empty when there is nothing below end. Never waits. Safe for concurrent use.
// Only a slice that is not empty has to be released.
//
// Errors: *OffsetOutOfRangeError when offset < LogStartOffset or > LogEndOffset; *DamagedError; ErrClosed; ErrTruncated; *CorruptError; *StorageError.
func (l *Log) Read(offset, end int64, limit int, atLeastOne bool) (Slice, error) {
	var err error
	for range readAttempts {
		o := l.offsets.load()
		if offset < o.LogStartOffset || offset > o.LogEndOffset {
			return Slice{}, &OffsetOutOfRangeError{Offset: offset, LogStartOffset: o.LogStartOffset, LogEndOffset: o.LogEndOffset}
		}
		if l.closed.Load() {
			return Slice{}, ErrClosed
		}
		cuts := l.cuts.Load()
		end, err = l.soundUpTo(offset, min(end, o.LogEndOffset))
		if err != nil {
			return Slice{}, err
		}
		var sl segment.Slice
		sl, err = l.readOnce(offset, end, limit, atLeastOne)
		if err == nil {
			return Slice{Offset: sl.BaseOffset(), s: sl, l: l, want: offset, cuts: cuts}, nil
		}
		if !errors.Is(err, ErrTruncated) && !errors.Is(err, segment.ErrDeleted) {
			return Slice{}, err
		}
	}
	if l.closed.Load() {
		return Slice{}, ErrClosed
	}
	return Slice{}, ErrTruncated
}

func (l *Log) readOnce(offset, end int64, limit int, atLeastOne bool) (segment.Slice, error) {
	if offset >= end {
		return segment.Slice{}, nil
	}
	segs := *l.segments.Load()
	// A segment may end in offsets that compaction has emptied: then the next one has the first batch.
	for i := floorSegment(segs, offset); i < len(segs) && segs[i].BaseOffset() < end; i++ {
		sl, err := l.readSegment(segs[i], offset, end, limit, atLeastOne)
		if err != nil || sl.Len() > 0 || i == len(segs)-1 {
			return sl, err
		}
		if last := segs[i].EndOffset(); offset < last && last <= end && atLeastOne && l.gapless() {
			// Segments end where the next one begins, so there is a batch missing.
			return sl, &CorruptError{Path: segs[i].Path(), Position: segs[i].SizeBytes(), Offset: offset, Err: errEndsEarly}
		}
		if !atLeastOne {
			// A batch that does not fit into limit must not be passed over for a smaller one of the next segment.
			first, err := l.readSegment(segs[i], offset, end, limit, true)
			if err != nil || first.Len() > 0 {
				first.Release()
				return segment.Slice{}, err
			}
		}
	}
	return segment.Slice{}, nil
}

func (l *Log) readSegment(s *segment.Segment, offset, end int64, limit int, atLeastOne bool) (segment.Slice, error) {
	if !s.Acquire() {
		return segment.Slice{}, segment.ErrDeleted
	}
	defer s.Release()
	return s.Read(offset, end, limit, atLeastOne)
}

// retry calls f, which looks for segments, until it comes upon none that the log has just let go: cut off, deleted from the front, or replaced by another. Each time it does, the list
// of segments is a new one.
func (l *Log) retry(f func() error) error {
	for {
		if l.closed.Load() {
			return ErrClosed
		}
		err := f()
		if !errors.Is(err, segment.ErrDeleted) {
			return err
		}
		if failed := l.Err(); failed != nil {
			return failed // the list may stay as it is
		}
		runtime.Gosched()
	}
}

// floorSegment returns the number of the last segment whose base offset is at most offset, or 0.
func floorSegment(segs []*segment.Segment, offset int64) int {
	n := len(segs)
	if segs[n-1].BaseOffset() <= offset {
		return n - 1 // readers are mostly here
	}
	return max(0, sort.Search(n, func(i int) bool { return segs[i].BaseOffset() > offset })-1)
}

// recordsReadBytes is how much Records reads at a time.
const recordsReadBytes = 256 << 10

// Records iterates over the records in [from, LogEndOffset), skipping control batches, up to the LogEndOffset of the moment when it gets there. It checks every batch's
// CRC. The *record.Record is reused: Clone keeps one. An error is the last element; ctx ends the iteration with its error.
func (l *Log) Records(ctx context.Context, from int64) iter.Seq2[*record.Record, error] {
	return func(yield func(*record.Record, error) bool) {
		var (
			buf    []byte
			reader record.Reader
			offset = from
		)
		for {
			sl, err := l.Read(offset, l.offsets.end.Load(), recordsReadBytes, true)
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && sl.Len() == 0 {
				return
			}
			if err == nil {
				buf, err = sl.Append(buf[:0])
			}
			if err != nil {
				sl.Release()
				yield(nil, err)
				return
			}
			next, more := l.yieldRecords(sl, buf, offset, &reader, yield)
			sl.Release()
			if !more {
				return
			}
			offset = next
		}
	}
}

// yieldRecords yields the records of buf at or above offset, and returns where the next batch begins; more is false when the iteration is over.
func (l *Log) yieldRecords(sl Slice, buf []byte, offset int64, r *record.Reader, yield func(*record.Record, error) bool) (next int64, more bool) {
	pos := 0
	fail := func(err error) (int64, bool) {
		path, at := sl.s.Location()
		yield(nil, &CorruptError{Path: path, Position: at + int64(pos), Offset: offset, Err: err})
		return 0, false
	}
	for pos < len(buf) {
		b, _, err := record.Split(buf[pos:])
		if err == nil {
			err = b.CheckCRC()
		}
		if err == nil && b.NextOffset() <= offset {
			err = &record.CorruptError{BaseOffset: b.BaseOffset(), Reason: "offsets do not rise"}
		}
		if err != nil {
			return fail(err)
		}
		if !b.Control() {
			if err := r.Reset(b, 0); err != nil {
				return fail(err)
			}
			for r.Next() {
				rec := r.Record()
				if rec.Offset >= offset && !yield(rec, nil) {
					return 0, false
				}
			}
			if err := r.Err(); err != nil {
				return fail(err)
			}
		}
		offset = b.NextOffset()
		pos += len(b)
	}
	return offset, true
}
