package log

import (
	"cmp"
	"slices"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// proofBytes is how many bytes are appended before a sync also leaves a snapshot in the middle of a segment, so that a recovery has no more than
// about that much to read.
const proofBytes = 64 << 20

// Sync makes everything appended before the call durable (data, and names of new files) and returns the end offset now known to be durable.
// It may be called from any goroutine beside appends and reads; concurrent callers share one sync. A failed sync is final: this and every later call, and every append, returns *StorageError.
// A disk without space for the files that follow from the batches (indexes, snapshots, leader epochs) has them wait for a later sync. After a *FullError (no descriptors) the call may succeed later.
func (l *Log) Sync() (syncedEnd int64, err error) {
	target := l.offsets.end.Load()
	done := func() bool {
		o := l.offsets.load()
		return l.usable() != nil || o.SyncedEndOffset >= min(target, o.LogEndOffset)
	}
	// Those who find a sync under way that began before their append wait for the next one, which one of them does for all.
	if !done() && l.flush.acquireUnless(done) {
		err := l.refuseSync(l.syncNow())
		l.flush.release()
		if err != nil {
			return l.offsets.synced.Load(), err
		}
	}
	return l.offsets.synced.Load(), l.usable()
}

// syncNow is Sync for whoever has the flush slot. Segments go in order, so that what is synced is a prefix.
func (l *Log) syncNow() error {
	// In this order: all below end is in segments that the list has by now, and who sees a segment of a roll sees also that there is more.
	end := l.offsets.end.Load()
	a := l.active()
	if l.more.Load() {
		_, err := l.syncBatches(true)
		return err
	}
	// Without mu. Those who append hold it one after the other, and a sync that is to begin, or has ended, would wait for many of them before its turn comes: a third of the time of a sync of 64 writers.
	l.ahead.tune(a)
	a.Acquire()
	err := a.Sync(false)
	a.Release()
	if err == nil {
		l.offsets.raiseSynced(end)
	}
	return err
}

// syncBatches syncs the rolled segments that were not synced, and the active one if that is wanted. late is a *FullError: the batches are synced, but there was no space for what follows from them, which waits for the next sync.
func (l *Log) syncBatches(active bool) (late, err error) {
	work, end, names := l.beginSync(active)
	indexed, err := l.syncSegments(work, names)
	if err != nil {
		return nil, err
	}
	sealed := len(work)
	if active {
		sealed--
	}
	err = l.endSync(work, indexed, sealed, end)
	if isFull(err) {
		late, err = err, nil
	}
	if indexed < len(work) && late == nil {
		late = &FullError{Path: work[indexed].Path(), Op: "sync indexes", Err: vfs.ErrNoSpace}
	}
	return late, err
}

// beginSync collects what a sync has to write: the sealed segments, the active one if that is wanted, each with a reference.
func (l *Log) beginSync(active bool) (work []*segment.Segment, end int64, names bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	work = append(l.flush.segments[:0], l.mu.unsynced...)
	a := l.active()
	end = a.BaseOffset()
	if active {
		work = append(work, a)
		end = a.EndOffset()
		l.ahead.tune(a)
		if l.mu.sinceProof >= proofBytes {
			l.mu.pending = append(l.mu.pending, l.mu.producers.encode(end))
			l.mu.sinceProof = 0
		}
	}
	for _, s := range work {
		s.Acquire()
	}
	l.flush.segments = work
	names = l.mu.newNames
	l.mu.newNames = false
	return work, end, names
}

// syncSegments syncs and releases the segments, and the directory if files were made. Indexes of the active one, the last, are synced if
// a snapshot is to follow: below it they have to be whole. It tells how many segments, from the first, have their indexes synced as far as that is wanted: the disk may have no space for them.
func (l *Log) syncSegments(work []*segment.Segment, names bool) (indexed int, err error) {
	for i, s := range work {
		if err == nil {
			err = s.Sync(false)
		}
		if err == nil && s.Sealed() && indexed == i {
			switch bad := s.SyncIndexes(); {
			case bad == nil:
				indexed++
			case !isFull(bad):
				err = bad
			}
		} else if indexed == i {
			indexed++
		}
		s.Release()
	}
	if isFull(err) {
		l.mu.Lock()
		if names {
			l.namesMadeLocked()
		}
		l.mu.Unlock()
	}
	if err == nil && names {
		err = syncDir(l.fs, l.dir)
	}
	return indexed, err
}

// endSync publishes end as synced, with the first sealed of the unsynced segments, and writes the snapshots that have become true: those for which the indexes are whole. The segments from number indexed
// on stay among the unsynced ones. After a *FullError what could not be written waits for the next sync.
func (l *Log) endSync(work []*segment.Segment, indexed, sealed int, end int64) error {
	l.mu.Lock()
	l.mu.unsynced = append(l.mu.unsynced[:0], l.mu.unsynced[min(indexed, sealed):]...)
	l.offsets.raiseSynced(min(end, l.offsets.end.Load()))
	proven := end
	if indexed < len(work) {
		proven = work[indexed].BaseOffset()
	}
	n := 0
	for n < len(l.mu.pending) && l.mu.pending[n].offset <= proven {
		n++
	}
	var ready []snapshotFiles
	if n > 0 {
		ready = append(ready, l.mu.pending[:n]...)
		l.mu.pending = append(l.mu.pending[:0], l.mu.pending[n:]...)
	}
	l.more.Store(l.mu.newNames || len(l.mu.unsynced) > 0 || len(l.mu.pending) > 0 || l.mu.sinceProof >= proofBytes)
	a := l.active()
	l.mu.Unlock()
	if n == 0 {
		return nil
	}
	var err error
	if ready[n-1].offset > a.BaseOffset() {
		err = a.Sync(true)
	}
	if err == nil {
		err = l.writeSnapshots(ready)
	}
	if isFull(err) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mu.pending = slices.Concat(ready, l.mu.pending)
		l.more.Store(true)
	}
	return err
}

