package log

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// Compactor has the memory of compactions. It may serve many logs, one at a time. The zero value is ready.
type Compactor struct {
	// BufferBytes bounds the table of keys (Kafka: log.cleaner.dedupe.buffer.size); 0 = 128 MiB. It takes what a pass can need, and keeps that. A pass that meets more keys ends early.
	BufferBytes int64
	// LoadFactor is how full the table may become (Kafka: log.cleaner.io.buffer.load.factor); 0 = 0.9.
	LoadFactor float64
	// ReadBytes is how much is read at a time, and written (Kafka: log.cleaner.io.buffer.size); 0 = 512 KiB. A larger batch is read as a whole.
	ReadBytes int

	// Pace is told how many bytes are about to be read or have been written, and tells how long to wait before going on. During the wait it is asked again, with 0 bytes, so that its error ends the pass soon. Nil: as fast as
	// the disk goes.
	Pace func(bytes int) (wait time.Duration, err error)

	keys   offsetMap
	buf    []byte
	out    []byte // batches to write
	filter record.Filter
	reader record.Reader
}

// Compaction is what a pass did.
type Compaction struct {
	FirstDirty, EndOffset      int64 // the offsets whose keys were looked at: [FirstDirty, EndOffset)
	ReadBytes, WrittenBytes    int64 // of batches, all rounds counted
	BytesBefore, BytesAfter    int64 // of the segments gone through
	Records, RecordsKept       int64
	Segments, SegmentsReplaced int  // gone through; replaced by fewer or smaller ones
	Interrupted                bool // a truncation or a deletion came in between: what was done holds, the rest is for the next pass
}

// errInterrupted ends a walk.
var errInterrupted = errors.New("log: walk ended")

const (
	defaultCompactorBytes = 128 << 20
	defaultCompactorLoad  = 0.9
	defaultCompactorRead  = 512 << 10
)

// Compact makes one pass over a log: of every key only the last record stays, of the records below FirstUncleanable, where they are older than the pass. Offsets never change, and readers go on. What is left is the same view: the last value of every key.
// In detail, as in Kafka:
//
//   - Records of aborted transactions go, and so do records without a key. A tombstone, a record with a key and without a value, stays for p.DeleteRetention from the pass on that first meets it, so that readers can see it.
//   - A transaction's marker stays as long as there are batches of the transaction, and then as long as a tombstone.
//   - A batch without records stays, empty, if the log still needs it to recognize what its producer repeats, or if it ends a segment, for segments must not have gaps between them.
//   - Small segments become one.
//
// Safe for concurrent use beside everything; a second one waits for the first. After a crash the log is as before or after each of its steps; the next pass begins where the last whole one ended.
//
// Errors: ErrClosed; what Pace returned; *CorruptError: stored bytes are damaged, and stay as they are; *FullError; *StorageError: of reading, or of writing the new segment; when the old ones were already
// on their way out the log is read-only then.
func (l *Log) Compact(c *Compactor, p CompactionPolicy, now time.Time) (Compaction, error) {
	if err := l.usable(); err != nil {
		return Compaction{}, err
	}
	l.compacting.acquire()
	defer l.compacting.release()
	if l.ending.Load() {
		return Compaction{}, ErrClosed
	}
	cuts := l.cuts.Load()
	segs, release, err := l.acquireAll()
	if err != nil {
		return Compaction{}, err
	}
	defer release()
	bounds, n, err := l.cleanable(segs, p, now)
	if err != nil || bounds.DirtyBytes == 0 {
		return Compaction{FirstDirty: bounds.FirstDirty, EndOffset: bounds.FirstDirty}, err
	}
	run := compaction{l: l, c: c, policy: p, now: l.wall(now).UnixMilli(), cuts: cuts, segs: segs[:n], dirty: bounds.FirstDirty, end: bounds.FirstUncleanable}
	run.result.FirstDirty, run.result.EndOffset = bounds.FirstDirty, bounds.FirstDirty
	err = run.do()
	if l.cuts.Load() != cuts || errors.Is(err, errSegmentsChanged) {
		// What was read may have been cut meanwhile: what it looked like means nothing.
		run.result.Interrupted = true
		return run.result, l.usable()
	}
	if l.Err() == nil {
		err = full(err) // the old segments are as they were
	}
	return run.result, err
}

