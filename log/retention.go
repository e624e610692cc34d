package log

import (
	"time"

	"github.com/insynclog/insync/segment"
)

// Retention says which records a log may give up, the oldest first.
type Retention struct {
	Age   time.Duration // retention.ms: segments whose largest timestamp is older; negative = however old
	Bytes int64         // retention.bytes: the log stays at least that large; negative = however large
}

// Retain tells where the log may begin by a retention, by the rules of Kafka: only whole segments go, from the front, up to the first that has to stay, and only what lies below the high watermark; a segment with
// a record from the future keeps itself and all behind it. The active segment may go, too: whoever raises the log start to the end of it calls Roll first. It changes nothing, and reads a header or
// two. Segments without timestamps are not given up for their age (Kafka takes the time of the file). Safe for concurrent use. Errors: ErrClosed, *StorageError, *CorruptError.
func (l *Log) Retain(r Retention, now time.Time) (offset int64, err error) {
	if err := l.usable(); err != nil {
		return 0, err
	}
	now = l.wall(now)
	err = l.retry(func() error {
		offset, err = l.retain(r, now)
		return err
	})
	return offset, err
}

func (l *Log) retain(r Retention, now time.Time) (offset int64, err error) {
	segs, o := *l.segments.Load(), l.offsets.load()
	total := int64(0)
	for _, s := range segs {
		total += s.SizeBytes()
	}
	offset = o.LogStartOffset
	for i, s := range segs {
		end, size := o.LogEndOffset, s.SizeBytes()
		if i+1 < len(segs) {
			end = segs[i+1].BaseOffset()
		}
		if size == 0 || end > o.HighWatermark {
			break
		}
		if end > o.LogStartOffset && (r.Bytes < 0 || total-r.Bytes < size) {
			old, err := l.older(s, end, r.Age, now)
			if err != nil || !old {
				return offset, err
			}
		}
		total -= size
		offset = max(offset, end)
	}
	return offset, nil
}

// acquireAll returns the segments, held so that their files stay until release. Error: ErrClosed.
func (l *Log) acquireAll() (segs []*segment.Segment, release func(), err error) {
	err = l.retry(func() error {
		segs = *l.segments.Load()
		n := 0
		for n < len(segs) && segs[n].Acquire() {
			n++
		}
		held := segs[:n]
		release = func() {
			for _, s := range held {
				_ = s.Release() // what it was read for has been read
			}
		}
		if n < len(segs) {
			release()
			return segment.ErrDeleted
		}
		return nil
	})
	return segs, release, err
}

// age is the largest timestamp of a segment, -1 without any, up to an end. A retention stops at a segment that it comes upon again and again until that is old enough: it is read once.
type age struct {
	segment   *segment.Segment
	end, cuts int64
	largest   int64
}

// older tells whether all records of a segment are older than limit. Error: segment.ErrDeleted if the log has just let it go.
func (l *Log) older(s *segment.Segment, end int64, limit time.Duration, now time.Time) (bool, error) {
	if limit < 0 {
		return false, nil
	}
	a := l.stopper.Load()
	if cuts := l.cuts.Load(); a == nil || a.segment != s || a.end != end || a.cuts != cuts {
		if !s.Acquire() {
			return false, segment.ErrDeleted
		}
		defer s.Release() // what it says was read for nothing but this
		ts, at, ok, err := s.LargestTimestamp(s.BaseOffset(), end)
		if err != nil {
			return false, err
		}
		a = &age{s, end, cuts, -1}
		if ok {
			a.largest = ts
			at.Release()
		}
		l.stopper.Store(a)
	}
	return a.largest >= 0 && now.Sub(time.UnixMilli(a.largest)) > limit, nil
}

// Roll begins a new segment, so that all there is can be given up. An empty one stays. A call of the owner, as Append is. Errors: ErrClosed, *StorageError.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.active().SizeBytes() == 0 {
		return nil
	}
	return l.refuse(l.rollLocked(l.offsets.end.Load()))
}
