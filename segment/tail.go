package segment

import "sync/atomic"

// tailSlots is how many batches back the tail of a segment that is written to remembers. A power of two.
const tailSlots = 128

// idleSlots is the length of the tail of a segment that has not been written to since it was opened: room for its end, and one to spare.
const idleSlots = 2

// tail maps the newest batch boundaries of a segment to file positions, so that readers at the end (followers, consumers that keep up)
// and bounds just below it (the high watermark) cost no look-up. One writer, any number of readers, no lock.
//
// Slot i%len holds boundary i: the end of batch i. The writer fills a slot and then raises n, so a slot is being overwritten only
// when its boundary is n-len or older: a reader that finds, after reading, that its boundary is newer has read it whole.
//
//	... | boundary n-3 | boundary n-2 | boundary n-1 |   (next)
//	        end, pos       end, pos       end, pos = the segment's end and size
type tail struct {
	n     atomic.Int64
	slots []tailSlot
}

// tailSlot is a boundary: the batch that starts at base ends before the offset end, and at the position pos.
type tailSlot struct {
	base, end, pos atomic.Int64
}

// boundary is where one batch ends and the next begins.
type boundary struct {
	offset int64 // one past the last offset before the boundary
	pos    int64
}

func newTail(slots int, at boundary) *tail {
	t := &tail{slots: make([]tailSlot, slots)}
	t.push(at.offset, at.offset, at.pos)
	return t
}

// push adds the boundary behind a batch. Only the writer calls it.
func (t *tail) push(base, end, pos int64) {
	n := t.n.Load()
	s := &t.slots[int(n)&(len(t.slots)-1)]
	s.base.Store(base)
	s.end.Store(end)
	s.pos.Store(pos)
	t.n.Store(n + 1)
}

func (t *tail) slot(i int64) *tailSlot { return &t.slots[int(i)&(len(t.slots)-1)] }

// whole tells whether boundary i cannot have been overwritten before this call.
func (t *tail) whole(i int64) bool { return i > t.n.Load()-int64(len(t.slots)) }

// latest returns the newest boundary.
func (t *tail) latest() boundary {
	for {
		i := t.n.Load() - 1
		s := t.slot(i)
		b := boundary{offset: s.end.Load(), pos: s.pos.Load()}
		if t.whole(i) {
			return b
		}
	}
}

// floor returns the last boundary whose offset is at most offset, and the base offset of the batch behind it (the boundary's own offset
// if there is none yet). ok is false when that boundary is older than what the tail remembers.
func (t *tail) floor(offset int64) (b boundary, base int64, ok bool) {
	return t.search(func(s *tailSlot) bool { return s.end.Load() <= offset })
}

// floorPosition is floor by file position.
func (t *tail) floorPosition(pos int64) (b boundary, base int64, ok bool) {
	return t.search(func(s *tailSlot) bool { return s.pos.Load() <= pos })
}

// search returns the last boundary for which below holds; below is true up to some boundary and false from there on.
func (t *tail) search(below func(s *tailSlot) bool) (b boundary, base int64, ok bool) {
	n := t.n.Load()
	first := max(0, n-int64(len(t.slots))+1)
	lo, hi := first, n
	// Most searches are for the newest few.
	for step := int64(1); hi-lo > step && step <= 4; step *= 2 {
		if below(t.slot(hi - step)) {
			lo = hi - step
			break
		}
		hi -= step
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if below(t.slot(mid)) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	i := lo - 1
	if i < first {
		return boundary{}, 0, false
	}
	s := t.slot(i)
	b = boundary{offset: s.end.Load(), pos: s.pos.Load()}
	base = b.offset
	if i+1 < n {
		base = t.slot(i + 1).base.Load()
	}
	return b, base, t.whole(i)
}