// namesMadeLocked takes note of files that were made, whose names are not durable yet.
func (l *Log) namesMadeLocked() {
	l.mu.newNames = true
	l.more.Store(true)
}

// writeEpochs writes the epoch cache if it is not on disk as it is. The name is durable after a sync of the directory.
func (l *Log) writeEpochs() (wrote bool, err error) {
	l.mu.Lock()
	var b []byte
	if l.epochs.dirty {
		b = l.epochs.encode()
		l.epochs.dirty = false
	}
	l.mu.Unlock()
	if b == nil {
		return false, nil
	}
	err = writeSmallFile(l.fs, l.dir+"/"+epochsFile, b)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.epochs.dirty = true
	}
	return err == nil, err
}

// syncNames makes everything durable that must not be missing below a recovery point but the batches: the epoch cache, and the names of index files.
func (l *Log) syncNames() error {
	wrote, err := l.writeEpochs()
	if err != nil {
		return err
	}
	l.mu.Lock()
	names := l.mu.newNames
	l.mu.newNames = false
	l.mu.Unlock()
	if !wrote && !names {
		return nil
	}
	return syncDir(l.fs, l.dir)
}

// writeSnapshots writes snapshots, durably, and then removes older ones that no segment begins at. The batches below them have been synced, with the indexes. A
// snapshot moves the recovery point: what else has to be durable below it comes first.
func (l *Log) writeSnapshots(files []snapshotFiles) error {
	l.mu.Lock()
	// Without an older one to fall back on, a snapshot must not be there without its side file.
	first := len(l.mu.snapshots) == 0
	l.mu.Unlock()
	for _, f := range files {
		wrote, err := f.writeSide(l.fs, l.dir)
		if err != nil {
			return err
		}
		if wrote && first {
			l.mu.Lock()
			l.namesMadeLocked()
			l.mu.Unlock()
		}
	}
	if err := l.syncNames(); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeSmallFile(l.fs, l.dir+"/"+segment.FileName(f.offset, snapshotSuffix), f.snapshot); err != nil {
			return err
		}
	}
	if err := syncDir(l.fs, l.dir); err != nil {
		return err
	}
	return removeSnapshots(l.fs, l.dir, l.replaceSnapshots(files), snapshotSuffix, producersSuffix)
}

// replaceSnapshots adds files to the list of snapshots, and takes those off it that are not needed any more: all but the newest and those in front of segments.
func (l *Log) replaceSnapshots(files []snapshotFiles) (old []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.mu.snapshots
	for _, f := range files {
		list = insertOffset(list, f.offset)
	}
	segs := *l.segments.Load()
	l.mu.snapshots = slices.DeleteFunc(list, func(o int64) bool {
		drop := o < list[len(list)-1] && segs[floorSegment(segs, o)].BaseOffset() != o
		if drop {
			old = append(old, o)
		}
		return drop
	})
	return old
}

// checkpoint syncs what has been rolled and never synced, and takes note of the log's positions for the checkpoint files.
func (l *Log) checkpoint() error {
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return err
	}
	return l.refuseSync(l.checkpointNow())
}

func (l *Log) checkpointNow() error {
	l.mu.Lock()
	rolled := len(l.mu.unsynced) > 0
	l.mu.Unlock()
	if rolled {
		if late, err := l.syncBatches(false); err != nil || late != nil {
			return cmp.Or(err, late)
		}
	}
	point := l.offsets.load().SyncedEndOffset
	if old, _, _ := l.home.offsets(l.key); point > old {
		// Below the recovery point indexes and epochs have to be whole, too.
		l.mu.Lock()
		a := l.active()
		a.Acquire()
		l.mu.Unlock()
		err := a.Sync(true)
		a.Release()
		if err == nil {
			err = l.syncNames()
		}
		if err != nil {
			return err
		}
	}
	l.home.noteAt(l, point)
	return nil
}
