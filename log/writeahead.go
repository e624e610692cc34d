package log

import (
	"sync/atomic"

	"github.com/insynclog/insync/segment"
)

// Blocks are written with zeros ahead of the end of the active segment of a log that is synced often: a sync that finds its blocks written, and the file's
// size unchanged, has no metadata to write. Measured on ext4, mean of a write and fdatasync: 512 B into a growing file 0.90 ms, into
// blocks reserved by fallocate 0.75 ms, into zeros written 1 MiB at a time 0.42 ms, the zeros' own cost included; 64 KiB: 0.46, 0.50, 0.38 ms. The zeros cost a write of their own, and
// from 128 KiB on that is more than they save (0.44 into a growing file, 0.52 into zeros; 256 KiB: 0.88, 1.11), so a log that writes much between syncs does without.
const (
	minWriteAhead = 64 << 10 // a small log does not occupy much more than it holds
	maxWriteAhead = 1 << 20

	calmSyncBytes = 96 << 10 // a sync of no more than this gains from blocks written ahead
	calmSyncs     = 3        // as many in a row turn writing ahead on
	unsyncedBytes = 4 << 20  // so much without a sync turns it off

	// So far the file is then made ready for writes to the page cache, whose time counts instead of the sync's. See segment.Ahead.
	unsyncedAhead = 4 << 20
)

// writeAhead is how far the active segment is made ready behind an append.
type writeAhead struct {
	fixed     atomic.Int64 // Config.WriteAhead
	sinceSync atomic.Int64 // bytes appended since the last sync began
	synced    atomic.Int64 // zeros to write while the log is synced often, in bytes; tuned by who syncs
	calm      int          // small syncs in a row; theirs
}

// tune adapts it to the sync of the active segment that begins. For who has the flush slot.
func (w *writeAhead) tune(active *segment.Segment) {
	bytes, ahead := w.sinceSync.Swap(0), w.fixed.Load()
	switch {
	case ahead != 0:
	case bytes > calmSyncBytes:
		w.calm = 0
	case w.calm < calmSyncs:
		w.calm++
		return
	default:
		ahead = minWriteAhead
		for size := active.SizeBytes(); ahead < maxWriteAhead && ahead < size; {
			ahead *= 2
		}
	}
	w.synced.Store(max(ahead, 0))
}

// aheadLocked is what to prepare behind the next append.
func (l *Log) aheadLocked(size int64) segment.Ahead {
	since := l.ahead.sinceSync.Add(size)
	if l.home.tight.Load() {
		return segment.Ahead{}
	}
	if since > unsyncedBytes && l.ahead.fixed.Load() == 0 {
		room := int64(l.mu.config.SegmentBytes) - l.active().SizeBytes() - size
		return segment.Ahead{Unsynced: min(unsyncedAhead, room)}
	}
	return segment.Ahead{Synced: l.ahead.synced.Load()}
}
