package log

import (
	"errors"
	"iter"
	"math"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// groups splits segments into runs that fit into one segment each, with their indexes.
func (r *compaction) groups(segs []*segment.Segment) iter.Seq[[]*segment.Segment] {
	r.l.mu.Lock()
	maxBytes, maxIndex, interval := int64(r.l.mu.config.SegmentBytes), int64(r.l.mu.config.SegmentIndexBytes), int64(r.l.mu.config.IndexIntervalBytes)
	r.l.mu.Unlock()
	indexed := func(s *segment.Segment) int64 { return (s.SizeBytes()/(interval+1) + 1) * 12 } // at most, of the larger index
	return func(yield func([]*segment.Segment) bool) {
		for len(segs) > 0 {
			n, bytes, index := 1, segs[0].SizeBytes(), indexed(segs[0])
			for n < len(segs) && bytes+segs[n].SizeBytes() <= maxBytes && index+indexed(segs[n]) <= maxIndex && segs[n].EndOffset()-1-segs[0].BaseOffset() <= math.MaxInt32 {
				bytes += segs[n].SizeBytes()
				index += indexed(segs[n])
				n++
			}
			if !yield(segs[:n:n]) {
				return
			}
			segs = segs[n:]
		}
	}
}

// groupWriter writes what is left of a group. As long as nothing of a single segment has changed it writes nothing: most segments of a log that was compacted before stay as they are.
type groupWriter struct {
	r       *compaction
	group   []*segment.Segment
	built   *segment.Segment // nil until something has changed
	same    int64            // of a single segment: the bytes from the beginning that stay as they are
	aborted []segment.AbortedTxn

	unsynced int // bytes written to built since it was synced
}

var errTooLarge = errors.New("log: a compacted segment would be larger than 2 GiB")

// cleanGroup replaces a run of segments by what is to be left of them.
func (r *compaction) cleanGroup(group []*segment.Segment) error {
	w := groupWriter{r: r, group: group}
	r.c.out = r.c.out[:0]
	err := w.clean()
	if err == nil && w.built != nil {
		err = w.flush()
	}
	for _, a := range w.aborted {
		if err == nil && w.built != nil {
			err = w.built.AddAborted(a)
		}
	}
	if err != nil && w.built != nil {
		// What went wrong counts, not whether the unfinished file could be removed: the next one has its name.
		_ = r.l.discardReplacement(w.built)
	}
	if err != nil {
		return err
	}
	before, after := int64(0), int64(0)
	for _, s := range group {
		before += s.SizeBytes()
	}
	after = before
	if w.built != nil {
		after = w.built.SizeBytes()
		if err := r.l.replaceSegments(group, w.built, r.cuts); err != nil {
			return err
		}
		r.result.SegmentsReplaced += len(group)
	}
	r.result.Segments += len(group)
	r.result.BytesBefore += before
	r.result.BytesAfter += after
	return nil
}

func (w *groupWriter) clean() error {
	if len(w.group) > 1 {
		if err := w.start(); err != nil {
			return err
		}
	}
	for i, s := range w.group {
		size := s.SizeBytes()
		err := w.r.eachBatch(s, func(b record.Batch, pos int64) error {
			last := i == len(w.group)-1 && pos+int64(len(b)) == size
			if b.Control() {
				return w.control(s, b, pos, last)
			}
			return w.data(s, b, pos, last)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// start creates the new segment, with what of the old one was left as it is.
func (w *groupWriter) start() (err error) {
	if w.built != nil {
		return nil
	}
	if w.built, err = w.r.l.createReplacement(w.group[0].BaseOffset()); err != nil {
		return err
	}
	c := w.r.c
	chunk := int64(c.ReadBytes)
	for pos := int64(0); pos < w.same; {
		n := int(min(chunk, w.same-pos))
		if err := w.r.pace(n); err != nil {
			return err
		}
		if cap(c.out) < n {
			c.out = make([]byte, n)
		}
		c.out = c.out[:n]
		if err := w.group[0].ReadAt(c.out, pos); err != nil {
			return err
		}
		w.r.result.ReadBytes += int64(n)
		whole := 0
		for {
			b, _, err := record.Split(c.out[whole:])
			if err != nil {
				break // the end, or a part: all of it was looked at before
			}
			whole += len(b)
		}
		if whole == 0 {
			if chunk *= 2; chunk > math.MaxInt32 {
				return &CorruptError{Path: w.group[0].Path(), Position: pos, Offset: w.built.EndOffset(), Err: errTornBatch}
			}
			continue
		}
		c.out = c.out[:whole]
		if err := w.flush(); err != nil {
			return err
		}
		pos += int64(whole)
	}
	return nil
}

// asItIs lets a batch stay.
func (w *groupWriter) asItIs(b record.Batch, records int) error {
	w.r.result.RecordsKept += int64(records)
	if w.built == nil {
		w.same += int64(len(b))
		return nil
	}
	w.r.c.out = append(w.r.c.out, b...)
	return w.flushFull()
}

func (w *groupWriter) flushFull() error {
	if len(w.r.c.out) < w.r.c.ReadBytes {
		return nil
	}
	return w.flush()
}

// replacementSyncBytes is how much of a new segment is written before it is synced so far. In one piece the disk would be taken for as long as a segment takes, and whoever waits for a sync of anything else with it.
const replacementSyncBytes = 4 << 20

// flush writes what has been gathered.
func (w *groupWriter) flush() error {
	c := w.r.c
	if len(c.out) == 0 {
		return nil
	}
	n := len(c.out)
	if w.built.SizeBytes()+int64(n) > math.MaxInt32 {
		return errTooLarge // a segment of 2 GiB, of which timestamps or a codec made more
	}
	err := w.built.AppendRun(c.out, segment.Ahead{})
	c.out = c.out[:0]
	w.r.result.WrittenBytes += int64(n)
	if w.unsynced += n; err == nil && w.unsynced >= replacementSyncBytes {
		w.unsynced = 0
		err = w.built.Sync(false)
	}
	if err == nil {
		err = w.r.pace(n)
	}
	return err
}

// without lets a batch without records stay if it has to.
func (w *groupWriter) without(b record.Batch, last bool) error {
	if needed := last || w.r.needed(b); needed && b.RecordCount() == 0 {
		return w.asItIs(b, 0)
	} else if !needed {
		return w.start()
	}
	if err := w.start(); err != nil {
		return err
	}
	w.r.c.out = record.Shell(w.r.c.out, b)
	return w.flushFull()
}

// needed tells whether the log needs a batch for what it knows of the producer.
func (r *compaction) needed(b record.Batch) bool {
	if b.ProducerID() < 0 {
		return false
	}
	a, ok := r.producers[b.ProducerID()]
	return ok && a.needs(b)
}

// data decides about a batch that is no control batch.
func (w *groupWriter) data(s *segment.Segment, b record.Batch, pos int64, last bool) error {
	r, f := w.r, &w.r.c.filter
	count := int(b.RecordCount())
	r.result.Records += int64(count)
	latest := r.c.keys.latest
	aborted := r.txns.aborts(b)
	switch {
	case aborted || count == 0:
		return w.without(b, last)
	case b.BaseOffset() > latest:
		return w.asItIs(b, count)
	}
	if err := f.Reset(b, 0); err != nil {
		return damaged(s, b, pos, err)
	}
	expired := b.HasDeleteHorizon() && b.BaseTimestamp() <= r.now
	tombstones := false
	for f.Next() {
		rec := f.Record()
		if rec.Offset <= latest {
			if rec.Key == nil || rec.Offset < r.c.keys.get(rec.Key) || rec.Value == nil && expired {
				continue
			}
			tombstones = tombstones || rec.Value == nil
		}
		f.Keep()
	}
	if err := f.Err(); err != nil {
		return damaged(s, b, pos, err)
	}
	stamp := tombstones && !b.HasDeleteHorizon()
	switch {
	case f.Kept() == 0:
		return w.without(b, last)
	case f.Kept() == count && !stamp:
		return w.asItIs(b, count)
	}
	return w.rebuilt(s, b, pos, stamp)
}

// rebuilt writes what the filter has kept of a batch; stamp gives it a delete horizon.
func (w *groupWriter) rebuilt(s *segment.Segment, b record.Batch, pos int64, stamp bool) error {
	r, f := w.r, &w.r.c.filter
	if err := w.start(); err != nil {
		return err
	}
	horizon := int64(-1)
	if stamp {
		horizon = r.now + r.policy.DeleteRetention.Milliseconds()
	}
	out, ok, err := f.Build(r.c.out, horizon)
	if err == nil && !ok {
		// A timestamp too far from now: its tombstones stay for good.
		out, _, err = f.Build(r.c.out, -1)
	}
	if err != nil {
		return damaged(s, b, pos, err)
	}
	r.c.out = out
	if !b.Control() {
		r.result.RecordsKept += int64(f.Kept())
	}
	return w.flushFull()
}

// control decides about a marker. It stays as long as there are batches of its transaction, and for a while after a pass that found none.
func (w *groupWriter) control(s *segment.Segment, b record.Batch, pos int64, last bool) error {
	r := w.r
	kind, ok := b.ControlType()
	if b.RecordCount() == 0 {
		return w.without(b, last)
	}
	if !ok || kind != record.ControlAbort && kind != record.ControlCommit {
		return w.asItIs(b, 0)
	}
	empty, entry, aborted, err := r.txns.end(b, kind)
	if err != nil {
		return damaged(s, b, pos, err)
	}
	switch {
	case !empty:
		if aborted && kind == record.ControlAbort {
			w.aborted = append(w.aborted, entry)
		}
		return w.asItIs(b, 0)
	case b.HasDeleteHorizon() && b.BaseTimestamp() > r.now, r.needed(b):
		return w.asItIs(b, 0)
	case b.HasDeleteHorizon():
		return w.without(b, last)
	}
	f := &r.c.filter
	if err := f.Reset(b, 0); err != nil {
		return damaged(s, b, pos, err)
	}
	for f.Next() {
		f.Keep()
	}
	if err := f.Err(); err != nil {
		return damaged(s, b, pos, err)
	}
	return w.rebuilt(s, b, pos, true)
}
