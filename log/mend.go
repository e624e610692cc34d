package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// GoodCopy returns batches of another replica, verbatim: from the one that holds offset on, or the first behind it, whole batches of about so many bytes; none at or above end have to be among them.
// Nothing at all says that there are none.
type GoodCopy func(offset, end int64, bytes int) ([]byte, error)

// mendBytes is how much is asked for at a time, and copied.
const mendBytes = 1 << 20

// Mend puts the bytes of another replica in the place of those that are damaged, in every segment with damage: it builds the segment anew, from what is good here and what read returns, and puts it in the
// place of the old one, durably. The result is held against CRCs, offsets, the log's leader epochs, and the seal. An active segment is rolled first. Safe for concurrent use; appends and reads go on.
//
// Errors: that of read; *CopyError, with the log as it was; ErrClosed; *StorageError, with the log read-only if the old segment was already on its way out.
func (l *Log) Mend(read GoodCopy) error {
	for {
		list := l.Damage()
		if len(list) == 0 {
			break
		}
		if list[0].suspect {
			if _, err := l.ScrubAt(list[0].From, Scrubber{}); err != nil {
				return err
			}
			continue
		}
		s, err := l.settledSegment(list[0].From)
		if err != nil {
			return err
		}
		if s == nil {
			l.setDamage(list[0].From, list[0].To, nil) // it was cut off, or given up
			continue
		}
		end := s.EndOffset()
		list = slices.DeleteFunc(list, func(d Damage) bool { return d.From >= end && d.To > d.From || d.From > end || d.suspect })
		err = l.rebuild(s, list, read)
		if e, ok := errors.AsType[*StorageError](err); ok && e.Op == "read" {
			// The disk does not give what is around the damage either.
			size, sizeErr := s.FileSize()
			whole := Damage{From: s.BaseOffset(), To: end, Path: s.Path(), Bytes: size, Reason: err}
			if sizeErr == nil && !(len(list) == 1 && list[0].From <= whole.From && list[0].To >= end) {
				l.setDamage(whole.From, end, []Damage{whole})
				continue
			}
		}
		if err != nil {
			return err
		}
	}
	var r Scrubbed
	return l.scrubDerived(&r)
}

// CopyError says that what another replica sent cannot take the place of damaged bytes.
type CopyError struct {
	Offset int64
	Reason string
}

func (e *CopyError) Error() string {
	return fmt.Sprintf("log: copy at offset %d: %s", e.Offset, e.Reason)
}

// settledSegment returns the segment that holds an offset, sealed and synced; nil if the log has none.
func (l *Log) settledSegment(offset int64) (*segment.Segment, error) {
	l.flush.acquire()
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return nil, err
	}
	segs := *l.segments.Load()
	i := floorSegment(segs, offset)
	if offset < segs[0].BaseOffset() || offset >= segs[i].EndOffset() && !segs[i].Sealed() {
		return nil, nil
	}
	l.mu.Lock()
	var err error
	if i == len(segs)-1 && segs[i] == l.active() {
		err = l.rollLocked(max(l.offsets.end.Load(), segs[i].EndOffset()))
	}
	l.mu.Unlock()
	if err == nil {
		err = l.syncNow()
	}
	return segs[i], l.refuseSync(err)
}

// rebuild puts a segment in the place of s that has the same batches, but for those of the damaged ranges, which read returns, and indexes that follow from them.
func (l *Log) rebuild(s *segment.Segment, damage []Damage, read GoodCopy) error {
	l.compacting.acquire()
	defer l.compacting.release()
	if l.ending.Load() {
		return ErrClosed
	}
	cuts := l.cuts.Load()
	if !l.has(s) || !s.Acquire() {
		return nil
	}
	defer s.Release()
	if err := l.ensureFile(s); err != nil {
		return err
	}
	built, err := l.createReplacement(s.BaseOffset())
	if err != nil {
		return err
	}
	m := mending{l: l, s: s, built: built, hash: xxhash.New()}
	if m.producers, _, err = l.producersAt(s.BaseOffset()); err == nil {
		err = m.fill(damage, read)
	}
	if err == nil {
		err = m.againstSeal()
	}
	if err != nil {
		return errors.Join(err, l.discardReplacement(built))
	}
	if err := l.replaceSegments([]*segment.Segment{s}, built, cuts); err != nil {
		if errors.Is(err, errSegmentsChanged) {
			return l.usable() // whoever changed them has dealt with the damage, or the next scrub finds it
		}
		return err
	}
	l.setDamage(s.BaseOffset(), s.EndOffset(), nil)
	return l.sealRebuilt(s.BaseOffset(), cuts)
}

// sealRebuilt reads the segment that has been put in its place once more, and seals it.
func (l *Log) sealRebuilt(base, cuts int64) error {
	segs := *l.segments.Load()
	s := segs[floorSegment(segs, base)]
	if s.BaseOffset() != base || !s.Acquire() {
		return nil
	}
	defer s.Release()
	v, err := s.Verify(segment.VerifyOptions{Epoch: l.EpochAt, Gapless: l.gapless()})
	if err != nil {
		return err
	}
	if len(v.Damage) > 0 {
		l.setDamage(base, s.EndOffset(), segmentDamage(s, v.Damage))
		return &StorageError{Path: s.Path(), Op: "read", Err: v.Damage[0].Reason} // the disk does not keep what it is given
	}
	f := segment.SealFile{TopicID: l.repairs.id, Partition: l.key.partition, Base: base, Next: s.EndOffset(), Batches: v.Batches, Log: segment.FileSum{Size: v.Size, Hash: v.Hash}}
	if err := s.SumIndexes(&f); err != nil {
		return err
	}
	return l.writeSeal(s, f, cuts)
}

