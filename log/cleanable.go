package log

import (
	"slices"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// cleanerFile is the checkpoint of a data directory that says where the compaction of each log goes on.
const cleanerFile = "cleaner-offset-checkpoint"

// CompactionPolicy says when a compacted log is due and what a compaction may take. The zero value: always, everything, tombstones at once.
type CompactionPolicy struct {
	MinDirtyRatio   float64       // min.cleanable.dirty.ratio
	MinLag          time.Duration // min.compaction.lag.ms: segments with a younger record are left alone
	MaxLag          time.Duration // max.compaction.lag.ms: older records that were never compacted make the log due; 0 = no limit
	DeleteRetention time.Duration // delete.retention.ms: how long a tombstone or a marker stays from the compaction on that meets it first
}

// Cleanable tells how much of a log a compaction would go through.
type Cleanable struct {
	FirstDirty       int64 // below it no key has two records
	FirstUncleanable int64 // what is at or above it is left alone: open transactions, what is not committed, not synced, too young, or in the active segment
	CleanBytes       int64
	DirtyBytes       int64 // of the segments in [FirstDirty, FirstUncleanable)
	Overdue          bool  // MaxLag has passed
}

// Ratio is the share of what could be compacted that has not been.
func (c Cleanable) Ratio() float64 {
	if c.DirtyBytes == 0 {
		return 0
	}
	return float64(c.DirtyBytes) / float64(c.CleanBytes+c.DirtyBytes)
}

// Due tells whether a compaction is worth its while by the policy.
func (c Cleanable) Due(p CompactionPolicy) bool {
	return c.DirtyBytes > 0 && (c.Overdue || c.Ratio() > p.MinDirtyRatio)
}

// Cleanable tells what Compact would find. It reads a few headers. Safe for concurrent use. Errors: ErrClosed, *CorruptError, *StorageError.
func (l *Log) Cleanable(p CompactionPolicy, now time.Time) (Cleanable, error) {
	if err := l.usable(); err != nil {
		return Cleanable{}, err
	}
	segs, release, err := l.acquireAll()
	if err != nil {
		return Cleanable{}, err
	}
	defer release()
	c, _, err := l.cleanable(segs, p, now)
	return c, err
}

// cleanable also returns how many of the segments end at or below FirstUncleanable.
//
// Differs from Kafka, which looks through the segment that holds the last stable offset, too: here a segment is compacted as a whole or not at all.
func (l *Log) cleanable(segs []*segment.Segment, p CompactionPolicy, now time.Time) (c Cleanable, n int, err error) {
	o := l.offsets.load()
	now = l.wall(now)
	c.FirstDirty = l.home.cleaned(l.key)
	if c.FirstDirty < o.LogStartOffset || c.FirstDirty > o.LogEndOffset {
		c.FirstDirty = o.LogStartOffset
	}
	bound := min(o.LastStableOffset, o.SyncedEndOffset, l.snapshotBelow(o.HighWatermark))
	for n+1 < len(segs) && segs[n+1].BaseOffset() <= bound {
		s, end := segs[n], segs[n+1].BaseOffset()
		if dirty := end > c.FirstDirty; dirty {
			young, err := youngerThan(s, end, p.MinLag, now)
			if err != nil {
				return c, n, err
			}
			if young {
				break
			}
			if !c.Overdue && p.MaxLag > 0 {
				if c.Overdue, err = beganBefore(s, now.Add(-p.MaxLag)); err != nil {
					return c, n, err
				}
			}
			c.DirtyBytes += s.SizeBytes()
		} else {
			c.CleanBytes += s.SizeBytes()
		}
		n++
	}
	c.FirstUncleanable = segs[n].BaseOffset()
	return c, n, nil
}

// snapshotBelow is the offset of the newest producer snapshot at or below hw. A truncation to there or above takes the producers from it: what lies below tells no more of them, once it is compacted, than the last batches
// of now. Without any producer no snapshot is needed. There is one in front of each segment, unless files were lost.
func (l *Log) snapshotBelow(hw int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.mu.producers; len(p.entries)+len(p.unreplicated) == 0 {
		return hw
	}
	i, found := slices.BinarySearch(l.mu.snapshots, hw)
	if found {
		return hw
	}
	if i == 0 {
		return -1
	}
	return l.mu.snapshots[i-1]
}

// youngerThan tells whether a segment has a record that is not older than lag.
func youngerThan(s *segment.Segment, end int64, lag time.Duration, now time.Time) (bool, error) {
	if lag <= 0 {
		return false, nil
	}
	ts, at, ok, err := s.LargestTimestamp(s.BaseOffset(), end)
	if err != nil || !ok {
		return false, err
	}
	at.Release()
	return time.UnixMilli(ts).After(now.Add(-lag)), nil
}

// beganBefore tells whether the first batch of a segment is older than that.
func beganBefore(s *segment.Segment, t time.Time) (old bool, err error) {
	err = s.Headers(s.BaseOffset(), s.EndOffset(), func(h record.Batch, _, _ int64) bool {
		old = h.MaxTimestamp() >= 0 && time.UnixMilli(h.MaxTimestamp()).Before(t)
		return false
	})
	return old, err
}
