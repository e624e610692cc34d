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
// a reader that met an odd one, or another one afterwards, reads again. SyncedEndOffset has a writer of its own, who has the flush slot and does not wait for Log.mu.
type offsetsCell struct {
	sequence                         atomic.Uint64
	start, stable, high, synced, end atomic.Int64
}

// store stores all but SyncedEndOffset.
func (c *offsetsCell) store(o Offsets) {
	c.sequence.Add(1)
	c.storeRest(o)
	c.sequence.Add(1)
}

// storeAll stores all of it, for who holds Log.mu and has the flush slot, or has a log that nobody else knows yet.
func (c *offsetsCell) storeAll(o Offsets) {
	c.sequence.Add(1)
	c.synced.Store(o.SyncedEndOffset)
	c.storeRest(o)
	c.sequence.Add(1)
}

func (c *offsetsCell) storeRest(o Offsets) {
	c.start.Store(o.LogStartOffset)
	c.stable.Store(o.LastStableOffset)
	c.high.Store(o.HighWatermark)
	c.end.Store(o.LogEndOffset)
}

// raiseSynced is for who has the flush slot. end is at most what LogEndOffset has been since then: whoever reads both, in the order of load, finds SyncedEndOffset <= LogEndOffset.
func (c *offsetsCell) raiseSynced(end int64) {
	if end > c.synced.Load() {
		c.synced.Store(end)
	}
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

// publishLocked publishes o, all but SyncedEndOffset, with the last stable offset that follows from it.
func (l *Log) publishLocked(o Offsets) { l.offsets.store(l.stableLocked(o)) }

// publishAllLocked is publishLocked with SyncedEndOffset. The rules of offsetsCell.storeAll hold.
func (l *Log) publishAllLocked(o Offsets) { l.offsets.storeAll(l.stableLocked(o)) }

func (l *Log) stableLocked(o Offsets) Offsets {
	o.LastStableOffset = o.HighWatermark
	if first, ok := l.mu.producers.firstUnstable(); ok && first < o.LastStableOffset {
		o.LastStableOffset = max(first, o.LogStartOffset)
	}
	return o
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
