package log

import (
	"errors"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// found is what a partition's directory holds.
type found struct {
	bases     []int64         // of .log files, rising
	sizes     map[int64]int64 // of .log files, by base
	snapshots []int64         // rising
	lone      []int64         // those of them that lack their side file
	leftovers []string        // files that mean nothing
	seals     []int64         // of .seal files
	swaps     []string        // files of segments that were to take the place of others; see swap.go
	epochs    bool            // there is an epoch checkpoint
	foreign   string          // a file that is no log's
}

// deletedSuffix marks files that Kafka leaves behind when a deletion is interrupted.
const deletedSuffix = ".deleted"

// listLog reads the directory of a log; a missing one is empty.
func (l *Log) listLog() (found, error) {
	f := found{sizes: map[int64]int64{}}
	entries, err := l.fs.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, storage("list", l.dir, err)
	}
	indexes := map[int64][]string{}
	var sides []int64
	for _, e := range entries {
		name := e.Name()
		base, suffix, ok := segment.ParseFileName(name)
		switch {
		case strings.HasSuffix(name, deletedSuffix), strings.HasSuffix(name, cleanedSuffix), strings.HasSuffix(name, tmpSuffix):
			f.leftovers = append(f.leftovers, name)
		case strings.HasSuffix(name, swapSuffix):
			f.swaps = append(f.swaps, name)
		case ok && suffix == segment.LogSuffix:
			info, err := e.Info()
			if err != nil {
				return f, storage("stat", l.dir+"/"+name, err)
			}
			f.bases = append(f.bases, base)
			f.sizes[base] = info.Size()
		case ok && suffix == snapshotSuffix:
			info, err := e.Info()
			if err != nil {
				return f, storage("stat", l.dir+"/"+name, err)
			}
			f.snapshots = append(f.snapshots, base)
			if info.Size() > snapshotHeadBytes {
				f.lone = append(f.lone, base)
			}
		case ok && suffix == producersSuffix:
			sides = append(sides, base)
		case ok && (suffix == segment.OffsetIndexSuffix || suffix == segment.TimeIndexSuffix || suffix == segment.TxnIndexSuffix):
			indexes[base] = append(indexes[base], name)
		case ok && suffix == segment.SealSuffix:
			f.seals = append(f.seals, base)
		case name == epochsFile:
			f.epochs = true
		case ok || name == metadataFile || strings.HasPrefix(name, ".") || strings.HasSuffix(name, "-checkpoint"):
		case f.foreign == "":
			f.foreign = name
		}
	}
	slices.Sort(f.bases)
	slices.Sort(f.snapshots)
	for _, o := range sides {
		if _, ok := slices.BinarySearch(f.snapshots, o); !ok {
			f.leftovers = append(f.leftovers, segment.FileName(o, producersSuffix))
		}
	}
	f.lone = slices.DeleteFunc(f.lone, func(o int64) bool { return slices.Contains(sides, o) })
	for base, names := range indexes {
		if _, ok := f.sizes[base]; !ok {
			f.leftovers = append(f.leftovers, names...)
		}
	}
	return f, nil
}

// openLog opens the log in dir, which exists or is made, with what its home knows of it. clean says that nobody has written to it since a clean stop.
func openLog(h *home, key partitionKey, dir string, c Config, clean bool) (*Log, error) {
	l := &Log{clean: clean, dir: dir, key: key, home: h, fs: h.fs, logger: c.Logger, wall: c.Wall}
	l.mu.producers = newProducerState()
	l.repairs.gaps.Store(h.cleaned(key) > 0)
	l.setConfigLocked(c)
	f, err := l.listLog()
	if err == nil && len(f.swaps) > 0 {
		if err = l.finishSwaps(f); err == nil {
			f, err = l.listLog()
		}
	}
	if err != nil {
		return nil, err
	}
	if err := l.load(f); err != nil {
		if _, damaged := errors.AsType[*CorruptError](err); damaged {
			h.lost.Store(true)
		}
		if segs := l.segments.Load(); segs != nil {
			for _, s := range *segs {
				s.Release()
			}
		}
		return nil, err
	}
	return l, nil
}

