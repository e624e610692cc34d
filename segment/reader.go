package segment

import (
	"errors"
	"math"
	"os"

	"github.com/insynclog/insync/log/record"
)

// Slice is a run of whole batches of one segment, found but not read. It holds a reference to the segment, and keeps its files open, until Release.
type Slice struct {
	seg  *Segment
	f    *logFile // pinned
	base int64
	pos  int64
	n    int64
	cuts int64
}

// BaseOffset is the base offset of the first batch.
func (sl Slice) BaseOffset() int64 { return sl.base }

// Len is the length in bytes; 0 is an empty read.
func (sl Slice) Len() int { return int(sl.n) }

// Append reads the bytes and appends them to dst. ErrTruncated: a truncation took them.
func (sl Slice) Append(dst []byte) ([]byte, error) {
	if sl.n == 0 {
		return dst, nil
	}
	at := len(dst)
	if cap(dst)-at < int(sl.n) {
		grown := make([]byte, at, at+int(sl.n))
		copy(grown, dst)
		dst = grown
	}
	b := dst[at : at+int(sl.n)]
	n, err := sl.f.ReadAt(b, sl.pos)
	if sl.seg.cuts.Load() != sl.cuts {
		return dst, ErrTruncated
	}
	if err := shortRead(n, len(b), err); err != nil {
		return dst, storage("read", sl.seg.path, err)
	}
	return dst[:at+int(sl.n)], nil
}

// File returns the range as a file of the operating system; ok is false in memory.
func (sl Slice) File() (f *os.File, pos int64, ok bool) {
	if sl.n == 0 {
		return nil, 0, false
	}
	f = sl.f.OS()
	return f, sl.pos, f != nil
}

// Release lets the segment go. Releasing the zero Slice does nothing.
func (sl Slice) Release() {
	if sl.seg != nil {
		sl.f.unpin()
		sl.seg.Release() // an error of the last close, of files that were only read since they were synced, tells nobody anything
	}
}

// Read finds batches from the one that holds offset (or the first behind it) up to the last batch boundary at or below the offset end, at most limit
// bytes. With atLeastOne the first batch counts even if it is larger. The slice is empty if there is none; only a slice that is not empty holds a reference.
// The caller holds a reference. Safe for concurrent use.
//
// Errors: *StorageError; *CorruptError where the stored headers do not add up.
func (s *Segment) Read(offset, end int64, limit int, atLeastOne bool) (Slice, error) {
	cuts := s.cuts.Load()
	t := s.tail.Load()
	latest := t.latest()
	if offset >= latest.offset || end <= offset {
		return Slice{}, nil
	}
	from, err := s.startOf(t, latest, offset)
	if err != nil {
		return Slice{}, s.unlessCut(cuts, err)
	}
	to := latest.pos
	if end < latest.offset {
		b, err := s.startOf(t, latest, end)
		if err != nil {
			return Slice{}, s.unlessCut(cuts, err)
		}
		to = b.pos
	}
	if to-from.pos > int64(limit) {
		if to, err = s.cut(t, latest, from, int64(limit), to, atLeastOne); err != nil {
			return Slice{}, s.unlessCut(cuts, err)
		}
	}
	if to <= from.pos {
		return Slice{}, nil
	}
	if from.base < 0 {
		// The tail did not know the batch, the walk did not come past it: it is the one the boundary is in front of.
		from.base = from.offset
	}
	return s.slice(from.base, from.pos, to-from.pos, cuts)
}

// slice makes a Slice with a reference and a pin of its own; an empty one if the owner has let the segment go. The caller holds a reference.
func (s *Segment) slice(base, pos, n, cuts int64) (Slice, error) {
	f, err := s.pin()
	if err != nil {
		return Slice{}, err
	}
	if !s.Acquire() {
		f.unpin()
		return Slice{}, nil
	}
	return Slice{seg: s, f: f, base: base, pos: pos, n: n, cuts: cuts}, nil
}

