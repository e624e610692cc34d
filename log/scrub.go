package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// Scrubber says how a scrub reads. The zero value reads as fast as the disk goes.
type Scrubber struct {
	// Pace is called with how many bytes are about to be read. It may wait; no lock is held. Its error ends the scrub.
	Pace func(bytes int) error
}

// Scrubbed is what a scrub found and did.
type Scrubbed struct {
	Segments int
	Bytes    int64
	Damage   []Damage // of this log, as it stands now
	Sealed   int      // segments that got a seal
	Rebuilt  []string // files that follow from others, were damaged, and have been made anew
}

// Scrub reads the whole log and checks it: every batch's CRC, that offsets and leader epochs go on, each rolled segment against its seal, indexes against the batches; and the files that follow from the
// log, which are made anew where they are damaged. Rolled segments without a seal get one. Damaged ranges are marked, see Damage. It may take long; appends, reads and everything else go on beside it.
//
// Errors: ErrClosed; what Pace returned; *StorageError of a file that cannot be opened or written. Damage is no error.
func (l *Log) Scrub(c Scrubber) (Scrubbed, error) {
	var r Scrubbed
	for base := int64(-1); ; {
		s := l.segmentAfter(base)
		if s == nil {
			break
		}
		if err := l.scrubSegment(s, c, &r); err != nil {
			return r, err
		}
		base = s.BaseOffset()
	}
	err := l.scrubDerived(&r)
	r.Damage = l.Damage()
	return r, err
}

// ScrubAt is Scrub of the one segment that holds an offset.
func (l *Log) ScrubAt(offset int64, c Scrubber) (Scrubbed, error) {
	var r Scrubbed
	segs := *l.segments.Load()
	err := l.scrubSegment(segs[floorSegment(segs, offset)], c, &r)
	r.Damage = l.Damage()
	return r, err
}

// segmentAfter returns the first segment that begins above base.
func (l *Log) segmentAfter(base int64) *segment.Segment {
	for _, s := range *l.segments.Load() {
		if s.BaseOffset() > base {
			return s
		}
	}
	return nil
}

func (l *Log) scrubSegment(s *segment.Segment, c Scrubber, r *Scrubbed) error {
	if err := l.usable(); err != nil {
		return err
	}
	if !s.Acquire() {
		return nil // it went meanwhile
	}
	defer s.Release()
	cuts := l.cuts.Load()
	// A segment that nobody has synced yet may be sealed in the middle of this.
	settled := s.Sealed() && s.EndOffset() <= l.offsets.synced.Load()
	v, err := s.Verify(segment.VerifyOptions{Epoch: l.EpochAt, Gapless: l.gapless(), Pace: c.Pace})
	if err != nil {
		return err
	}
	if l.cuts.Load() != cuts || !l.has(s) {
		return nil
	}
	r.Segments++
	r.Bytes += v.Size
	damage := segmentDamage(s, v.Damage)
	var seal segment.SealFile
	var sealed bool
	if settled {
		var bad error
		if seal, sealed, bad, err = segment.ReadSealFile(l.fs, l.dir, s.BaseOffset()); err != nil {
			return err
		}
		if bad != nil {
			l.logger.Warn("seal is damaged and made anew", "dir", l.dir, "base", s.BaseOffset(), "err", bad)
			r.Rebuilt = append(r.Rebuilt, l.dir+"/"+segment.FileName(s.BaseOffset(), segment.SealSuffix))
			sealed = false
		}
	}
	if sealed && len(damage) == 0 {
		if why := l.againstSeal(seal, s, v); why != nil {
			damage = []Damage{{From: s.BaseOffset(), To: s.EndOffset(), Path: s.Path(), Bytes: v.Size, Reason: why}}
		}
	}
	l.setDamage(s.BaseOffset(), s.EndOffset(), damage)
	if len(damage) > 0 {
		return nil
	}
	if _, err := l.fs.Stat(s.Path()); errors.Is(err, fs.ErrNotExist) && s.SizeBytes() > 0 {
		// It lives as long as it is open.
		l.logger.Warn("a segment's file has lost its name and is written anew", "path", s.Path())
		r.Rebuilt = append(r.Rebuilt, s.Path())
		if s, err = l.settledSegment(s.BaseOffset()); s == nil || err != nil {
			return err
		}
		return l.rebuild(s, nil, nil)
	}
	if !settled {
		return nil
	}
	return l.settleSegment(s, v, seal, sealed, cuts, r)
}

