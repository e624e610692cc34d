package segment

import (
	"github.com/insynclog/insync/log/record"
)

// FirstBatchSince finds the first batch that overlaps [from, end) and whose max timestamp is ts milliseconds or later; ok is false when there is
// none. The caller releases the slice, and holds a reference itself. Safe for concurrent use.
func (s *Segment) FirstBatchSince(ts, from, end int64) (sl Slice, ok bool, err error) {
	f, err := s.pin()
	if err != nil {
		return Slice{}, false, err
	}
	defer f.unpin()
	cuts := s.cuts.Load()
	// An entry is believed on its own; that the last one tells the largest timestamp of the segment is not, for a file that lost its end would say so, too.
	start := max(from, s.base)
	e, found, err := s.times.lookup(ts - 1)
	if err != nil {
		return Slice{}, false, err
	}
	if found {
		if confirmed, err := s.confirm(e); err != nil {
			return Slice{}, false, s.unlessCut(cuts, err)
		} else if confirmed {
			start = max(start, s.base+int64(e.rel)+1)
		}
	}
	var base, pos, size int64
	err = s.Headers(start, end, func(h record.Batch, p, n int64) bool {
		if h.MaxTimestamp() < ts || h.NextOffset() <= from {
			return true
		}
		base, pos, size = h.BaseOffset(), p, n
		return false
	})
	if err != nil || size == 0 {
		return Slice{}, false, s.unlessCut(cuts, err)
	}
	sl, err = s.slice(base, pos, size, cuts)
	return sl, sl.n > 0, err
}

// LargestTimestamp finds the largest batch timestamp in the offsets [from, end) and the first batch there that has it; ok is false for a segment
// without batches there. The caller releases the slice, and holds a reference itself. Safe for concurrent use.
func (s *Segment) LargestTimestamp(from, end int64) (ts int64, sl Slice, ok bool, err error) {
	f, err := s.pin()
	if err != nil {
		return 0, Slice{}, false, err
	}
	defer f.unpin()
	cuts := s.cuts.Load()
	// The entry holds for everything up to some batch behind its own offset: starting at its offset misses nothing.
	start, best, at := max(from, s.base), int64(-1), int64(-1)
	e, found, err := s.times.lookupOffset(end - s.base)
	if err != nil {
		return 0, Slice{}, false, err
	}
	if found {
		if confirmed, err := s.confirm(e); err != nil {
			return 0, Slice{}, false, s.unlessCut(cuts, err)
		} else if confirmed {
			start = max(start, s.base+int64(e.rel))
		}
	}
	var pos, size int64
	err = s.Headers(start, end, func(h record.Batch, p, n int64) bool {
		if h.NextOffset() > end {
			return false
		}
		if at < 0 || h.MaxTimestamp() > best {
			best, at, pos, size = h.MaxTimestamp(), h.BaseOffset(), p, n
		}
		return true
	})
	if err != nil || at < 0 {
		return 0, Slice{}, false, s.unlessCut(cuts, err)
	}
	sl, err = s.slice(at, pos, size, cuts)
	return best, sl, sl.n > 0, err
}

// LargestRecordTimestamp is LargestTimestamp without the batches that compaction has emptied, which still have their timestamps: it goes through all headers. The caller holds a reference.
func (s *Segment) LargestRecordTimestamp(from, end int64) (ts int64, sl Slice, ok bool, err error) {
	cuts := s.cuts.Load()
	var best struct{ base, pos, n int64 }
	err = s.Headers(max(from, s.base), end, func(h record.Batch, pos, size int64) bool {
		if h.NextOffset() <= end && h.RecordCount() > 0 && (best.n == 0 || h.MaxTimestamp() > ts) {
			ts = h.MaxTimestamp()
			best.base, best.pos, best.n = h.BaseOffset(), pos, size
		}
		return true
	})
	if err != nil || best.n == 0 {
		return 0, Slice{}, false, s.unlessCut(cuts, err)
	}
	sl, err = s.slice(best.base, best.pos, best.n, cuts)
	return ts, sl, sl.n > 0, err
}

// confirm tells whether the batch that a time index entry names has the entry's timestamp.
func (s *Segment) confirm(e timeEntry) (bool, error) {
	same := false
	offset := s.base + int64(e.rel)
	err := s.Headers(offset, offset+1, func(h record.Batch, _, _ int64) bool {
		same = h.BaseOffset() <= offset && h.MaxTimestamp() == e.ts
		return false
	})
	return same, ignoreCorrupt(err)
}
