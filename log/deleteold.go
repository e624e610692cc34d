package log

import (
	"slices"

	"github.com/insynclog/insync/segment"
)

// DeleteOldSegments removes the segments that lie wholly below the log start offset, the active one never, and tells how many. Durable on return. Readers keep what they have open. Safe for
// concurrent use: appends and reads go on beside it. Errors: ErrClosed, *FullError (there was no space to note it: nothing was removed), *StorageError.
//
// Differs from Kafka, which renames the files and removes them after file.delete.delay.ms: here a file is read through a handle that its readers hold.
func (l *Log) DeleteOldSegments() (deleted int, err error) {
	if start := l.offsets.start.Load(); below(*l.segments.Load(), start) == 0 {
		return 0, l.usable() // without waiting for a sync that is under way
	}
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return 0, err
	}
	deleted, err = l.deleteOld()
	return deleted, l.refuseSync(err)
}

// below is how many segments end at offset or lower, not counting the last.
func below(segs []*segment.Segment, offset int64) int {
	n := 0
	for n+1 < len(segs) && segs[n+1].BaseOffset() <= offset {
		n++
	}
	return n
}

// deleteOld goes in steps that each leave a log that can be recovered, on disk: 1. log start and recovery point say that what goes does not count, and what stays is whole: without that a
// recovery would take the log for one that lost its beginning, which can only be one that was never synced, and empty it; 2. the segments go, the first first and one by one, so that
// what is left has no hole; 3. the snapshots that belonged to them go.
func (l *Log) deleteOld() (int, error) {
	start := l.offsets.load().LogStartOffset // it can rise meanwhile, but not fall
	if err := l.checkpointNow(); err != nil {
		return 0, err
	}
	if err := l.home.store(); err != nil {
		return 0, err
	}
	gone := l.takeOld(start)
	if len(gone) == 0 {
		return 0, nil
	}
	var err error
	for _, s := range gone {
		if err == nil {
			err = s.Remove()
		}
		if err == nil {
			err = syncDir(l.fs, l.dir)
		}
	}
	for _, s := range gone {
		if e := s.Release(); err == nil {
			err = e
		}
	}
	if err != nil {
		return len(gone), final(err)
	}
	return len(gone), final(l.removeOldSnapshots())
}

// takeOld publishes the list of segments without those that are to go.
func (l *Log) takeOld(start int64) []*segment.Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	segs := *l.segments.Load()
	n := below(segs, min(start, l.offsets.synced.Load()))
	// A snapshot at or behind the new beginning is the other proof of it, for the day on which the checkpoint is damaged.
	if len(l.mu.snapshots) == 0 || l.mu.snapshots[len(l.mu.snapshots)-1] < segs[n].BaseOffset() {
		return nil
	}
	left := slices.Clone(segs[n:])
	l.segments.Store(&left)
	return segs[:n:n]
}

// removeOldSnapshots removes the producer snapshots below the first segment. There is a newer one.
func (l *Log) removeOldSnapshots() error {
	l.mu.Lock()
	i, _ := slices.BinarySearch(l.mu.snapshots, (*l.segments.Load())[0].BaseOffset())
	old := slices.Clone(l.mu.snapshots[:i])
	l.mu.snapshots = slices.Clone(l.mu.snapshots[i:])
	l.mu.Unlock()
	return removeSnapshots(l.fs, l.dir, old, snapshotSuffix, producersSuffix)
}
