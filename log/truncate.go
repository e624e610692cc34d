package log

import (
	"math"
	"slices"

	"github.com/insynclog/insync/segment"
)

// TruncateTo removes everything at or above offset, durable on return; a batch that holds offset goes whole. The high watermark falls to LogEndOffset if it was
// above. At or above LogEndOffset it does nothing, below the first segment it empties the log. A call of the owner, as Append is.
// Errors: ErrClosed, *CorruptError, *FullError (nothing was changed), *StorageError.
func (l *Log) TruncateTo(offset int64) error {
	if offset >= l.offsets.end.Load() {
		return l.usable()
	}
	if offset < (*l.segments.Load())[0].BaseOffset() {
		return l.TruncateFullyAndStartAt(offset)
	}
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return err
	}
	return l.refuseSync(l.truncateTo(offset))
}

// truncateTo goes in steps that each leave a log that can be recovered, on disk: 1. nothing claims any more that what goes was synced;
// 2. whole segments go, the last first; 3. the one that holds offset is cut.
func (l *Log) truncateTo(offset int64) error {
	l.cuts.Add(1)
	defer l.cuts.Add(1)
	segs := *l.segments.Load()
	keep := floorSegment(segs, offset) + 1
	// The log will end below offset if that is inside a batch, or behind one that compaction has removed.
	end, err := segs[keep-1].BoundaryBelow(offset)
	if err == nil {
		err = l.disclaim(end, end)
	}
	if err != nil {
		return err
	}
	return final(l.cutAt(segs, keep, offset))
}

// cutAt is steps 2 and 3: of segs the first keep stay.
func (l *Log) cutAt(segs []*segment.Segment, keep int, offset int64) error {
	if err := l.dropSegments(segs[:keep:keep], segs[keep:]); err != nil {
		return err
	}
	// Without the mutex, for it waits for the disk: the caller, who is the only one to write, and flush keep others off.
	a := l.active()
	if err := l.unseal(a); err != nil {
		return err
	}
	if err := a.Truncate(offset); err != nil {
		return err
	}
	l.cutDamage(math.MinInt64, offset)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.unsynced = slices.DeleteFunc(l.mu.unsynced, func(s *segment.Segment) bool { return s.BaseOffset() >= a.BaseOffset() })
	l.mu.changed = true
	o := l.offsets.load()
	o.LogEndOffset = a.EndOffset()
	o.HighWatermark = min(o.HighWatermark, o.LogEndOffset)
	o.SyncedEndOffset = min(o.SyncedEndOffset, o.LogEndOffset)
	o.LogStartOffset = min(o.LogStartOffset, o.LogEndOffset)
	l.syncedStart.Store(min(l.syncedStart.Load(), o.LogStartOffset))
	l.epochs.truncateEnd(o.LogEndOffset)
	if err := l.reloadProducersLocked(o); err != nil {
		return err
	}
	l.publishAllLocked(o)
	return nil
}

// disclaim takes back, durably, whatever says that offsets from point on were synced, or that the log starts above start.
func (l *Log) disclaim(point, start int64) error {
	if err := l.home.lower(l.key, max(point, 0), start); err != nil {
		return err
	}
	l.mu.Lock()
	i, found := slices.BinarySearch(l.mu.snapshots, point)
	if found {
		i++ // what is below point stays
	}
	gone := slices.Clone(l.mu.snapshots[i:])
	l.mu.snapshots = l.mu.snapshots[:i]
	l.mu.pending = slices.DeleteFunc(l.mu.pending, func(f snapshotFiles) bool { return f.offset > point })
	l.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	// The side files go when the snapshots are gone for good: one that came back alone might be all there is.
	if err := removeSnapshots(l.fs, l.dir, gone, snapshotSuffix); err != nil {
		return err
	}
	if err := syncDir(l.fs, l.dir); err != nil {
		return err
	}
	return removeSnapshots(l.fs, l.dir, gone, producersSuffix)
}

// dropSegments publishes what is left and removes the files of the others, the last first, durably.
func (l *Log) dropSegments(left, gone []*segment.Segment) error {
	if len(gone) == 0 {
		return nil
	}
	if len(left) > 0 {
		l.mu.Lock()
		l.segments.Store(&left)
		l.mu.unsynced = slices.DeleteFunc(l.mu.unsynced, func(s *segment.Segment) bool { return slices.Contains(gone, s) })
		l.mu.Unlock()
	}
	var err error
	for _, s := range slices.Backward(gone) {
		if err == nil {
			err = s.Remove()
		}
	}
	if err == nil {
		err = syncDir(l.fs, l.dir)
	}
	if err != nil && len(left) == 0 {
		return err // they are the log's still
	}
	for _, s := range gone {
		if e := s.Release(); err == nil {
			err = e
		}
	}
	return err
}

// reloadProducersLocked makes the producer state anew for a log that ends at o.LogEndOffset: from the newest snapshot and what follows it.
func (l *Log) reloadProducersLocked(o Offsets) error {
	p := l.mu.producers
	if len(p.entries)+len(p.unreplicated) == 0 && len(l.mu.snapshots) == 0 && len(l.mu.pending) == 0 {
		return nil // there never was a producer
	}
	st, from, err := l.newestSnapshotLocked(o.LogEndOffset)
	if err != nil {
		return err
	}
	p.restore(st, l.forgottenLocked(st))
	if err := l.replayProducers(*l.segments.Load(), from, o.LogEndOffset, nil); err != nil {
		return err
	}
	p.raiseHighWatermark(o.HighWatermark)
	return nil
}

// TruncateFullyAndStartAt empties the log and starts it anew at offset: all positions are offset, epochs and producers are forgotten. Durable on
// return. A call of the owner, as Append is. Errors: ErrClosed, *FullError (nothing was changed), *StorageError.
func (l *Log) TruncateFullyAndStartAt(offset int64) error {
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return err
	}
	return l.refuseSync(l.restartAt(offset))
}

func (l *Log) restartAt(offset int64) error {
	l.cuts.Add(1)
	defer l.cuts.Add(1)
	if err := l.disclaim(-1, offset); err != nil {
		return err
	}
	return final(l.startAnew(offset))
}

func (l *Log) startAnew(offset int64) error {
	// The old files first, the last one first: a crash in between leaves a prefix of the log, or nothing.
	old := *l.segments.Load()
	for _, s := range slices.Backward(old) {
		if err := s.Remove(); err != nil {
			return err
		}
	}
	if err := l.startSegment(offset); err != nil {
		return err
	}
	for _, s := range old {
		if err := s.Release(); err != nil {
			return err
		}
	}
	// Proof that nothing is missing in front of the first segment.
	return l.writeSnapshots([]snapshotFiles{newProducerState().encode(offset)})
}

// startSegment makes a first segment at offset and forgets whatever was before.
func (l *Log) startSegment(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := segment.Create(l.segmentConfigLocked(), offset)
	if err != nil {
		return err
	}
	l.segments.Store(&[]*segment.Segment{s})
	l.mu.unsynced, l.mu.pending = nil, nil
	l.mu.changed, l.mu.newNames = true, false
	l.mu.producers.restore(snapshotState{}, 0)
	l.epochs.set(nil)
	l.cutDamage(offset, offset)
	l.syncedStart.Store(offset) // writeSnapshots is to come: nobody looks before the slot is free
	l.publishAllLocked(Offsets{LogStartOffset: offset, HighWatermark: offset, SyncedEndOffset: offset, LogEndOffset: offset})
	return nil
}
