package log

import (
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/log/record"
)

// Range is a range of offsets, [From, To).
type Range struct{ From, To int64 }

// SealedRanges lists the offsets of the rolled and synced segments that no log start has cut into, where replicas are equal byte for byte: none of a log that is or was compacted.
func (l *Log) SealedRanges() (list []Range) {
	if !l.gapless() {
		return nil
	}
	o := l.offsets.load()
	for _, s := range *l.segments.Load() {
		if s.Sealed() && s.BaseOffset() >= o.LogStartOffset && s.EndOffset() <= min(o.HighWatermark, o.SyncedEndOffset) {
			list = append(list, Range{s.BaseOffset(), s.EndOffset()})
		}
	}
	return list
}

// HashRange is the xxhash64 of the batches of a range; ok is false if no batch begins or ends at its borders. Every batch is checked. Errors: as Read, *DamagedError, what Pace returned.
func (l *Log) HashRange(r Range, c Scrubber) (hash uint64, ok bool, err error) {
	_, hash, ok, err = l.HashPart(r, math.MaxInt64, c)
	return hash, ok, err
}

// HashPart is HashRange for the beginning of a range, of so many bytes at most, or one batch. It tells where it ends.
func (l *Log) HashPart(r Range, bytes int64, c Scrubber) (part Range, hash uint64, ok bool, err error) {
	h := xxhash.New()
	var buf []byte
	offset := r.From
	for offset < r.To && (offset == r.From || bytes > 0) {
		sl, err := l.Read(offset, r.To, int(min(mendBytes, bytes)), true)
		if err != nil {
			return Range{}, 0, false, err
		}
		if sl.Len() == 0 || sl.Offset != offset {
			sl.Release()
			return Range{}, 0, false, nil
		}
		bytes -= int64(sl.Len())
		if c.Pace != nil {
			err = c.Pace(int(sl.Len()))
		}
		if err == nil {
			buf, err = sl.Append(buf[:0])
		}
		if err == nil {
			err = sl.Check(buf)
		}
		sl.Release()
		if err != nil {
			return Range{}, 0, false, err
		}
		h.Write(buf)
		offset = endOf(buf)
	}
	return Range{r.From, offset}, h.Sum64(), true, nil
}

// Reject marks a whole rolled segment as damaged that others say is not what was written, though nothing in it shows that, and takes its seal away. Errors: ErrClosed, *StorageError.
func (l *Log) Reject(r Range, why error) error {
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return err
	}
	segs := *l.segments.Load()
	s := segs[floorSegment(segs, r.From)]
	if s.BaseOffset() != r.From || s.EndOffset() != r.To || !s.Sealed() {
		return nil // it is not there any more
	}
	if err := l.unseal(s); err != nil {
		return l.failSync(err)
	}
	l.setDamage(r.From, r.To, []Damage{{From: r.From, To: r.To, Path: s.Path(), Bytes: s.SizeBytes(), Reason: why}})
	return nil
}

// endOf is where the last of some whole batches ends.
func endOf(data []byte) (next int64) {
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			break
		}
		next, data = b.NextOffset(), rest
	}
	return next
}
