package segment

import (
	"errors"
	"math"

	"github.com/insynclog/insync/log/record"
)

// Activate makes a segment writable whose end is sound: after a clean stop, or when a truncation makes a sealed one the last. It finds the end
// from the last entry of the offset index on. size is that of the batches in the file.
//
// Errors: *CorruptError when the batches do not add up to size; *StorageError.
func (s *Segment) Activate(size int64) error {
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	if err := s.unseal(); err != nil {
		return err
	}
	if size == 0 {
		return s.adoptEmpty()
	}
	if err := s.loadTxns(); err != nil {
		return err
	}
	sc := &scan{buf: make([]byte, headerScanBytes)}
	if err := s.enterLast(sc, f, size); err != nil {
		return err
	}
	return s.adopt(sc)
}

// unseal begins the life of a writer, with what the files say.
func (s *Segment) unseal() error {
	s.sealed.Store(false)
	s.w.reset(s.base)
	if s.rebuilt.Swap(false) {
		return s.offsets.reload()
	}
	return nil
}

// adoptEmpty makes the files of an empty segment agree with it.
func (s *Segment) adoptEmpty() error {
	s.txns.clear()
	s.setEnd(boundary{offset: s.base})
	return errors.Join(s.offsets.truncate(0), s.times.truncate(0))
}

// loadTxns reads the transaction index; a damaged one has to be rebuilt, which takes Recover.
func (s *Segment) loadTxns() error {
	if s.txns.list.Load() != nil {
		return nil
	}
	return s.txns.load(s.base, math.MaxInt64)
}

// enterLast starts a scan at the batch of the last entry of the offset index, having cut both indexes to what is sound, and takes the state of
// the writer there from them. Where the log does not confirm that entry the indexes are emptied and the scan starts at the base.
func (s *Segment) enterLast(sc *scan, f *logFile, size int64) error {
	good, err := s.offsets.sound(size)
	if err == nil {
		err = s.offsets.truncate(good)
	}
	if err != nil {
		return err
	}
	e, ok, err := s.offsets.last()
	if err != nil {
		return err
	}
	sc.reset(f, s.base, 0, size, s.base)
	if ok {
		s.suspect.Store(false)
		if err := s.enter(sc, boundary{pos: size}, e, 0); err != nil {
			return err
		}
		if !s.suspect.Load() {
			if ok, err := s.resume(sc, e); ok || err != nil {
				return err
			}
		}
	}
	// From the base on, then: the walk makes both indexes anew.
	s.suspect.Store(false)
	sc.reset(f, s.base, 0, size, s.base)
	s.w.reset(s.base)
	return errors.Join(s.offsets.truncate(0), s.times.truncate(0))
}

// resume sets the writer's state to what it was in front of the batch that e, the last entry of the offset index, names: the entry itself goes, for
// it is added again with the batch. ok is false when the time index must have lost entries.
func (s *Segment) resume(sc *scan, e offsetEntry) (ok bool, err error) {
	if err := s.times.truncateTo(int64(e.rel)); err != nil {
		return false, err
	}
	good, err := s.times.sound()
	if err == nil {
		err = s.times.truncate(good)
	}
	if err != nil {
		return false, err
	}
	t, found, err := s.times.last()
	if err != nil {
		return false, err
	}
	if found {
		if found, err = s.largestIn(t, sc.pos); err != nil || !found {
			return false, err
		}
		s.w.timeEntry, s.w.maxTimestamp, s.w.maxOffset = t.ts, t.ts, s.base+int64(t.rel)
	} else if first, err := s.header(0, sc.end); err != nil || first.MaxTimestamp() >= 0 {
		return false, ignoreCorrupt(err)
	}
	n, err := s.offsets.len()
	if err == nil {
		err = s.offsets.truncate(n - 1)
	}
	s.w.size, s.w.end = sc.pos, sc.expect
	s.w.sinceEntry = int64(s.cfg.IndexIntervalBytes) + 1 // so that the batch gets its entry again
	return true, err
}