func (l *Log) load(f found) error {
	if len(f.bases) == 0 && f.foreign != "" {
		return &ForeignDirectoryError{Path: l.dir, Found: f.foreign}
	}
	for _, name := range f.leftovers {
		if err := l.fs.Remove(l.dir + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storage("remove", l.dir+"/"+name, err)
		}
	}
	point, start, high := l.home.offsets(l.key)
	if err := l.settleSeals(&f, point, start); err != nil {
		return err
	}
	if len(f.bases) == 0 {
		return l.begin(f, point, start)
	}
	if err := l.loadEpochs(f); err != nil {
		return err
	}
	l.mu.snapshots = f.snapshots
	var err error
	if l.clean {
		err = l.loadClean(f, point)
	} else {
		err = l.recover(f, point, start)
	}
	if _, damaged := errors.AsType[*CorruptError](err); damaged {
		err = l.openDamaged(f, point, start, err)
	}
	if err != nil {
		return err
	}
	end := l.active().EndOffset()
	if end < high {
		l.logger.Warn("log ends below its high watermark", "dir", l.dir, "end", end, "high_watermark", high)
		l.home.lost.Store(true)
	}
	start = max(start, (*l.segments.Load())[0].BaseOffset())
	if end < start {
		// Kafka's rule: the log start was raised beyond what is left, so nothing of it counts.
		l.logger.Warn("log ends below its start and is emptied", "dir", l.dir, "end", end, "start", start)
		l.publishAllLocked(Offsets{LogStartOffset: end, HighWatermark: end, SyncedEndOffset: end, LogEndOffset: end})
		return l.restartAt(start)
	}
	l.epochs.truncateEnd(end)
	if !l.clean && len(l.Damage()) == 0 {
		if err := l.completeEpochs(start, end); err != nil {
			return err
		}
	}
	l.epochs.truncateStart(start)
	high = min(max(high, start), end)
	if l.home.alone {
		high = end
	}
	l.mu.producers.raiseHighWatermark(high)
	l.syncedStart.Store(start)
	l.publishAllLocked(Offsets{LogStartOffset: start, HighWatermark: high, SyncedEndOffset: end, LogEndOffset: end})
	return nil
}

// begin makes the first segment of a log without any.
func (l *Log) begin(f found, point, start int64) error {
	if point > start {
		return &CorruptError{Path: l.dir, Offset: point, Err: errNoSegments}
	}
	if err := removeSnapshots(l.fs, l.dir, f.snapshots, snapshotSuffix, producersSuffix); err != nil {
		return err
	}
	s, err := segment.Create(l.segmentConfigLocked(), start)
	if err != nil {
		return err
	}
	l.segments.Store(&[]*segment.Segment{s})
	l.namesMadeLocked()
	l.syncedStart.Store(start)
	l.publishAllLocked(Offsets{LogStartOffset: start, HighWatermark: start, SyncedEndOffset: start, LogEndOffset: start})
	return nil
}

var errNoSegments = errors.New("no segment files, though there were synced ones")