// unlessCut makes an error that a truncation beside the reader may have caused ErrTruncated.
func (s *Segment) unlessCut(cuts int64, err error) error {
	if s.cuts.Load() != cuts {
		return ErrTruncated
	}
	return err
}

// start is the boundary in front of a batch.
type start struct {
	boundary
	base int64 // of the batch
	next int64 // position behind the batch; 0 if nobody has looked
}

// startOf returns the start of the batch that holds offset or is the first behind it.
// For an offset at or above the end of the segment it is the end.
func (s *Segment) startOf(t *tail, latest boundary, offset int64) (start, error) {
	if offset >= latest.offset {
		return start{boundary: latest, base: latest.offset}, nil
	}
	if b, base, ok := t.floor(offset); ok {
		return start{boundary: b, base: base}, nil
	}
	return s.walkTo(latest, offset)
}

// walkTo is startOf by the offset index and the headers.
func (s *Segment) walkTo(latest boundary, offset int64) (start, error) {
	f, err := s.pin()
	if err != nil {
		return start{}, err
	}
	defer f.unpin()
	sc := headerScans.Get().(*scan)
	defer headerScans.Put(sc)
	if err := s.seek(sc, f, latest, offset); err != nil {
		return start{}, err
	}
	for {
		at := boundary{offset: sc.expect, pos: sc.pos}
		h, _, err := sc.next()
		if errors.Is(err, errEnd) {
			return start{boundary: latest, base: latest.offset}, nil
		}
		if err != nil {
			return start{}, s.scanError(sc, err)
		}
		if h.NextOffset() > offset {
			return start{boundary: at, base: h.BaseOffset(), next: sc.pos}, nil
		}
	}
}

// seek starts a scan of f, which the caller has pinned, at a batch at or before the one that holds offset, with the help of the offset index as far as the log confirms it.
func (s *Segment) seek(sc *scan, f *logFile, latest boundary, offset int64) error {
	if s.needsRebuild(latest) {
		if err := s.rebuild(latest); err != nil {
			return err
		}
	}
	sc.reset(f, s.base, 0, latest.pos, s.base)
	if s.suspect.Load() {
		return nil
	}
	e, gap, ok, err := s.offsets.lookup(offset - s.base)
	if err != nil || !ok {
		return err
	}
	return s.enter(sc, latest, e, stepOver(gap))
}

// stepOver is how much a scan is to read at a time that looks for a batch in front of the next entry of the offset index, which is gap bytes on: all headers on the way at once, or where batches are large little more than
// a header. 0, as much as it can, where there is no next entry.
func stepOver(gap int64) int {
	switch {
	case gap == 0:
		return 0
	case gap+record.HeaderSize <= headerScanBytes:
		return int(gap) + record.HeaderSize
	}
	return wideStepBytes
}

// wideStepBytes is what is read at a time where the entries of the offset index are far apart. Some batch on the way is large, but there may be small ones, too.
const wideStepBytes = 512

// enter starts a scan at an entry of the offset index, if the batch there is the one that the entry names; else at the base. From the entry on it reads step bytes at a time, if that is not 0.
func (s *Segment) enter(sc *scan, latest boundary, e offsetEntry, step int) error {
	if int64(e.pos) >= latest.pos {
		return nil // of a batch that is not published yet, or damaged: from the base it is found either way
	}
	f := sc.f
	var h record.Batch
	var size int64
	err := errEnd
	if e.pos > 0 {
		sc.reset(f, s.base, int64(e.pos), latest.pos, s.base)
		sc.step = step
		h, size, err = sc.next()
	}
	if err == nil && h.LastOffset() == s.base+int64(e.rel) {
		sc.pos -= size
		sc.expect = h.BaseOffset()
		return nil
	}
	if err != nil && !isBadBatch(err) {
		return storage("read", s.path, err)
	}
	s.suspect.Store(true)
	sc.reset(f, s.base, 0, latest.pos, s.base)
	return nil
}