// largestIn tells whether the batch that the last time index entry names has its timestamp, and no batch between that and the position end a larger one, which an
// index that lost its end would not know. Timestamps mostly rise, so the way is mostly short.
func (s *Segment) largestIn(e timeEntry, end int64) (bool, error) {
	offset := s.base + int64(e.rel)
	at, err := s.walkTo(boundary{offset: offset + 1, pos: end}, offset)
	if err != nil || at.base > offset {
		return false, ignoreCorrupt(err)
	}
	f, err := s.pin()
	if err != nil {
		return false, err
	}
	defer f.unpin()
	sc := headerScans.Get().(*scan)
	defer headerScans.Put(sc)
	sc.reset(f, s.base, at.pos, end, at.offset)
	for first := true; ; first = false {
		h, size, err := sc.next()
		switch {
		case errors.Is(err, errEnd):
			return true, nil
		case err != nil:
			return false, ignoreCorrupt(s.scanError(sc, err))
		case first && h.MaxTimestamp() != e.ts, h.MaxTimestamp() > e.ts:
			return false, nil
		}
		// Behind a large batch mostly comes another, and then no more than its header is of use.
		sc.step = 0
		if size > headerScanBytes {
			sc.step = wideStepBytes
		}
	}
}

// ignoreCorrupt drops a *CorruptError that a check of an index came upon: the walk that follows meets it where it matters.
func ignoreCorrupt(err error) error {
	if _, bad := errors.AsType[*CorruptError](err); bad {
		return nil
	}
	return err
}

// adopt walks to the end, adding the index entries that are missing, and makes the end the segment's.
func (s *Segment) adopt(sc *scan) error {
	for {
		h, size, err := sc.next()
		if errors.Is(err, errEnd) {
			break
		}
		if err != nil {
			return s.scanError(sc, err)
		}
		if err := s.index(h, size); err != nil {
			return err
		}
		s.w.size, s.w.end = sc.pos, sc.expect
	}
	s.setEnd(boundary{offset: s.w.end, pos: s.w.size})
	return nil
}

// Recovered is what a recovery found behind the last good batch.
type Recovered struct {
	CutBytes  int64 // bytes cut off that were not blocks written ahead
	ZeroBytes int64 // blocks written ahead and never used
	Reason    error // what was wrong with the first of CutBytes; nil if there are none
}

// LoadAborted reads the transaction index and keeps the entries whose marker is below synced, for a recovery that adds the others again.
// whole is false if the file was damaged: it is empty now, and the caller has to add all.
func (s *Segment) LoadAborted(synced int64) (whole bool, err error) {
	err = s.txns.load(s.base, math.MaxInt64)
	if _, bad := errors.AsType[*CorruptError](err); bad {
		s.txns.clear()
		return false, s.txns.truncateTo(s.base)
	}
	if err != nil {
		return false, err
	}
	return true, s.txns.truncateTo(synced)
}

// Recover makes a segment writable after a stop that was not clean. It walks from synced, below which everything was once made
// durable, checks every batch from there on, and cuts the file behind the last good one; the cut is durable on return. The batches that were checked are written again, so that the
// caller's next Sync covers them: see rewrite. Indexes are cut and completed on the
// way; LoadAborted comes first. visit is called for every batch whose end is above synced, in order, with its header only if the batch is large; it does not keep it.
//
// Errors: *CorruptError, with the file left as it is, for a batch that is bad although it was synced; *StorageError; the error of visit.
func (s *Segment) Recover(synced int64, visit func(b record.Batch) error) (Recovered, error) {
	if err := s.unseal(); err != nil {
		return Recovered{}, err
	}
	f, err := s.pin()
	if err != nil {
		return Recovered{}, err
	}
	defer f.unpin()
	size, err := f.Size()
	if err != nil {
		return Recovered{}, storage("stat", s.path, err)
	}
	sc := &scan{buf: make([]byte, int(max(min(size, batchScanBytes), record.HeaderSize)))}
	if err := s.enterBelow(sc, f, size, synced); err != nil {
		return Recovered{}, err
	}
	from, reason, err := s.adoptChecked(sc, synced, visit)
	if err != nil {
		return Recovered{}, err
	}
	grown, err := s.rewrite(from, size)
	if err != nil {
		return Recovered{}, err
	}
	r, err := s.cutTail(sc, grown, reason)
	r.ZeroBytes -= grown - size
	return r, err
}