// loadEpochs reads the epoch checkpoint. One that is missing or damaged is made anew from the batches' headers.
func (l *Log) loadEpochs(f found) error {
	name := l.dir + "/" + epochsFile
	if f.epochs {
		b, err := readSmallFile(l.fs, name)
		if err != nil {
			return storage("read", name, err)
		}
		list, bad := parseEpochs(b)
		if bad == nil {
			l.epochs.list.Store(&list)
			return nil
		}
		l.logger.Warn("leader epochs are read from the log: the checkpoint is damaged", "path", name, "err", bad)
	}
	for i, base := range f.bases {
		if f.sizes[base] == 0 {
			continue
		}
		s := segment.OpenSealed(l.segmentConfigLocked(), base, f.sizes[base], nextBase(f.bases, i))
		err := s.Headers(base, math.MaxInt64, func(h record.Batch, _, _ int64) bool {
			l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
			return true
		})
		s.Release()
		if _, bad := errors.AsType[*CorruptError](err); bad {
			return nil // torn, or damaged: what follows knows which
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// completeEpochs reads from the batches which epochs are in front of the first known one. The cache forgets what lies below the log start as soon as that is raised, and may be on disk when the
// start is not.
func (l *Log) completeEpochs(start, end int64) error {
	known := l.epochs.entries()
	if len(known) > 0 {
		end = known[0].start
	}
	if start >= end {
		return nil
	}
	var front epochCache
	segs := *l.segments.Load()
	for _, s := range segs[floorSegment(segs, start):] {
		if s.BaseOffset() >= end {
			break
		}
		first := true
		err := s.Headers(max(start, s.BaseOffset()), end, func(h record.Batch, _, _ int64) bool {
			front.assign(h.LeaderEpoch(), max(h.BaseOffset(), start))
			first = first && h.LeaderEpoch() < 0
			return !first // a log from before there were epochs
		})
		if _, bad := errors.AsType[*CorruptError](err); bad {
			return nil // whoever reads it is told
		}
		if err != nil {
			return err
		}
	}
	for _, e := range known {
		front.assign(e.epoch, e.start)
	}
	if list := front.entries(); len(list) > len(known) || len(list) > 0 && list[0] != known[0] {
		l.epochs.set(list)
	}
	return nil
}

// nextBase is where segment i ends at the latest.
func nextBase(bases []int64, i int) int64 {
	if i+1 < len(bases) {
		return bases[i+1]
	}
	return math.MaxInt64
}

// loadClean opens the segments after a clean stop: the last one's end is looked up, nothing else is read.
func (l *Log) loadClean(f found, point int64) error {
	segs := l.openSealed(f, len(f.bases)-1)
	last := f.bases[len(f.bases)-1]
	a := segment.OpenSealed(l.segmentConfigLocked(), last, f.sizes[last], math.MaxInt64)
	segs = append(segs, a)
	l.segments.Store(&segs)
	if err := a.Activate(f.sizes[last]); err != nil {
		return err
	}
	end := a.EndOffset()
	if end < point {
		return &CorruptError{Path: a.Path(), Position: a.SizeBytes(), Offset: end, Err: errEndsEarly}
	}
	if end > point && point > 0 {
		return &CorruptError{Path: a.Path(), Position: a.SizeBytes(), Offset: end, Err: errEndsLate} // the last batch's header has grown: nothing else is read here
	}
	if len(f.snapshots) > 0 { // without producers the stop would have left none
		if err := l.loadProducers(segs, end, end); err != nil {
			return err
		}
	}
	if l.home.open != nil {
		a.Shut() // of many logs few are used
	}
	return nil
}

var errEndsLate = errors.New("log ends behind what a clean stop left")

var errEndsEarly = errors.New("log ends before its recovery point")

// openSealed opens the first n segments without touching their files.
func (l *Log) openSealed(f found, n int) []*segment.Segment {
	segs := make([]*segment.Segment, 0, len(f.bases)+1)
	for i, base := range f.bases[:n] {
		segs = append(segs, segment.OpenSealed(l.segmentConfigLocked(), base, f.sizes[base], nextBase(f.bases, i)))
	}
	return segs
}

// recover opens the segments after a stop that was not clean. Below the recovery point all is believed; from there on every batch is checked, and the first that
// is not whole is cut off with all that follows it.
func (l *Log) recover(f found, point, start int64) error {
	point, err := l.provenPoint(point)
	if err != nil {
		return err
	}
	if f.bases[0] > max(point, start) {
		// Only a crash before any sync can have lost the segments in front of it, and then nothing is left that counts.
		if err := l.removeBehind(f, 0); err != nil {
			return err
		}
		l.epochs.set(nil)
		return l.begin(f, point, start)
	}
	l.logger.Info("log is recovered: the last stop was not clean", "dir", l.dir, "recovery_point", point)
	l.epochs.truncateEnd(point) // the batches behind it tell the rest again
	// A segment that ends at the point may have been sealed after it was synced: it is gone through, too, which takes no more than a look at its end.
	first, _ := slices.BinarySearch(f.bases, point)
	first = max(first-1, 0)
	segs := l.openSealed(f, first)
	l.segments.Store(&segs)
	part := segment.OpenSealed(l.segmentConfigLocked(), f.bases[first], f.sizes[f.bases[first]], math.MaxInt64)
	whole, err := part.LoadAborted(point)
	if err == nil {
		err = l.loadProducersBelow(f, first, point, whole, part)
	}
	part.Release()
	if err != nil {
		return err
	}
	return l.recoverSegments(f, segs, first, point)
}

// provenPoint is the recovery point: the checkpointed one, or the newest sound snapshot's offset if that is above. Snapshots are written only when all below
// them is synced, and removed before it is cut.
func (l *Log) provenPoint(point int64) (int64, error) {
	for i := len(l.mu.snapshots) - 1; i >= 0 && l.mu.snapshots[i] > point; i-- {
		_, bad, err := readSnapshot(l.fs, l.dir, l.mu.snapshots[i])
		if err != nil {
			return 0, err
		}
		if bad == nil {
			return l.mu.snapshots[i], nil
		}
	}
	return point, nil
}

// recoverSegments checks the segments from number first on, and makes the last one that is left the active one.
func (l *Log) recoverSegments(f found, segs []*segment.Segment, first int, point int64) error {
	visit := func(s *segment.Segment) func(b record.Batch) error {
		return func(b record.Batch) error {
			l.epochs.assign(b.LeaderEpoch(), b.BaseOffset())
			if ended, ok := l.mu.producers.update(b); ok && ended.abort {
				return s.AddAborted(ended.aborted())
			}
			return nil
		}
	}
	for i := first; i < len(f.bases); i++ {
		s := segment.OpenSealed(l.segmentConfigLocked(), f.bases[i], f.sizes[f.bases[i]], math.MaxInt64)
		segs = append(segs, s)
		list := slices.Clone(segs)
		l.segments.Store(&list)
		if _, err := s.LoadAborted(max(point, s.BaseOffset())); err != nil {
			return err
		}
		r, err := s.Recover(point, visit(s))
		if err != nil {
			return err
		}
		if r.CutBytes > 0 {
			l.logger.Warn("torn end of log cut off", "path", s.Path(), "offset", s.EndOffset(), "bytes", r.CutBytes, "reason", r.Reason)
		}
		if i == len(f.bases)-1 {
			break
		}
		if s.EndOffset() != f.bases[i+1] {
			// What follows is behind a hole.
			if err := l.removeBehind(f, i+1); err != nil {
				return err
			}
			break
		}
		if err := s.Seal(); err != nil {
			return err
		}
	}
	return l.settleRecovered(f, first, point)
}

// removeBehind removes the segments from number i on, the last first.
func (l *Log) removeBehind(f found, i int) error {
	for _, base := range slices.Backward(f.bases[i:]) {
		l.logger.Warn("segment behind a hole removed", "dir", l.dir, "base", base, "bytes", f.sizes[base])
		s := segment.OpenSealed(l.segmentConfigLocked(), base, f.sizes[base], math.MaxInt64)
		if err := s.Remove(); err != nil {
			return err
		}
		s.Release()
	}
	return syncDir(l.fs, l.dir)
}

// settleRecovered makes what was recovered durable and leaves a snapshot that says so.
func (l *Log) settleRecovered(f found, first int, point int64) error {
	segs := *l.segments.Load()
	if a := l.active(); l.clean && point > 0 && a.EndOffset() > point {
		return &CorruptError{Path: a.Path(), Position: a.SizeBytes(), Offset: a.EndOffset(), Err: errEndsLate}
	}
	for _, s := range segs[first:] {
		if err := s.Sync(true); err != nil {
			return err
		}
	}
	end := l.active().EndOffset()
	// Snapshots above the end are of another past. None is: one that was sound was the recovery point. Damaged ones go.
	i, _ := slices.BinarySearch(l.mu.snapshots, end+1)
	if err := removeSnapshots(l.fs, l.dir, l.mu.snapshots[i:], snapshotSuffix, producersSuffix); err != nil {
		return err
	}
	l.mu.snapshots = l.mu.snapshots[:i:i]
	l.epochs.truncateEnd(end)
	l.mu.changed = true
	if end > point || len(f.lone) > 0 {
		if err := l.writeSnapshots([]snapshotFiles{l.mu.producers.encode(end)}); err != nil {
			return err
		}
		// Now that there is a whole one, those that are not are in the way.
		lone := func(o int64) bool { return o != end && slices.Contains(f.lone, o) }
		l.mu.snapshots = slices.DeleteFunc(l.mu.snapshots, lone)
		f.lone = slices.DeleteFunc(f.lone, func(o int64) bool { return o == end })
		if err := removeSnapshots(l.fs, l.dir, f.lone, snapshotSuffix, producersSuffix); err != nil {
			return err
		}
	}
	return syncDir(l.fs, l.dir)
}

// loadProducersBelow brings the producer state up to point, in front of the recovery of segment number first. If the transaction index of
// that segment, opened as part, was damaged, it is made anew from the segment's base on.
func (l *Log) loadProducersBelow(f found, first int, point int64, whole bool, part *segment.Segment) error {
	segs := append(l.openSealed(f, first), part)
	defer func() {
		for _, s := range segs[:first] {
			s.Release()
		}
	}()
	limit := point
	if !whole {
		limit = part.BaseOffset()
	}
	st, from, err := l.newestSnapshotLocked(limit)
	if err != nil {
		return err
	}
	l.mu.producers.restore(st, l.forgottenLocked(st))
	return l.replayProducers(segs, from, point, func(b record.Batch, ended completed) error {
		if whole || !ended.abort || ended.last < part.BaseOffset() {
			return nil
		}
		return part.AddAborted(ended.aborted())
	})
}

// loadProducers brings the producer state up to end from the newest snapshot at or below limit.
func (l *Log) loadProducers(segs []*segment.Segment, limit, end int64) error {
	st, from, err := l.newestSnapshotLocked(limit)
	if err != nil {
		return err
	}
	l.mu.producers.restore(st, l.forgottenLocked(st))
	return l.replayProducers(segs, from, end, nil)
}

// newestSnapshotLocked reads the newest whole snapshot at or below limit; if none is whole the newest sound one, and if there is none at all the empty state at
// offset 0. Damaged ones are removed.
func (l *Log) newestSnapshotLocked(limit int64) (best snapshotState, at int64, err error) {
	found := false
	for _, o := range slices.Backward(slices.Clone(l.mu.snapshots)) {
		if o > limit {
			continue
		}
		st, bad, err := readSnapshot(l.fs, l.dir, o)
		if err != nil {
			return snapshotState{}, 0, err
		}
		if bad != nil {
			l.logger.Warn("producer snapshot is damaged and removed", "dir", l.dir, "offset", o, "err", bad)
			if err := removeSnapshots(l.fs, l.dir, []int64{o}, snapshotSuffix, producersSuffix); err != nil {
				return snapshotState{}, 0, err
			}
			l.mu.snapshots = slices.DeleteFunc(l.mu.snapshots, func(s int64) bool { return s == o })
			continue
		}
		if st.whole {
			return st, o, nil
		}
		if !found {
			best, at, found = st, o, true
		}
	}
	return best, at, nil
}

// markerBytes bounds what is read of a control batch: a marker has 78.
const markerBytes = 4 << 10

// replayProducers takes the batches in [from, end) into the producer state, by their headers.
func (l *Log) replayProducers(segs []*segment.Segment, from, end int64, ended func(b record.Batch, c completed) error) error {
	return replayInto(l.mu.producers, segs, from, end, ended)
}

// standaloneKey names a log on its own in its checkpoints.
func standaloneKey(dir string) partitionKey {
	name := path.Base(dir)
	if k, ok := parsePartitionKey(name); ok {
		return k
	}
	return partitionKey{topic: strings.Map(func(r rune) rune {
		if r <= ' ' {
			return '_'
		}
		return r
	}, name)}
}
