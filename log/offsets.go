package log

import (
	"math"
	"runtime"
	"sync/atomic"
)

// Offsets is a consistent view of a log's positions. LogStartOffset <= LastStableOffset <= HighWatermark <= LogEndOffset; SyncedEndOffset <= LogEndOffset.
type Offsets struct {
	LogStartOffset   int64
	LastStableOffset int64
	HighWatermark    int64
	SyncedEndOffset  int64 // everything below survives power loss
	LogEndOffset     int64
}

// offsetsCell publishes Offsets without a lock and without allocating: a sequence number is odd while the one writer (who holds Log.mu) stores, and
// a reader that met an odd one, or another one afterwards, reads again.
type offsetsCell struct {
	sequence                         atomic.Uint64
	start, stable, high, synced, end atomic.Int64
}

func (c *offsetsCell) store(o Offsets) {
	c.sequence.Add(1)
	c.start.Store(o.LogStartOffset)
	c.stable.Store(o.LastStableOffset)
	c.high.Store(o.HighWatermark)
	c.synced.Store(o.SyncedEndOffset)
	c.end.Store(o.LogEndOffset)
	c.sequence.Add(1)
}

func (c *offsetsCell) load() Offsets {
	for {
		before := c.sequence.Load()
		o := Offsets{
			LogStartOffset:   c.start.Load(),
			LastStableOffset: c.stable.Load(),
			HighWatermark:    c.high.Load(),
			SyncedEndOffset:  c.synced.Load(),
			LogEndOffset:     c.end.Load(),
		}
		if before&1 == 0 && c.sequence.Load() == before {
			return o
		}
		runtime.Gosched()
	}
}

// Offsets returns the log's positions. Safe for concurrent use, without a lock.
func (l *Log) Offsets() Offsets { return l.offsets.load() }

// SetHighWatermark raises the high watermark to hw, clamped to [HighWatermark, LogEndOffset] (it falls only by truncation), and the last stable
// offset with it. Safe for concurrent use.
func (l *Log) SetHighWatermark(hw int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.offsets.load()
	if hw = min(hw, o.LogEndOffset); hw <= o.HighWatermark {
		return
	}
	o.HighWatermark = hw
	l.mu.producers.raiseHighWatermark(hw)
	l.publishLocked(o)
}

// publishLocked publishes o with the last stable offset that follows from it.
func (l *Log) publishLocked(o Offsets) {
	o.LastStableOffset = o.HighWatermark
	if first, ok := l.mu.producers.firstUnstable(); ok && first < o.LastStableOffset {
		o.LastStableOffset = max(first, o.LogStartOffset)
	}
	l.offsets.store(o)
}

// AdvanceLogStart raises the log start offset (a follower takes its leader's; retention; DeleteRecords); a lower one changes nothing. It is
// written down by SyncLogStart or the next checkpoint. Never above the high watermark on a leader: the caller's rule. Error: *OffsetOutOfRangeError above LogEndOffset.
func (l *Log) AdvanceLogStart(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.offsets.load()
	if offset > o.LogEndOffset {
		return &OffsetOutOfRangeError{Offset: offset, LogStartOffset: o.LogStartOffset, LogEndOffset: o.LogEndOffset}
	}
	if offset <= o.LogStartOffset {
		return l.usable()
	}
	if err := l.usable(); err != nil {
		return err
	}
	o.LogStartOffset = offset
	o.HighWatermark = max(o.HighWatermark, offset)
	l.epochs.truncateStart(offset)
	l.publishLocked(o)
	l.home.noteStart(l.key, offset)
	l.cutDamage(offset, math.MaxInt64)
	return nil
}