func isBadBatch(err error) bool {
	_, bad := errors.AsType[*badBatch](err)
	return bad || errors.Is(err, errEnd)
}

// cut returns the last batch boundary at or below from+limit, a position in (from, to]; if there is none, from itself or, with atLeastOne, the end of the first batch.
func (s *Segment) cut(t *tail, latest boundary, from start, limit, to int64, atLeastOne bool) (int64, error) {
	if from.next > from.pos && from.next >= from.pos+limit {
		// No other batch fits than the first, whose end is known: there is nothing to look up.
		if from.next == from.pos+limit || atLeastOne {
			return from.next, nil
		}
		return from.pos, nil
	}
	if b, _, ok := t.floorPosition(from.pos + limit); ok && b.pos > from.pos {
		return b.pos, nil
	}
	sc := headerScans.Get().(*scan)
	defer headerScans.Put(sc)
	f, err := s.pin()
	if err != nil {
		return 0, err
	}
	defer f.unpin()
	sc.reset(f, s.base, from.pos, to, from.offset)
	if !s.suspect.Load() {
		e, ok, err := s.offsets.lookupPosition(int32(min(from.pos+limit, math.MaxInt32)))
		if err != nil {
			return 0, err
		}
		if ok && int64(e.pos) > from.pos {
			if err := s.enter(sc, latest, e, 0); err != nil {
				return 0, err
			}
			if sc.pos < from.pos {
				sc.reset(f, s.base, from.pos, to, from.offset)
			}
		}
	}
	for last := sc.pos; ; last = sc.pos {
		_, _, err := sc.next()
		switch {
		case errors.Is(err, errEnd):
			return to, nil
		case err != nil:
			return 0, s.scanError(sc, err)
		case sc.pos <= from.pos+limit:
		case last > from.pos || !atLeastOne:
			return last, nil
		default:
			return sc.pos, nil
		}
	}
}

// Headers calls fn with the header of every batch from the one that holds offset up to the offset end, with its position and size, until fn returns
// false or the segment ends. It looks at nothing behind a batch that ends at end. The header is valid inside fn. The caller holds a reference. Safe for concurrent use.
func (s *Segment) Headers(offset, end int64, fn func(h record.Batch, pos, size int64) bool) error {
	t := s.tail.Load()
	latest := t.latest()
	b, err := s.startOf(t, latest, offset)
	if err != nil {
		return err
	}
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	sc := headerScans.Get().(*scan)
	defer headerScans.Put(sc)
	sc.reset(f, s.base, b.pos, latest.pos, b.offset)
	for sc.expect < end {
		h, size, err := sc.next()
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return s.scanError(sc, err)
		}
		if h.BaseOffset() >= end || !fn(h, sc.pos-size, size) {
			return nil
		}
	}
	return nil
}

// ReadAt reads bytes of the .log file: len(p) of them at pos. The caller holds a reference. Safe for concurrent use.
func (s *Segment) ReadAt(p []byte, pos int64) error {
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	n, err := f.ReadAt(p, pos)
	if err := shortRead(n, len(p), err); err != nil {
		return storage("read", s.path, err)
	}
	return nil
}

// Aborted returns the segment's aborted transactions, by marker. The list is not to be changed. The caller holds a reference. Safe for concurrent use.
func (s *Segment) Aborted() ([]AbortedTxn, error) {
	if l := s.txns.list.Load(); l != nil {
		return *l, nil
	}
	s.open.Lock()
	defer s.open.Unlock()
	if s.txns.list.Load() == nil {
		if err := s.txns.load(s.base, math.MaxInt64); err != nil {
			return nil, err
		}
	}
	return *s.txns.list.Load(), nil
}

// Location is the name of the .log file and the position in it where the slice begins.
func (sl Slice) Location() (path string, pos int64) {
	if sl.seg == nil {
		return "", 0
	}
	return sl.seg.path, sl.pos
}
