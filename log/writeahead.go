package log

import "github.com/insynclog/insync/segment"

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

// tuneAheadLocked adapts the active segment's write-ahead to a sync of so many bytes.
func (l *Log) tuneAheadLocked(bytes int64) {
	switch fixed := l.mu.config.WriteAhead; {
	case fixed < 0:
		l.mu.ahead = 0
	case fixed > 0:
		l.mu.ahead = int64(fixed)
	case bytes > calmSyncBytes:
		l.mu.calm, l.mu.ahead = 0, 0
	default:
		if l.mu.calm < calmSyncs {
			l.mu.calm++
			return
		}
		l.mu.ahead = minWriteAhead
		for size := l.active().SizeBytes(); l.mu.ahead < maxWriteAhead && l.mu.ahead < size; {
			l.mu.ahead *= 2
		}
	}
}

// aheadLocked is what to prepare behind the next append.
func (l *Log) aheadLocked(size int64) segment.Ahead {
	l.mu.sinceSync += size
	if l.mu.config.WriteAhead == 0 && l.mu.sinceSync > unsyncedBytes {
		l.mu.calm, l.mu.ahead = 0, 0
	}
	if l.home.tight.Load() {
		return segment.Ahead{}
	}
	if l.mu.config.WriteAhead == 0 && l.mu.sinceSync > unsyncedBytes {
		room := int64(l.mu.config.SegmentBytes) - l.active().SizeBytes() - size
		return segment.Ahead{Unsynced: min(unsyncedAhead, room)}
	}
	return segment.Ahead{Synced: l.mu.ahead}
}