// has tells whether a segment is one of the log's.
func (l *Log) has(s *segment.Segment) bool { return slices.Contains(*l.segments.Load(), s) }

// againstSeal says what of a segment, whose batches are good, is not as the seal has it.
func (l *Log) againstSeal(f segment.SealFile, s *segment.Segment, v segment.Verified) error {
	switch {
	case f.TopicID != l.repairs.id || f.Partition != l.key.partition:
		return fmt.Errorf("the seal is of partition %d of topic %v", f.Partition, TopicID(f.TopicID))
	case f.Next != s.EndOffset() || f.Log.Size != v.Size:
		return fmt.Errorf("the seal is of %d bytes up to offset %d", f.Log.Size, f.Next)
	case f.Log.Hash != v.Hash:
		return errNotSealed
	}
	return nil
}

var errNotSealed = errors.New("the batches are whole, but not those that were sealed")

// settleSegment sees to it that a segment whose batches are good has good indexes, and a seal.
func (l *Log) settleSegment(s *segment.Segment, v segment.Verified, seal segment.SealFile, sealed bool, cuts int64, r *Scrubbed) error {
	now := segment.SealFile{TopicID: l.repairs.id, Partition: l.key.partition, Base: s.BaseOffset(), Next: s.EndOffset(), Batches: v.Batches, Log: segment.FileSum{Size: v.Size, Hash: v.Hash}}
	if err := s.SumIndexes(&now); err != nil {
		return err
	}
	bad := v.OffsetIndex
	if bad == nil {
		bad = v.TimeIndex
	}
	switch {
	case bad != nil:
	case sealed && now != seal:
		bad = errIndexesDiffer
	case !sealed:
		var err error
		if bad, err = l.checkAborted(s, v); err != nil {
			return err
		}
	}
	if bad == nil {
		if sealed {
			return nil
		}
		r.Sealed++
		return l.writeSeal(s, now, cuts)
	}
	l.logger.Warn("indexes are damaged and made anew", "path", s.Path(), "err", bad)
	r.Rebuilt = append(r.Rebuilt, s.Path())
	return l.rebuild(s, nil, nil)
}

var errIndexesDiffer = errors.New("not those that were sealed")

// writeSeal writes the seal of a segment, durably, unless the segment went meanwhile: the seal would be taken for that of the next one of its name.
func (l *Log) writeSeal(s *segment.Segment, f segment.SealFile, cuts int64) error {
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil || l.cuts.Load() != cuts || !l.has(s) {
		return err
	}
	// The disk may be full of what matters more, and a seal that is not written is written by the next scrub.
	return replaceSmallFile(l.fs, l.dir+"/"+segment.FileName(f.Base, segment.SealSuffix), f.Encode())
}

// checkAborted says what is wrong with the transaction index of a segment, by the markers in the log.
func (l *Log) checkAborted(s *segment.Segment, v segment.Verified) (bad, err error) {
	got, err := s.ReadAborted()
	if err != nil {
		if _, damaged := errors.AsType[*CorruptError](err); damaged {
			return err, nil
		}
		return nil, err
	}
	if v.Markers == 0 && len(got) == 0 {
		return nil, nil
	}
	want, err := l.abortedOf(s)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%d aborted transactions, the log has %d", len(got), len(want)), nil
	}
	return nil, nil
}

// abortedOf computes the transaction index of a segment from the log.
func (l *Log) abortedOf(s *segment.Segment) (list []segment.AbortedTxn, err error) {
	p, _, err := l.producersAt(s.BaseOffset())
	if err != nil {
		return nil, err
	}
	err = replayInto(p, []*segment.Segment{s}, s.BaseOffset(), s.EndOffset(), func(_ record.Batch, c completed) error {
		if c.abort {
			list = append(list, c.aborted())
		}
		return nil
	})
	return list, err
}

// producersAt makes the producer state at an offset anew, which is that of a segment's base: from the newest whole snapshot at or below, and the batches behind that.
// complete is false when there is none and the log does not begin at 0.
func (l *Log) producersAt(offset int64) (p *producerState, complete bool, err error) {
	l.mu.Lock()
	snapshots := slices.Clone(l.mu.snapshots)
	l.mu.Unlock()
	p = newProducerState()
	from := int64(0)
	for _, o := range slices.Backward(snapshots) {
		if o > offset {
			continue
		}
		st, bad, err := readSnapshot(l.fs, l.dir, o)
		if err == nil && bad == nil && st.whole {
			p.restore(st, 0)
			from, complete = o, true
			break
		}
	}
	segs := *l.segments.Load()
	complete = complete || segs[0].BaseOffset() == 0
	return p, complete, replayInto(p, segs, max(from, segs[0].BaseOffset()), offset, nil)
}