// ensureFile sees to it that a segment whose file has gone has one: it is to be replaced as any other.
func (l *Log) ensureFile(s *segment.Segment) error {
	if _, err := l.fs.Stat(s.Path()); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := l.fs.Open(s.Path(), vfs.Create)
	if err != nil {
		return storage("create", s.Path(), err)
	}
	return storage("close", s.Path(), f.Close())
}

// mending is one segment that is being built anew.
type mending struct {
	l         *Log
	s, built  *segment.Segment
	hash      *xxhash.Digest
	producers *producerState // in front of the next batch
	fetched   bool
	buf       []byte
}

func (m *mending) fill(damage []Damage, read GoodCopy) error {
	pos := int64(0)
	for _, d := range damage {
		if err := m.copy(pos, d.Position); err != nil {
			return err
		}
		if err := m.fetch(d, read); err != nil {
			return err
		}
		pos = d.Position + d.Bytes
	}
	size, err := m.s.FileSize()
	if err != nil {
		return err
	}
	if err := m.copy(pos, size); err != nil {
		return err
	}
	if m.built.EndOffset() != m.s.EndOffset() {
		return &CopyError{Offset: m.built.EndOffset(), Reason: fmt.Sprintf("it ends there, the segment at %d", m.s.EndOffset())}
	}
	return nil
}

// copy takes over the batches in the positions [from, to) of the old segment.
func (m *mending) copy(from, to int64) error {
	want := int64(mendBytes)
	for from < to {
		n := min(want, to-from)
		if int64(cap(m.buf)) < n {
			m.buf = make([]byte, n)
		}
		b := m.buf[:n]
		if err := m.s.ReadAt(b, from); err != nil {
			return err
		}
		whole, err := wholeBatches(b)
		if err != nil {
			return &CorruptError{Path: m.s.Path(), Position: from, Offset: m.built.EndOffset(), Err: err}
		}
		if len(whole) == 0 {
			if n == to-from {
				return &CorruptError{Path: m.s.Path(), Position: from, Offset: m.built.EndOffset(), Err: record.ErrPartial}
			}
			want *= 2
			continue
		}
		if err := m.append(whole); err != nil {
			return err
		}
		from += int64(len(whole))
	}
	return nil
}

// wholeBatches is as much of b as is whole batches.
func wholeBatches(b []byte) ([]byte, error) {
	rest := b
	for len(rest) > 0 {
		_, next, err := record.Split(rest)
		if errors.Is(err, record.ErrPartial) {
			break
		}
		if err != nil {
			return nil, err
		}
		rest = next
	}
	return b[:len(b)-len(rest)], nil
}

// fetch takes the batches of a damaged range from another replica.
func (m *mending) fetch(d Damage, read GoodCopy) error {
	for offset := d.From; offset < d.To; {
		if read == nil {
			return &DamagedError{d}
		}
		data, err := read(offset, d.To, mendBytes)
		if err != nil {
			return err
		}
		if data, err = wholeBatches(data); err != nil {
			return err
		}
		data, next, err := m.admit(data, offset, d.To)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			break // nothing there but offsets without batches
		}
		m.fetched = true
		if err := m.append(data); err != nil {
			return err
		}
		offset = next
	}
	return nil
}

// admit checks what another replica sent for the offsets [offset, end), and returns as much of it as is of these.
func (m *mending) admit(data []byte, offset, end int64) (good []byte, next int64, err error) {
	next = offset
	for rest := data; len(rest) > 0; {
		b, after, err := record.Split(rest)
		if err != nil {
			return nil, 0, err
		}
		if b.BaseOffset() >= end {
			return data[:len(data)-len(rest)], next, nil
		}
		switch err := b.CheckCRC(); {
		case err != nil:
			return nil, 0, &CopyError{Offset: b.BaseOffset(), Reason: err.Error()}
		case b.BaseOffset() < next || b.NextOffset() > end:
			return nil, 0, &CopyError{Offset: b.BaseOffset(), Reason: fmt.Sprintf("batch of [%d, %d) for [%d, %d)", b.BaseOffset(), b.NextOffset(), next, end)}
		}
		if err := m.l.judge(b, next, false); err != nil {
			return nil, 0, &CopyError{Offset: b.BaseOffset(), Reason: err.Error()}
		}
		if b.BaseOffset() > next {
			m.l.repairs.gaps.Store(true) // the original has them, too
		}
		next, rest = b.NextOffset(), after
	}
	return data, next, nil
}

// append adds batches to the new segment, with what follows from them.
func (m *mending) append(data []byte) error {
	if err := m.built.AppendRun(data, segment.Ahead{}); err != nil {
		return err
	}
	m.hash.Write(data)
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			return err
		}
		if err := b.CheckCRC(); err != nil {
			return err
		}
		if b.ProducerID() >= 0 {
			if ended, ok := m.producers.update(b); ok && ended.abort {
				if err := m.built.AddAborted(ended.aborted()); err != nil {
					return err
				}
			}
		}
		data = rest
	}
	return nil
}

// againstSeal compares the new segment with the seal of the old one. Copies of a compacted log need not be the same byte for byte.
func (m *mending) againstSeal() error {
	f, ok, bad, err := segment.ReadSealFile(m.l.fs, m.l.dir, m.s.BaseOffset())
	if err != nil || !ok || bad != nil || m.fetched && !m.l.gapless() {
		return err
	}
	if f.TopicID != m.l.repairs.id || f.Next != m.s.EndOffset() || f.Log.Size != m.built.SizeBytes() || f.Log.Hash != m.hash.Sum64() {
		return &CopyError{Offset: m.s.BaseOffset(), Reason: "not what was sealed"}
	}
	return nil
}
