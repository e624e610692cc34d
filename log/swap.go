package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// A run of rolled segments gives way to one new segment that begins and ends at the same offsets, with Kafka's suffixes for the steps:
//
//  1. NNN.log.cleaned and its indexes are built, synced, and their names are          an opening removes them
//  2. the indexes become NNN.index.swap, ...; the directory is synced                 an opening removes them
//  3. NNN.log.cleaned becomes NNN.log.swap; the directory is synced                   here it is decided: from now on an opening goes on with
//  4. the files of the old segments go; the directory is synced
//  5. NNN.index.swap becomes NNN.index, ...; the directory is synced
//  6. NNN.log.swap becomes NNN.log; the directory is synced
//
// The log file is the last in both rounds of renames: as long as NNN.log.swap is there the segment's indexes are there, too, under one name or the other, and a plain index that has no .swap beside it
// is a new one. That is why a new segment has all four files, be they empty. What a .swap takes the place of is told by its own batches: the segments that begin from its base on
// and below its end. Differs from Kafka, which syncs the directory once: then a power loss may keep any of the renames.
const (
	cleanedSuffix = ".cleaned"
	swapSuffix    = ".swap"
)

// indexSuffixes are the files of a segment that follow from its log file.
var indexSuffixes = [...]string{segment.OffsetIndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix}

// errSegmentsChanged says that a truncation or a deletion came between the building of a replacement and its use. The replacement means nothing any more.
var errSegmentsChanged = errors.New("log: the segments to replace have changed")

// createReplacement begins the segment that is to take the place of a run of segments that begins at base. It is the caller's, and is filled, then given to replaceSegments or discardReplacement.
func (l *Log) createReplacement(base int64) (*segment.Segment, error) {
	l.mu.Lock()
	c := l.segmentConfigLocked()
	l.mu.Unlock()
	c.Suffix = cleanedSuffix
	return segment.Create(c, base)
}

// discardReplacement removes a replacement that will not be used.
func (l *Log) discardReplacement(s *segment.Segment) error {
	return errors.Join(s.Remove(), s.Release())
}

// replaceSegments puts the segment built, from createReplacement, in the place of old: segments of the log that follow each other, the active one not among them. built has to begin at the first one's base, and
// to end where the last one ends, for a gap in front of the next would look like a hole. cuts is l.cuts of before old was first read. Durable on return; built is released in any case.
// Readers go on with the segments that they hold. Safe for concurrent use.
//
// Errors: errSegmentsChanged and ErrClosed, with the log as it was and the replacement removed; *StorageError, with the log read-only if it had begun to change.
func (l *Log) replaceSegments(old []*segment.Segment, built *segment.Segment, cuts int64) error {
	if built.BaseOffset() != old[0].BaseOffset() || built.EndOffset() > old[len(old)-1].EndOffset() || built.EndOffset() <= old[len(old)-1].BaseOffset() {
		return errors.Join(fmt.Errorf("log: segment [%d, %d) cannot take the place of [%d, %d)",
			built.BaseOffset(), built.EndOffset(), old[0].BaseOffset(), old[len(old)-1].EndOffset()), l.discardReplacement(built))
	}
	// Without the slot, for it may be long: syncs and truncations of the log go on.
	if err := l.finishReplacement(built); err != nil {
		return errors.Join(err, built.Remove())
	}
	l.flush.acquire()
	defer l.flush.release()
	err := l.usable()
	if err == nil && (l.cuts.Load() != cuts || l.runOf(*l.segments.Load(), old) < 0) {
		err = errSegmentsChanged
	}
	if err != nil {
		return errors.Join(err, built.Remove())
	}
	err = l.swap(old, built)
	if isFull(err) { // what was there still is
		return errors.Join(err, built.Remove())
	}
	return l.failSync(err)
}

// runOf returns where in segs the run old is, in front of the last one, or -1.
func (l *Log) runOf(segs, old []*segment.Segment) int {
	i := slices.Index(segs, old[0])
	if i < 0 || i+len(old) >= len(segs) || !slices.Equal(segs[i:i+len(old)], old) {
		return -1
	}
	return i
}

// swap is replaceSegments for whoever has the flush slot.
func (l *Log) swap(old []*segment.Segment, built *segment.Segment) error {
	// A recovery begins at the recovery point and takes epochs and producers from the batches above it: none of those may be missing.
	err := l.checkpointNow()
	if err == nil {
		err = l.home.store()
	}
	if err != nil {
		return err
	}
	base, size, end := built.BaseOffset(), built.SizeBytes(), old[len(old)-1].EndOffset()
	bases := make([]int64, 0, len(old))
	for _, s := range old {
		if err := s.Detach(); err != nil {
			return err
		}
		bases = append(bases, s.BaseOffset())
	}
	if err := l.decideSwap(base); err != nil {
		return final(err)
	}
	if err := l.completeSwap(base, bases); err != nil {
		return final(err)
	}
	l.mu.Lock()
	fresh := segment.OpenSealed(l.segmentConfigLocked(), base, size, end)
	segs := *l.segments.Load()
	i := l.runOf(segs, old) // rolls only add behind it
	list := slices.Concat(segs[:i], []*segment.Segment{fresh}, segs[i+len(old):])
	l.segments.Store(&list)
	l.mu.Unlock()
	l.setDamage(base, end, nil) // whoever built it has checked every batch
	for _, s := range old {
		if e := s.Release(); err == nil {
			err = e
		}
	}
	return err
}