// rewrite writes the bytes from a position to the end of the batches in the place where they are. The life before this one may have ended because a sync failed. What that
// sync was to write is still in the page cache, where it looks sound, but the system counts it as written: no later sync would write it, and a power loss would leave a hole. So may be the size
// of the file: it becomes larger by a byte, which is cut off afterwards as blocks written ahead are. It returns the size.
func (s *Segment) rewrite(from, size int64) (int64, error) {
	if from >= s.w.size {
		return size, nil
	}
	f, err := s.pin()
	if err != nil {
		return size, err
	}
	defer f.unpin()
	buf := make([]byte, min(max(s.w.size-from, 0), rewriteBytes))
	for pos := from; pos < s.w.size; pos += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.w.size-pos)]
		n, err := f.ReadAt(buf, pos)
		if err := shortRead(n, len(buf), err); err != nil {
			return size, storage("read", s.path, err)
		}
		_, err = f.WriteAt(buf, pos)
		s.wrote()
		if err != nil {
			return size, storage("write", s.path, err)
		}
	}
	if size > s.w.size {
		return size, nil
	}
	_, err = f.WriteAt([]byte{0}, size)
	s.wrote()
	return size + 1, storage("write", s.path, err)
}

// rewriteBytes is how much is written again at a time.
const rewriteBytes = 1 << 20

// enterBelow starts the scan of a recovery at the last indexed batch below synced.
func (s *Segment) enterBelow(sc *scan, f *logFile, size, synced int64) error {
	if err := errors.Join(s.offsets.truncateTo(synced-s.base), s.times.truncateTo(synced-s.base)); err != nil {
		return err
	}
	return s.enterLast(sc, f, size)
}

// adoptChecked walks as adopt does and checks every batch that is not wholly below synced. It returns the position of the first that it checked, or of the end, and why it stopped, nil at
// the end of the file.
func (s *Segment) adoptChecked(sc *scan, synced int64, visit func(b record.Batch) error) (from int64, reason, err error) {
	from = sc.pos
	var below struct{ expect, size int64 } // the last batch that was not checked: it ends at from
	for {
		pos, expect := sc.pos, sc.expect
		h, size, err := sc.next()
		check := err == nil && h.NextOffset() > synced
		if check {
			h, err = sc.check(size)
		}
		switch {
		case errors.Is(err, errEnd):
			if s.w.end < synced {
				return from, nil, s.corrupt(pos, expect, errMissing)
			}
			return from, nil, nil
		case err != nil && !isBadBatch(err):
			return from, nil, storage("read", s.path, err)
		case err != nil:
			sc.pos, sc.expect = pos, expect
			if s.w.end < synced {
				return from, nil, s.corrupt(pos, expect, err)
			}
			if pos == from && below.size > 0 {
				// Nothing is torn if the batch in front lies about its length: what looks like a torn tail is its own end then, and was synced.
				if _, lie := sc.check(below.size); lie != nil {
					if !isBadBatch(lie) {
						return from, nil, storage("read", s.path, lie)
					}
					return from, nil, s.corrupt(pos-below.size, below.expect, lie)
				}
			}
			return from, err, nil
		}
		if check && visit != nil {
			if err := visit(h); err != nil {
				return from, nil, err
			}
		}
		if err := s.index(h, size); err != nil {
			return from, nil, err
		}
		s.w.size, s.w.end = sc.pos, sc.expect
		if !check {
			from, below.expect, below.size = sc.pos, expect, size
		}
	}
}

var errMissing = errors.New("the file ends before what was synced")

// cutTail cuts the file behind the last good batch and makes that the end.
func (s *Segment) cutTail(sc *scan, size int64, reason error) (Recovered, error) {
	var r Recovered
	end := boundary{offset: s.w.end, pos: s.w.size}
	if end.pos < size {
		zero, err := sc.zeros(end.pos, size)
		if err != nil {
			return r, storage("read", s.path, err)
		}
		if zero {
			r.ZeroBytes = size - end.pos
		} else {
			r.CutBytes, r.Reason = size-end.pos, reason
		}
		f, err := s.pin()
		if err != nil {
			return r, err
		}
		defer f.unpin()
		err = f.Truncate(end.pos)
		s.wrote()
		if err != nil {
			return r, storage("truncate", s.path, err)
		}
		if err := f.Sync(); err != nil {
			return r, storage("sync", s.path, err)
		}
	}
	s.setEnd(end)
	return r, nil
}