// replayInto takes the batches in [from, end) into a producer state, by their headers.
func replayInto(p *producerState, segs []*segment.Segment, from, end int64, ended func(b record.Batch, c completed) error) error {
	if len(segs) == 0 || from >= end {
		return nil
	}
	for _, s := range segs[floorSegment(segs, from):] {
		if s.BaseOffset() >= end {
			break
		}
		if !s.Acquire() {
			return segment.ErrDeleted
		}
		var failed error
		err := s.Headers(max(from, s.BaseOffset()), end, func(h record.Batch, pos, size int64) bool {
			if h.ProducerID() < 0 || h.NextOffset() <= from {
				return true
			}
			if h.Control() && size <= markerBytes {
				b := make([]byte, size)
				if failed = s.ReadAt(b, pos); failed != nil {
					return false
				}
				h = b
			}
			if c, ok := p.update(h); ok && ended != nil {
				failed = ended(h, c)
			}
			return failed == nil
		})
		s.Release()
		if err = errors.Join(err, failed); err != nil {
			return err
		}
	}
	return nil
}

// scrubDerived checks the small files that follow from the log against what is in memory, and writes them again where they differ.
func (l *Log) scrubDerived(r *Scrubbed) error {
	if len(l.Damage()) > 0 {
		return nil // what they say cannot be found out now
	}
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return err
	}
	if l.repairs.derived.Load() {
		l.mu.Lock()
		l.mu.snapshots = slices.Clone(l.mu.snapshots)
		err := l.reloadProducersLocked(l.offsets.load())
		l.mu.Unlock()
		if err != nil {
			return err
		}
		l.repairs.derived.Store(false)
	}
	if err := l.scrubEpochs(r); err != nil {
		return err
	}
	if err := l.scrubIdentity(r); err != nil {
		return err
	}
	return l.scrubSnapshots(r)
}

func (l *Log) scrubEpochs(r *Scrubbed) error {
	name := l.dir + "/" + epochsFile
	b, err := readSmallFile(l.fs, name)
	_, bad := parseEpochs(b)
	l.mu.Lock()
	same := l.epochs.dirty && err == nil && bad == nil || len(l.epochs.entries()) == 0 && err != nil || string(b) == string(l.epochs.encode())
	l.epochs.dirty = l.epochs.dirty || !same
	l.mu.Unlock()
	if same {
		return nil
	}
	l.logger.Warn("leader epochs are written anew: the checkpoint is damaged", "path", name)
	r.Rebuilt = append(r.Rebuilt, name)
	return l.refuseSync(l.syncNames())
}

func (l *Log) scrubIdentity(r *Scrubbed) error {
	id := l.repairs.id
	if id == (TopicID{}) {
		return nil
	}
	name := l.dir + "/" + metadataFile
	b, err := readSmallFile(l.fs, name)
	if err == nil {
		if got, bad := parseMetadata(b); bad == nil && got == id {
			return nil
		}
	}
	l.logger.Warn("topic id is written anew: the file is damaged", "path", name)
	r.Rebuilt = append(r.Rebuilt, name)
	return l.refuseSync(replaceSmallFile(l.fs, name, encodeMetadata(id)))
}

// scrubSnapshots makes the producer snapshots anew that are damaged.
func (l *Log) scrubSnapshots(r *Scrubbed) error {
	l.mu.Lock()
	snapshots := slices.Clone(l.mu.snapshots)
	l.mu.Unlock()
	for _, o := range snapshots {
		st, bad, err := readSnapshot(l.fs, l.dir, o)
		if err == nil && bad == nil && st.whole {
			continue
		}
		p, complete, err := l.producersAt(o)
		if err != nil {
			return err
		}
		if !complete && bad == nil {
			continue // Kafka's, perhaps: what it says is more than nothing
		}
		p.raiseHighWatermark(min(o, l.offsets.high.Load()))
		name := l.dir + "/" + segment.FileName(o, snapshotSuffix)
		l.logger.Warn("producer snapshot is damaged and made anew", "path", name, "err", bad)
		r.Rebuilt = append(r.Rebuilt, name)
		if err := l.refuseSync(l.writeSnapshots([]snapshotFiles{p.encode(o)})); err != nil {
			return err
		}
	}
	return nil
}
