package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// Damage is a range of offsets, [From, To), for which this log has no good bytes: in Path, at Position, are Bytes that are not what was written. From equal to To: bytes that belong to no offset.
//
// A damaged range is kept as it is until Mend has other bytes for it. Reads of it fail, reads that would run into it end in front of it, and what lies behind it can be read.
type Damage struct {
	From, To        int64
	Path            string
	Position, Bytes int64
	Reason          error

	suspect bool // met by a reader: a scrub has to tell how far it goes
}

// String is one line for people.
func (d Damage) String() string {
	return fmt.Sprintf("offsets [%d, %d), %d bytes at %d of %s: %v", d.From, d.To, d.Bytes, d.Position, d.Path, d.Reason)
}

// DamagedError says that a read is of a damaged range. It passes when the range is mended. Kafka: KAFKA_STORAGE_ERROR, upon which clients try again.
type DamagedError struct{ Damage Damage }

func (e *DamagedError) Error() string { return "log: damaged " + e.Damage.String() }

// Unwrap returns what is wrong with the bytes.
func (e *DamagedError) Unwrap() error { return e.Damage.Reason }

// repairs is what a log knows of its damage.
type repairs struct {
	id      TopicID // for the seals
	mu      sync.Mutex
	damage  atomic.Pointer[[]Damage] // by From, without overlaps; nil: none. Replaced under mu
	gaps    atomic.Bool              // there may be offsets without batches: it is or was compacted, or is a copy of a log that was
	derived atomic.Bool              // producers could not be made, for lack of good bytes
}

// Damage lists what is known to be damaged, by offset.
func (l *Log) Damage() []Damage {
	if d := l.repairs.damage.Load(); d != nil {
		return slices.Clone(*d)
	}
	return nil
}

// setDamage makes list all that is damaged in the offsets [from, to).
func (l *Log) setDamage(from, to int64, list []Damage) {
	r := &l.repairs
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Damage
	if old := r.damage.Load(); old != nil {
		all = slices.DeleteFunc(slices.Clone(*old), func(d Damage) bool { return d.From >= from && d.To <= to })
	}
	all = append(all, list...)
	slices.SortFunc(all, func(a, b Damage) int { return int(max(-1, min(1, a.From-b.From))) })
	if len(all) == 0 {
		r.damage.Store(nil)
		return
	}
	r.damage.Store(&all)
}

// cutDamage forgets the damage in what has been cut off, at or above end, or given up, below start.
func (l *Log) cutDamage(start, end int64) {
	r := &l.repairs
	if r.damage.Load() == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []Damage
	for _, d := range *r.damage.Load() {
		d.To = min(d.To, end)
		if d.From < end && d.To > start {
			left = append(left, d)
		}
	}
	if len(left) == 0 {
		r.damage.Store(nil)
		return
	}
	r.damage.Store(&left)
}

// soundUpTo returns how far a read from offset up to end may go, or *DamagedError when it may not begin.
func (l *Log) soundUpTo(offset, end int64) (int64, error) {
	list := l.repairs.damage.Load()
	if list == nil {
		return end, nil
	}
	for _, d := range *list {
		if d.From > offset {
			return min(end, d.From), nil
		}
		if offset < d.To {
			return offset, &DamagedError{d}
		}
	}
	return end, nil
}

// segmentDamage gives what a walk through a segment found the segment's name.
func segmentDamage(s *segment.Segment, list []segment.Damage) []Damage {
	var all []Damage
	for _, d := range list {
		all = append(all, Damage{From: d.From, To: d.To, Path: s.Path(), Position: d.Position, Bytes: d.Bytes, Reason: d.Reason})
	}
	return all
}

// gapless tells whether every offset of the log belongs to a batch.
func (l *Log) gapless() bool { return !l.repairs.gaps.Load() }

// Suspect marks an offset as damaged that could not be read, until a scrub tells how far the damage goes.
func (l *Log) Suspect(offset int64, why error) error {
	return l.suspect(Damage{From: offset, To: offset + 1, Path: l.dir, Reason: why}, l.cuts.Load())
}

// Check checks the bytes of the slice, that have been read: every batch's CRC, its leader epoch, and that offsets go on. Where it is wrong one offset is marked as damaged: how far it goes a scrub tells, for the batch cannot be believed.
// Error: *DamagedError. Safe for concurrent use.
func (s Slice) Check(data []byte) error {
	l := s.l
	if l == nil {
		return nil
	}
	gapless := l.gapless()
	expect := s.Offset
	if h := record.Batch(data); gapless && len(data) >= record.HeaderSize && (h.BaseOffset() != s.Offset || h.BaseOffset() > s.want || h.NextOffset() <= s.want) {
		path, at := s.s.Location()
		why := &record.CorruptError{BaseOffset: h.BaseOffset(), Reason: fmt.Sprintf("batch of [%d, %d) where offset %d should be", h.BaseOffset(), h.NextOffset(), s.want)}
		return l.suspect(Damage{From: s.want, To: s.want + 1, Path: path, Position: at, Bytes: record.HeaderSize, Reason: why}, s.cuts)
	}
	for pos := 0; pos < len(data); {
		b, _, err := record.Split(data[pos:])
		if err == nil {
			err = b.CheckCRC()
		}
		if err == nil {
			err = l.judge(b, expect, gapless && pos > 0)
		}
		if err != nil {
			path, at := s.s.Location()
			return l.suspect(Damage{From: expect, To: expect + 1, Path: path, Position: at + int64(pos), Bytes: int64(len(b)), Reason: err}, s.cuts)
		}
		expect = b.NextOffset()
		pos += len(b)
	}
	return nil
}

// suspect marks what a reader has come upon, unless the log was cut since the reader looked.
func (l *Log) suspect(d Damage, cuts int64) error {
	d.suspect = true
	if l.cuts.Load() == cuts && d.From < l.offsets.end.Load() {
		l.setDamage(d.From, d.To, []Damage{d})
	}
	return &DamagedError{d}
}

// judge looks at what is not under a batch's CRC.
func (l *Log) judge(b record.Batch, expect int64, gapless bool) error {
	switch {
	case b.LastOffsetDelta() < 0 || b.BaseOffset() < expect:
		return &record.CorruptError{BaseOffset: b.BaseOffset(), Reason: fmt.Sprintf("offsets do not rise from %d", expect)}
	case gapless && b.BaseOffset() != expect:
		return &record.CorruptError{BaseOffset: b.BaseOffset(), Reason: fmt.Sprintf("expected at offset %d", expect)}
	}
	if epoch, ok := l.EpochAt(b.BaseOffset()); ok && epoch != b.LeaderEpoch() && b.LeaderEpoch() != -1 {
		return &record.CorruptError{BaseOffset: b.BaseOffset(), Reason: fmt.Sprintf("leader epoch %d where it is %d", b.LeaderEpoch(), epoch)}
	}
	return nil
}

// unseal removes the seal of a segment that is about to change, durably: it would be taken for damage.
func (l *Log) unseal(s *segment.Segment) error {
	name := l.dir + "/" + segment.FileName(s.BaseOffset(), segment.SealSuffix)
	err := l.fs.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return storage("remove", name, err)
	}
	return syncDir(l.fs, l.dir)
}