// compaction is one pass.
type compaction struct {
	l      *Log
	c      *Compactor
	policy CompactionPolicy
	now    int64 // milliseconds
	cuts   int64
	segs   []*segment.Segment // those that may be compacted
	dirty  int64
	end    int64

	txns      cleanedTxns
	producers map[int64]activeProducer
	result    Compaction
}

func (r *compaction) do() error {
	c := r.c
	if c.LoadFactor <= 0 {
		c.LoadFactor = defaultCompactorLoad
	}
	if c.ReadBytes <= 0 {
		c.ReadBytes = defaultCompactorRead
	}
	if err := r.buildMap(); err != nil {
		return err
	}
	mapped := c.keys.latest + 1
	if mapped <= r.dirty {
		return fmt.Errorf("log: %s: the table of keys has no room for one batch", r.l.dir) // not with two slots or more
	}
	r.producers = r.l.activeProducers()
	first := floorSegment(r.segs, r.l.offsets.start.Load())
	last := floorSegment(r.segs, mapped-1)
	if err := r.txns.load(r.segs, r.l); err != nil {
		return err
	}
	for group := range r.groups(r.segs[first : last+1]) {
		if err := r.cleanGroup(group); err != nil {
			return err
		}
	}
	if r.l.cuts.Load() != r.cuts {
		return errSegmentsChanged
	}
	r.result.EndOffset = mapped
	return r.l.noteCleaned(mapped, r.cuts)
}

// noteCleaned writes down, durably, up to where the log has been compacted, unless it was truncated since.
func (l *Log) noteCleaned(offset, cuts int64) error {
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return err
	}
	if l.cuts.Load() != cuts {
		return errSegmentsChanged
	}
	l.home.noteCleaned(l.key, offset)
	return l.refuseSync(l.home.store())
}

// activeProducer is what a pass has to leave of a producer.
type activeProducer struct {
	epoch   int16
	n       int
	offsets [cachedBatches]int64 // last offsets of the batches by which its duplicates are told
}

// needs tells whether the log still needs a batch to know its producer. Differs from Kafka, which keeps the last one only.
func (a activeProducer) needs(b record.Batch) bool {
	if b.Control() {
		return a.n == 0 && a.epoch == b.ProducerEpoch()
	}
	for _, o := range a.offsets[:a.n] {
		if o == b.LastOffset() {
			return true
		}
	}
	return false
}

func (l *Log) activeProducers() map[int64]activeProducer {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := make(map[int64]activeProducer, len(l.mu.producers.entries))
	for id, e := range l.mu.producers.entries {
		a := activeProducer{epoch: e.epoch, n: e.n}
		for i, b := range e.batches[:e.n] {
			a.offsets[i] = b.lastOffset
		}
		m[id] = a
	}
	return m
}

// buildMap takes the dirty records' keys into the map, as many as it has room for.
func (r *compaction) buildMap() error {
	c := r.c
	bytes := c.BufferBytes
	if bytes <= 0 {
		bytes = defaultCompactorBytes
	}
	c.keys.reset(min(r.end-r.dirty, math.MaxInt64/offsetSlotBytes/2), bytes, c.LoadFactor)
	if err := r.txns.load(r.segs, r.l); err != nil {
		return err
	}
	for _, s := range r.segs[floorSegment(r.segs, r.dirty):] {
		full := false
		err := r.eachBatch(s, func(b record.Batch, pos int64) error {
			if b.NextOffset() <= r.dirty {
				return nil
			}
			if !b.Control() && !r.txns.aborts(b) {
				if full = !r.mapBatch(b); full {
					return errInterrupted
				}
				if err := c.reader.Err(); err != nil {
					return damaged(s, b, pos, err)
				}
			}
			if kind, ok := b.ControlType(); ok {
				if _, _, _, err := r.txns.end(b, kind); err != nil {
					return damaged(s, b, pos, err)
				}
			}
			c.keys.latest = b.LastOffset()
			return nil
		})
		if full {
			return nil
		}
		if err != nil {
			return err
		}
		c.keys.latest = max(c.keys.latest, s.EndOffset()-1)
	}
	return nil
}

