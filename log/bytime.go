package log

import (
	"errors"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// TimestampOffset answers a look-up by time.
type TimestampOffset struct {
	Timestamp   int64 // milliseconds
	Offset      int64
	LeaderEpoch int32 // -1 unknown
}

// OffsetForTime returns the first record at or above LogStartOffset and below end whose timestamp is >= ts milliseconds; ok is false when there is none.
// Safe for concurrent use. Errors: ErrClosed, ErrTruncated, *CorruptError, *StorageError.
func (l *Log) OffsetForTime(ts, end int64) (to TimestampOffset, ok bool, err error) {
	err = l.retry(func() error {
		to, ok, err = l.offsetForTime(ts, end)
		return err
	})
	return to, ok, err
}

func (l *Log) offsetForTime(ts, end int64) (to TimestampOffset, ok bool, err error) {
	o := l.offsets.load()
	end = min(end, o.LogEndOffset)
	segs := *l.segments.Load()
	for from := o.LogStartOffset; from < end; {
		// A batch may have the time in a record below the log start: then the search goes on behind it.
		sl, found, err := firstBatchSince(segs, ts, from, end)
		if err != nil || !found {
			return TimestampOffset{}, false, err
		}
		var next int64
		to, ok, next, err = l.firstRecordSince(sl, ts, from, end)
		sl.Release()
		if err != nil || ok {
			return to, ok, err
		}
		from = next
	}
	return TimestampOffset{}, false, nil
}

func firstBatchSince(segs []*segment.Segment, ts, from, end int64) (segment.Slice, bool, error) {
	for _, s := range segs[floorSegment(segs, from):] {
		if s.BaseOffset() >= end {
			break
		}
		if !s.Acquire() {
			return segment.Slice{}, false, segment.ErrDeleted
		}
		sl, ok, err := s.FirstBatchSince(ts, from, end)
		s.Release()
		if err != nil || ok {
			return sl, ok, err
		}
	}
	return segment.Slice{}, false, nil
}

// firstRecordSince looks through one batch; next is where the one after it begins.
func (l *Log) firstRecordSince(sl segment.Slice, ts, from, end int64) (to TimestampOffset, ok bool, next int64, err error) {
	next, err = l.eachRecord(sl, func(r *record.Record, b record.Batch) bool {
		t := timestampOf(r, b)
		if r.Offset < from || r.Offset >= end || t < ts {
			return true
		}
		to, ok = TimestampOffset{Timestamp: t, Offset: r.Offset, LeaderEpoch: b.LeaderEpoch()}, true
		return false
	})
	return to, ok, next, err
}

// timestampOf is a record's timestamp in milliseconds, -1 without.
func timestampOf(r *record.Record, b record.Batch) int64 {
	if b.LogAppendTime() {
		return b.MaxTimestamp()
	}
	if r.Timestamp.IsZero() {
		return -1
	}
	return r.Timestamp.UnixMilli()
}

// eachRecord decodes the one batch of a slice; the CRC is checked.
func (l *Log) eachRecord(sl segment.Slice, fn func(r *record.Record, b record.Batch) bool) (next int64, err error) {
	data, err := sl.Append(nil)
	if err != nil {
		return 0, err
	}
	path, pos := sl.Location()
	damaged := func(err error) error {
		return &CorruptError{Path: path, Position: pos, Offset: sl.BaseOffset(), Err: err}
	}
	b, _, err := record.Split(data)
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return 0, damaged(err)
	}
	var r record.Reader
	if err := r.Reset(b, 0); err != nil {
		return 0, damaged(err)
	}
	for r.Next() {
		if !fn(r.Record(), b) {
			return b.NextOffset(), nil
		}
	}
	if err := r.Err(); err != nil {
		return 0, damaged(err)
	}
	return b.NextOffset(), nil
}

var errNoTimestamp = errors.New("no record has the batch's max timestamp")

// MaxTimestamp returns the earliest record that holds the log's largest timestamp below end (ListOffsets -3, KIP-734); ok is false for a log
// without timestamps. Safe for concurrent use. Errors: ErrClosed, ErrTruncated, *CorruptError, *StorageError.
func (l *Log) MaxTimestamp(end int64) (to TimestampOffset, ok bool, err error) {
	err = l.retry(func() error {
		to, ok, err = l.maxTimestamp(end)
		return err
	})
	return to, ok, err
}

func (l *Log) maxTimestamp(end int64) (to TimestampOffset, ok bool, err error) {
	best, largest, err := l.largest(end, (*segment.Segment).LargestTimestamp)
	if err != nil || largest < 0 {
		return TimestampOffset{}, false, err
	}
	to, ok, emptied, err := l.recordAt(best, largest)
	if err != nil || ok || !emptied {
		return to, ok, err
	}
	// A batch that compaction has emptied. There may be smaller timestamps in front of it, which the indexes do not tell.
	best, largest, err = l.largest(end, (*segment.Segment).LargestRecordTimestamp)
	if err != nil || largest < 0 {
		return TimestampOffset{}, false, err
	}
	to, ok, _, err = l.recordAt(best, largest)
	return to, ok, err
}

// recordAt finds the record of the one batch of best, which it releases, with its largest timestamp. emptied: it has no records.
func (l *Log) recordAt(best segment.Slice, largest int64) (to TimestampOffset, ok, emptied bool, err error) {
	defer best.Release()
	emptied = true
	_, err = l.eachRecord(best, func(r *record.Record, b record.Batch) bool {
		emptied = false
		if timestampOf(r, b) != largest {
			return true
		}
		to, ok = TimestampOffset{Timestamp: largest, Offset: r.Offset, LeaderEpoch: b.LeaderEpoch()}, true
		return false
	})
	if err == nil && !ok && !emptied {
		path, pos := best.Location()
		err = &CorruptError{Path: path, Position: pos, Offset: best.BaseOffset(), Err: errNoTimestamp}
	}
	return to, ok, emptied, err
}

// largest returns the first batch with the largest timestamp below end, as look tells it for one segment; the caller releases it. -1: there is none.
func (l *Log) largest(end int64, look func(s *segment.Segment, from, end int64) (int64, segment.Slice, bool, error)) (best segment.Slice, largest int64, err error) {
	o := l.offsets.load()
	end = min(end, o.LogEndOffset)
	segs := *l.segments.Load()
	largest = -1
	for _, s := range segs[floorSegment(segs, o.LogStartOffset):] {
		if s.BaseOffset() >= end {
			break
		}
		if !s.Acquire() {
			best.Release()
			return segment.Slice{}, -1, segment.ErrDeleted
		}
		ts, sl, found, err := look(s, o.LogStartOffset, end)
		s.Release()
		if err != nil {
			best.Release()
			return segment.Slice{}, -1, err
		}
		if !found {
			continue
		}
		if ts <= largest {
			sl.Release()
			continue
		}
		best.Release()
		best, largest = sl, ts
	}
	return best, largest, nil
}
