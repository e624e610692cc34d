package groups

import (
	"errors"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/machine"
)

const (
	// rewriteBytes is the size of a log below which it is not worth while to write the state again.
	rewriteBytes = 4 << 20
	// rewriteFactor is how many times larger than the state a log may grow.
	rewriteFactor = 4
	// chunkBytes is how much of the state goes into one batch, at least; large states are written in chunkParts parts or so, because finding a part takes time in proportion to the whole.
	chunkBytes = 256 << 10
	chunkParts = 16
)

// rewrite writes a shard's whole state again when its log has grown, and has the log begin there. A log that is read from its start at every failover would otherwise grow with every commit.
//
//	log start                first      chunk   chunk         last chunk: committed
//	   |── entries, most superseded ──|──[a-d]──commits──[e-k]──…──[z]──|─ ─ ▶
//	                                  ▲ becomes the log start then
//
// Each chunk is the state of some groups as it is when the batch is appended: what was committed earlier is in it, what is committed later comes after it. So a load from first on gives the same
// state, and so does one from the old start, in case the node dies before the start has moved.
type rewrite struct {
	logBytes int64 // appended since the last first, about what a load reads
	live     int64 // the state's size
	count    int

	active bool
	halted bool   // a write failed: wait for one that succeeds
	after  string // the last group written
	first  int64  // offset of the first chunk; -1 before it is committed
	size   int64  // of the chunks so far
	chunk  chunk  // in the write under way
}

// chunk is a part of the state.
type chunk struct {
	there bool
	until string // the last group in it
	last  bool   // nothing follows
	size  int64
}

// liveBytes is the size of the state, for a log that is large enough to be interested.
func liveBytes(m *machine.Coordinator, logBytes int64) (n int64) {
	if logBytes < rewriteBytes {
		return 0
	}
	var scratch []byte
	for e := range m.Entries() {
		scratch = appendEntry(scratch[:0], e)
		n += int64(len(scratch))
	}
	return n
}

func appendEntry(dst []byte, e entry.Entry) []byte {
	dst = e.AppendKey(dst)
	if all, ok := e.AppendValue(dst); ok {
		return all
	}
	return dst
}

// rewriteLocked begins to write the state again if it is time, and appends the next chunk.
func (s *shard) rewriteLocked(dst []entry.Entry) []entry.Entry {
	w := &s.mu.rewrite
	switch {
	case w.halted:
		return dst
	case !w.active && w.logBytes < max(rewriteBytes, rewriteFactor*w.live):
		return dst
	case !w.active:
		*w = rewrite{active: true, first: -1, live: w.live, count: w.count}
	}
	var scratch []byte
	enough := max(chunkBytes, w.live/chunkParts)
	w.chunk = chunk{there: true, until: w.after, last: true}
	for e := range s.mu.machine.Entries() {
		group := e.GroupID()
		if w.first >= 0 && group <= w.after { // the empty id is a group, too
			continue
		}
		if w.chunk.size >= enough && group != w.chunk.until {
			w.chunk.last = false
			break
		}
		w.chunk.until = group
		scratch = appendEntry(scratch[:0], e)
		w.chunk.size += int64(len(scratch))
		dst = append(dst, e)
	}
	return dst
}

// rewrittenLocked takes the outcome of a write. It returns where the log may start now, 0 if there is no news.
func (s *shard) rewrittenLocked(done *write, err error) int64 {
	w := &s.mu.rewrite
	c := w.chunk
	w.chunk = chunk{}
	switch w.halted = err != nil; {
	case w.halted && c.there && errors.Is(err, ErrRefused):
		*w = rewrite{live: w.live, count: w.count} // too large for the log: not again soon, for what shares a batch with a chunk fails with it
		return 0
	case w.halted:
		return 0
	}
	w.logBytes += int64(done.size)
	if !c.there {
		return 0
	}
	if w.first < 0 {
		w.first = done.result.BaseOffset
	}
	w.size += c.size
	if w.after = c.until; !c.last {
		return 0
	}
	w.active, w.live = false, w.size
	w.count++
	return w.first
}

// advance has the log begin at an offset, or before the first transaction that is open. If it cannot (somebody else leads), the log is only longer than it has to be.
func (s *shard) advance(offset int64) {
	offset = min(offset, s.replica.Log().Offsets().LastStableOffset)
	if err := s.replica.AdvanceLogStart(offset, s.epoch); err != nil {
		s.owner.logger.Debug("group coordinator: the log keeps its old start", "partition", s.partition, "offset", offset, "error", err)
	} else if f := s.owner.c.Changed; f != nil {
		f()
	}
}