// finishReplacement makes the files of a replacement whole and durable under their first names, step 1, and releases it.
func (l *Log) finishReplacement(built *segment.Segment) error {
	if err := errors.Join(built.Seal(), built.Release()); err != nil { // the files are renamed, and opened anew, under the other name
		return err
	}
	for _, suffix := range append(indexSuffixes[:], segment.LogSuffix) {
		name := l.dir + "/" + segment.FileName(built.BaseOffset(), suffix) + cleanedSuffix
		f, err := l.fs.Open(name, vfs.Create)
		if err != nil {
			return storage("create", name, err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return storage("sync", name, err)
		}
	}
	return syncDir(l.fs, l.dir)
}

// decideSwap takes steps 2 and 3.
func (l *Log) decideSwap(base int64) error {
	for _, suffix := range indexSuffixes {
		if err := l.rename(base, suffix+cleanedSuffix, suffix+swapSuffix); err != nil {
			return err
		}
	}
	if err := syncDir(l.fs, l.dir); err != nil {
		return err
	}
	if err := l.rename(base, segment.LogSuffix+cleanedSuffix, segment.LogSuffix+swapSuffix); err != nil {
		return err
	}
	return syncDir(l.fs, l.dir)
}

// completeSwap takes steps 4 and 5, or what is left of them. old are the bases of the segments that go, as far as they are there.
func (l *Log) completeSwap(base int64, old []int64) error {
	for _, b := range old {
		if b == base {
			continue
		}
		for _, suffix := range append([]string{segment.SealSuffix, segment.LogSuffix}, indexSuffixes[:]...) {
			if err := l.removeIfThere(segment.FileName(b, suffix)); err != nil {
				return err
			}
		}
	}
	for _, suffix := range []string{segment.SealSuffix, segment.LogSuffix} {
		if err := l.removeIfThere(segment.FileName(base, suffix)); err != nil {
			return err
		}
	}
	for _, suffix := range indexSuffixes { // those that still have their .swap
		_, err := l.fs.Stat(l.dir + "/" + segment.FileName(base, suffix+swapSuffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return storage("stat", l.dir, err)
		}
		if err := l.removeIfThere(segment.FileName(base, suffix)); err != nil {
			return err
		}
		if err := l.rename(base, suffix+swapSuffix, suffix); err != nil {
			return err
		}
	}
	if err := syncDir(l.fs, l.dir); err != nil {
		return err
	}
	if err := l.rename(base, segment.LogSuffix+swapSuffix, segment.LogSuffix); err != nil {
		return err
	}
	return syncDir(l.fs, l.dir)
}

func (l *Log) rename(base int64, from, to string) error {
	name := l.dir + "/" + segment.FileName(base, from)
	return storage("rename", name, l.fs.Rename(name, l.dir+"/"+segment.FileName(base, to)))
}

func (l *Log) removeIfThere(name string) error {
	name = l.dir + "/" + name
	if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storage("remove", name, err)
	}
	return nil
}

// finishSwaps brings the swaps to an end that a crash has interrupted, before the log is opened: those that were decided are completed, what is there of the others goes.
func (l *Log) finishSwaps(f found) error {
	// What is seen may be what a process has done that was killed, and be gone with the power: the old segments must not go on its account.
	if err := syncDir(l.fs, l.dir); err != nil {
		return err
	}
	decided := map[int64]bool{}
	for _, name := range f.swaps {
		base, suffix, ok := segment.ParseFileName(name)
		if !ok || suffix != segment.LogSuffix+swapSuffix {
			continue
		}
		end, err := l.swapEnd(base)
		if err != nil {
			return err
		}
		l.logger.Info("segment of an interrupted compaction or repair put in its place", "dir", l.dir, "base", base, "end", end)
		from, _ := slices.BinarySearch(f.bases, base)
		to, _ := slices.BinarySearch(f.bases, end)
		if err := l.completeSwap(base, f.bases[from:to]); err != nil {
			return err
		}
		decided[base] = true
	}
	removed := false
	for _, name := range f.swaps {
		base, _, ok := segment.ParseFileName(name)
		if ok && decided[base] {
			continue
		}
		if err := l.removeIfThere(name); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return syncDir(l.fs, l.dir)
}

// swapEnd is where the segment ends that is in .swap files: it was synced before it got that name.
func (l *Log) swapEnd(base int64) (int64, error) {
	l.mu.Lock()
	c := l.segmentConfigLocked()
	l.mu.Unlock()
	c.Suffix = swapSuffix
	name := l.dir + "/" + segment.FileName(base, segment.LogSuffix+swapSuffix)
	info, err := l.fs.Stat(name)
	if err != nil {
		return 0, storage("stat", name, err)
	}
	s := segment.OpenSealed(c, base, info.Size(), math.MaxInt64)
	end := int64(-1)
	err = s.Headers(base, math.MaxInt64, func(h record.Batch, _, _ int64) bool {
		end = h.NextOffset()
		return true
	})
	if err = errors.Join(err, s.Release()); err != nil {
		return 0, err
	}
	if end < 0 {
		return 0, &CorruptError{Path: name, Offset: base, Err: errNoBatches}
	}
	return end, nil
}

var errNoBatches = errors.New("a segment without batches was to take the place of others")
