package log

import (
	"errors"
	"math"
	"slices"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// settleSeals deals with the seals that are no proof: of the active segment, and of those that recovery goes through, which may have been cut before the power went. A seal without a segment shows that one
// is missing, if the recovery point and the log start say that it ought to be there: then it gets an empty file, and its offsets are damaged.
func (l *Log) settleSeals(f *found, point, start int64) error {
	slices.Sort(f.seals)
	for _, base := range f.seals {
		i, there := slices.BinarySearch(f.bases, base)
		if there && i < len(f.bases)-1 && (l.clean || nextBase(f.bases, i) <= point) {
			continue
		}
		name := l.dir + "/" + segment.FileName(base, segment.SealSuffix)
		if !there && l.mu.config.KeepDamaged && base >= start && base < point && i < len(f.bases) {
			seal, ok, bad, err := segment.ReadSealFile(l.fs, l.dir, base)
			if err != nil {
				return err
			}
			if ok && bad == nil && seal.Next <= f.bases[i] {
				if err := l.standIn(f, i, seal); err != nil {
					return err
				}
				continue
			}
		}
		if err := l.fs.Remove(name); err != nil {
			return storage("remove", name, err)
		}
	}
	return nil
}

// standIn makes an empty file for a segment whose own is missing.
func (l *Log) standIn(f *found, i int, seal segment.SealFile) error {
	name := l.dir + "/" + segment.FileName(seal.Base, segment.LogSuffix)
	h, err := l.fs.Open(name, vfs.Create)
	if err != nil {
		return storage("create", name, err)
	}
	if err := h.Close(); err != nil {
		return storage("close", name, err)
	}
	f.bases = slices.Insert(f.bases, i, seal.Base)
	f.sizes[seal.Base] = 0
	l.home.lost.Store(true)
	l.setDamage(seal.Base, f.bases[i+1], []Damage{{From: seal.Base, To: f.bases[i+1], Path: name, Reason: errNoFile}})
	return nil
}

var errNoFile = errors.New("the segment's file is missing")

// openDamaged opens a log that loadClean or recover have found damaged. After a clean stop recovery may mend it, if it is only what follows from the log. Else, if that is wanted, the segment with the damage
// is kept as it is, as a rolled one that ends at the recovery point, and a new active one begins there: what lies behind that point and was not proved to be synced counts as lost.
func (l *Log) openDamaged(f found, point, start int64, why error) error {
	l.dropAll()
	if l.clean {
		err := l.recover(f, point, start)
		if _, damaged := errors.AsType[*CorruptError](err); !damaged {
			return err
		}
		l.dropAll()
	}
	point, err := l.provenPoint(point)
	if err != nil {
		return err
	}
	if !l.mu.config.KeepDamaged || point <= f.bases[0] {
		return why
	}
	l.home.lost.Store(true)
	l.logger.Warn("log is damaged below its recovery point", "dir", l.dir, "recovery_point", point, "err", why)
	last, found := slices.BinarySearch(f.bases, point)
	segs := l.openSealed(f, last)
	if last == len(f.bases) || !found {
		// The last one that is kept ends at the point, and not where another begins.
		segs[last-1].Release()
		base := f.bases[last-1]
		segs[last-1] = segment.OpenSealed(l.segmentConfigLocked(), base, f.sizes[base], point)
	}
	if err := l.removeBehind(f, last); err != nil {
		return err
	}
	l.segments.Store(&segs)
	for _, s := range segs[max(0, len(segs)-2):] { // those that recovery looked at
		v, err := s.Verify(segment.VerifyOptions{Gapless: l.gapless()})
		if err != nil {
			return err
		}
		l.setDamage(s.BaseOffset(), s.EndOffset(), segmentDamage(s, v.Damage))
	}
	a, err := segment.Create(l.segmentConfigLocked(), point)
	if err != nil {
		return err
	}
	segs = append(segs, a)
	l.segments.Store(&segs)
	l.namesMadeLocked()
	l.mu.changed = true
	l.epochs.truncateEnd(point)
	i, _ := slices.BinarySearch(l.mu.snapshots, point+1)
	if err := removeSnapshots(l.fs, l.dir, l.mu.snapshots[i:], snapshotSuffix, producersSuffix); err != nil {
		return err
	}
	l.mu.snapshots = l.mu.snapshots[:i:i]
	if err := l.loadProducers(segs, point, point); err != nil {
		if _, damaged := errors.AsType[*CorruptError](err); !damaged {
			return err
		}
		l.mu.producers.restore(snapshotState{}, math.MaxInt64)
		l.repairs.derived.Store(true)
	}
	return syncDir(l.fs, l.dir)
}

// dropAll lets go of the segments of an attempt to open the log.
func (l *Log) dropAll() {
	if segs := l.segments.Load(); segs != nil {
		for _, s := range *segs {
			s.Release()
		}
		l.segments.Store(nil)
	}
}

// reidentify writes partition.metadata of a directory anew that has lost it to damage. The name says which topic it is of, but not which incarnation; seals do. Without any, what follows if it was an earlier
// one is what follows if a replica has a past that nobody else has: it is lossy, and truncates to what its leader has.
func (d *Directory) reidentify(k partitionKey, id TopicID) error {
	dir := d.dirOf(k)
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return storage("list", dir, err)
	}
	for _, e := range entries {
		base, suffix, ok := segment.ParseFileName(e.Name())
		if !ok || suffix != segment.SealSuffix {
			continue
		}
		f, ok, bad, err := segment.ReadSealFile(d.fs, dir, base)
		if err != nil {
			return err
		}
		if ok && bad == nil && f.TopicID != id {
			return &TopicIDError{Path: dir, Stored: f.TopicID, Want: id}
		}
	}
	d.home.lost.Store(true)
	d.home.logger.Warn("topic id is written anew: the file was damaged", "dir", dir, "id", id)
	return replaceSmallFile(d.fs, dir+"/"+metadataFile, encodeMetadata(id))
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