// mapBatch is false when the map is full.
func (r *compaction) mapBatch(b record.Batch) bool {
	rd := &r.c.reader
	if rd.Reset(b, 0) != nil {
		return true
	}
	for rd.Next() {
		rec := rd.Record()
		if rec.Key == nil || rec.Offset < r.dirty {
			continue
		}
		if !r.c.keys.put(rec.Key, rec.Offset) {
			return false
		}
		if rec.Offset > r.c.keys.latest {
			r.c.keys.latest = rec.Offset
		}
	}
	return true
}

// eachBatch reads a segment from its first batch on, whose CRCs it checks.
func (r *compaction) eachBatch(s *segment.Segment, fn func(b record.Batch, pos int64) error) error {
	c := r.c
	expect, chunk := s.BaseOffset(), c.ReadBytes
	for pos, size := int64(0), s.SizeBytes(); pos < size; {
		want := int(min(int64(chunk), size-pos))
		if err := r.read(s, pos, want); err != nil {
			return err
		}
		data, at := c.buf, pos
		for len(data) > 0 {
			b, rest, err := record.Split(data)
			if errors.Is(err, record.ErrPartial) {
				break
			}
			if err == nil {
				err = b.CheckCRC()
			}
			if err == nil && (b.BaseOffset() < expect || b.LastOffsetDelta() < 0 || b.NextOffset() > s.EndOffset()) {
				err = &record.CorruptError{BaseOffset: b.BaseOffset(), Reason: fmt.Sprintf("offsets [%d, %d] behind %d in a segment that ends at %d", b.BaseOffset(), b.LastOffset(), expect, s.EndOffset())}
			}
			if err != nil {
				return &CorruptError{Path: s.Path(), Position: at, Offset: expect, Err: err}
			}
			if err := fn(b, at); err != nil {
				return err
			}
			expect = b.NextOffset()
			at += int64(len(b))
			data = rest
		}
		if at == pos {
			// One batch is larger than what is read at a time.
			n, err := record.PeekSize(c.buf)
			if err != nil || int64(n) > size-pos {
				return &CorruptError{Path: s.Path(), Position: pos, Offset: expect, Err: errTornBatch}
			}
			chunk = n
			continue
		}
		pos, chunk = at, c.ReadBytes
	}
	return nil
}

// damaged says that a batch whose CRC is right cannot be decoded.
func damaged(s *segment.Segment, b record.Batch, pos int64, err error) error {
	return &CorruptError{Path: s.Path(), Position: pos, Offset: b.BaseOffset(), Err: err}
}

var errTornBatch = errors.New("batch is longer than its segment")

// read fills the buffer.
func (r *compaction) read(s *segment.Segment, pos int64, n int) error {
	if err := r.pace(n); err != nil {
		return err
	}
	c := r.c
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	c.buf = c.buf[:n]
	r.result.ReadBytes += int64(n)
	return s.ReadAt(c.buf, pos)
}

// paceStep is how long a pass waits at most before it looks whether it is to end.
const paceStep = 100 * time.Millisecond

func (r *compaction) pace(n int) error {
	for {
		if err := r.l.usable(); err != nil {
			return err
		}
		if r.l.ending.Load() {
			return ErrClosed
		}
		if r.l.cuts.Load() != r.cuts {
			return errSegmentsChanged
		}
		if r.c.Pace == nil {
			return nil
		}
		wait, err := r.c.Pace(n)
		if err != nil || wait <= 0 {
			return err
		}
		time.Sleep(min(wait, paceStep))
		n = 0
	}
}
