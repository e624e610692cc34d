package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/log/record"
)

// Damage is a part of a segment that is not what was written: the bytes [Position, Position+Bytes) of the .log file, where the batches of the offsets [From, To) should be. The batches in front of it
// and behind it are whole. With From equal to To no batch is missing: there are bytes too many.
type Damage struct {
	From, To        int64
	Position, Bytes int64
	Reason          error
}

// VerifyOptions go with Verify.
type VerifyOptions struct {
	// Epoch tells the leader epoch of the batch at an offset, as far as it is known from elsewhere: a batch's own, its base offset and its length are not under its CRC.
	Epoch func(offset int64) (epoch int32, ok bool)
	// Gapless says that every offset belongs to a batch: the segment was never compacted.
	Gapless bool
	// Pace is called with how many bytes are about to be read. It may wait; its error ends the walk. Nil: as fast as the disk goes.
	Pace func(bytes int) error
}

// Verified is what a walk through a whole segment found.
type Verified struct {
	Damage  []Damage
	Size    int64
	Hash    uint64 // xxhash64 of the .log file; 0 with damage
	Batches int64
	Markers int64 // of them control batches

	// What is wrong with the files that follow from the log, nil if nothing is.
	OffsetIndex, TimeIndex error
}

// Verify reads every batch of the segment that is published now and checks it: its CRC, that offsets go on where the batch in front ended, its leader epoch; and of a sealed segment that its indexes say what
// the batches say. What cannot be read counts as damaged. The caller holds a reference. Safe for concurrent use; a truncation beside it makes the result worthless.
//
// Errors: *StorageError when a file cannot be opened; that of Pace. Damage is no error.
func (s *Segment) Verify(o VerifyOptions) (Verified, error) {
	f, err := s.pin()
	if err != nil {
		return Verified{}, err
	}
	defer f.unpin()
	sealed := s.Sealed()
	latest := s.tail.Load().latest()
	size := latest.pos
	if sealed {
		if size, err = f.Size(); err != nil {
			return Verified{}, storage("stat", s.path, err)
		}
	}
	v := verifier{s: s, o: o, sealed: sealed, end: latest.offset, sc: &scan{buf: make([]byte, max(record.HeaderSize, min(size, batchScanBytes)))}, hash: xxhash.New()}
	v.sc.reset(f, s.base, 0, size, s.base)
	if err := v.loadIndexes(); err != nil {
		return Verified{}, err
	}
	if err := v.walk(); err != nil {
		return Verified{}, err
	}
	v.endIndexes()
	v.found.Size = size
	if len(v.found.Damage) == 0 {
		v.found.Hash = v.hash.Sum64()
	}
	return v.found, nil
}

// verifier is one Verify.
type verifier struct {
	s      *Segment
	o      VerifyOptions
	sealed bool
	end    int64 // offset where the batches end
	sc     *scan
	hash   *xxhash.Digest
	found  Verified

	lastPos, lastBase int64 // of the batch in front, whose own base offset may be what is wrong; -1 without one

	offsets  []byte // entries of the offset index not met yet
	times    []byte // of the time index
	largest  int64  // timestamp so far
	lastTime int64  // that of the time index's last entry
}

// walk goes from batch to batch, and over what is none.
func (v *verifier) walk() error {
	sc := v.sc
	v.lastPos, v.lastBase, v.largest = -1, -1, -1
	for {
		pos, expect := sc.pos, sc.expect
		if expect >= v.end && pos < sc.end && v.sealed {
			v.add(Damage{From: v.end, To: v.end, Position: pos, Bytes: sc.end - pos, Reason: errBytesBehindEnd})
			return nil
		}
		h, size, err := sc.next()
		if errors.Is(err, errEnd) {
			if expect < v.end {
				v.add(Damage{From: expect, To: v.end, Position: pos, Reason: errMissing})
			}
			return nil
		}
		if err == nil {
			if err := v.pace(size); err != nil {
				return err
			}
			var b record.Batch
			if b, err = sc.check(size); err == nil {
				h = b
				err = v.judge(h, expect)
			}
		}
		if err == nil {
			if err = v.take(h, pos, size, expect); err == nil {
				continue
			}
		}
		if !isBadBatch(err) {
			// Where a disk gives no bytes there is no telling where the next batch begins.
			v.add(Damage{From: expect, To: v.end, Position: pos, Bytes: sc.end - pos, Reason: storage("read", v.s.path, err)})
			return nil
		}
		if err := v.skip(pos, expect, size, err); err != nil {
			return err
		}
	}
}

func (v *verifier) pace(size int64) error {
	if v.o.Pace == nil {
		return nil
	}
	return v.o.Pace(int(size))
}

// judge looks at what is not under the CRC.
func (v *verifier) judge(h record.Batch, expect int64) error {
	switch {
	case v.o.Gapless && h.BaseOffset() != expect:
		return &badBatch{fmt.Sprintf("base offset %d, expected %d", h.BaseOffset(), expect)}
	case h.NextOffset() > v.end:
		return &badBatch{fmt.Sprintf("offsets [%d, %d) behind the end %d", h.BaseOffset(), h.NextOffset(), v.end)}
	}
	if v.o.Epoch == nil {
		return nil
	}
	if epoch, ok := v.o.Epoch(h.BaseOffset()); ok && epoch != h.LeaderEpoch() && h.LeaderEpoch() != -1 {
		return &badBatch{fmt.Sprintf("leader epoch %d at offset %d, which is of epoch %d", h.LeaderEpoch(), h.BaseOffset(), epoch)}
	}
	return nil
}

// take counts a good batch. h is the whole batch, or its header if it is large.
func (v *verifier) take(h record.Batch, pos, size, expect int64) error {
	v.lastPos, v.lastBase = pos, expect
	v.found.Batches++
	if h.Control() {
		v.found.Markers++
	}
	if err := v.matchIndexes(h, pos); err != nil {
		v.found.OffsetIndex = err
	}
	if int64(len(h)) == size {
		v.hash.Write(h)
		return nil
	}
	for at := pos; at < pos+size; {
		n := int(min(int64(len(v.sc.buf)), pos+size-at))
		b, err := v.sc.peek(at, n)
		if err != nil {
			return err
		}
		v.hash.Write(b)
		at += int64(n)
	}
	return nil
}

// skip looks for the next good batch behind a bad one at pos, and notes what lies in between as damaged.
func (v *verifier) skip(pos, expect, size int64, why error) error {
	sc := v.sc
	if size > 0 { // a header that may be right in front of records that are not
		if v.resume(pos, expect, pos+size, why) {
			return nil
		}
	}
	if v.lastPos >= 0 && v.lastBase < expect {
		// A batch whose base offset has become larger hides the one behind it.
		if v.goodAt(pos, v.lastBase+1) {
			from, at := v.lastBase, v.lastPos
			h, err := sc.peek(pos, record.HeaderSize)
			if err != nil {
				return storage("read", v.s.path, err)
			}
			to := record.Batch(h).BaseOffset()
			v.add(Damage{From: from, To: to, Position: at, Bytes: pos - at, Reason: fmt.Errorf("offsets up to %d, the next batch begins at %d", expect, to)})
			sc.pos, sc.expect = pos, to
			v.lastPos, v.found.Batches = -1, v.found.Batches-1
			return nil
		}
	}
	paced := int64(0)
	for q := pos + 1; q+record.HeaderSize <= sc.end; q++ {
		if paced++; paced%batchScanBytes == 0 {
			if err := v.pace(batchScanBytes); err != nil {
				return err
			}
		}
		if v.resume(pos, expect, q, why) {
			return nil
		}
	}
	v.add(Damage{From: expect, To: v.end, Position: pos, Bytes: sc.end - pos, Reason: why})
	sc.pos, sc.expect = sc.end, v.end
	return nil
}

// resume goes on at q if there is a good batch, or the end.
func (v *verifier) resume(pos, expect, q int64, why error) bool {
	if q == v.sc.end {
		v.add(Damage{From: expect, To: v.end, Position: pos, Bytes: q - pos, Reason: why})
		v.sc.pos, v.sc.expect = q, v.end
		return true
	}
	if !v.goodAt(q, expect) {
		return false
	}
	h, err := v.sc.peek(q, record.HeaderSize)
	if err != nil {
		return false
	}
	to := record.Batch(h).BaseOffset()
	v.add(Damage{From: expect, To: to, Position: pos, Bytes: q - pos, Reason: why})
	v.sc.pos, v.sc.expect = q, to
	v.lastPos = -1
	return true
}

// goodAt tells whether a whole batch of an offset at or above expect begins at q. The scan does not move.
func (v *verifier) goodAt(q, expect int64) bool {
	sc := v.sc
	if q+record.HeaderSize > sc.end {
		return false
	}
	b, err := sc.peek(q, record.HeaderSize)
	if err != nil {
		return false // what cannot be read is not good
	}
	if h := record.Batch(b); h.Magic() != 2 || h.BaseOffset() < expect || h.BaseOffset() >= v.end {
		return false
	}
	pos, was := sc.pos, sc.expect
	defer func() { sc.pos, sc.expect = pos, was }()
	sc.pos, sc.expect = q, expect
	h, size, err := sc.next()
	if err == nil {
		base := h.BaseOffset()
		if h, err = sc.check(size); err == nil {
			err = v.judge(h, base)
		}
	}
	return err == nil
}

// add notes damage; neighbours become one.
func (v *verifier) add(d Damage) {
	if n := len(v.found.Damage); n > 0 {
		if p := &v.found.Damage[n-1]; p.To == d.From && p.Position+p.Bytes == d.Position {
			p.To, p.Bytes = d.To, p.Bytes+d.Bytes
			return
		}
	}
	v.found.Damage = append(v.found.Damage, d)
}

var errBytesBehindEnd = errors.New("bytes behind the end of the segment")

// loadIndexes reads the index files of a sealed segment as they are on disk.
func (v *verifier) loadIndexes() error {
	s := v.s
	if !v.sealed {
		return nil
	}
	read := func(x *indexFile, bad *error) ([]byte, error) {
		b, err := readFile(x.fs, x.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case err != nil:
			return nil, storage("read", x.path, err)
		}
		if len(b)%x.entrySize != 0 {
			*bad = fmt.Errorf("%d bytes are no multiple of %d", len(b), x.entrySize)
		}
		return b[:len(b)/x.entrySize*x.entrySize], nil
	}
	var err error
	if v.offsets, err = read(&s.offsets.indexFile, &v.found.OffsetIndex); err != nil {
		return err
	}
	if len(v.offsets) == 0 && s.SizeBytes() > 16*int64(s.cfg.IndexIntervalBytes) {
		v.found.OffsetIndex = errNoEntries
	}
	v.lastTime = -1
	if v.times, err = read(&s.times.indexFile, &v.found.TimeIndex); err == nil && len(v.times) > 0 {
		v.lastTime = getTimeEntry(v.times[len(v.times)-timeEntrySize:]).ts
	}
	return err
}

var errNoEntries = errors.New("no entries")

// matchIndexes compares a batch with the next entries of both indexes.
func (v *verifier) matchIndexes(h record.Batch, pos int64) error {
	if !v.sealed {
		return nil
	}
	last := h.LastOffset() - v.s.base
	fresh := h.MaxTimestamp() > v.largest
	v.largest = max(v.largest, h.MaxTimestamp())
	for len(v.times) > 0 {
		e := getTimeEntry(v.times)
		if int64(e.rel) > last {
			break
		}
		if int64(e.rel) < last || !fresh || e.ts != h.MaxTimestamp() {
			v.found.TimeIndex = fmt.Errorf("entry %d for offset %d, whose batch has timestamp %d", e.ts, v.s.base+int64(e.rel), h.MaxTimestamp())
			v.times = nil
			break
		}
		v.times = v.times[timeEntrySize:]
	}
	if len(v.offsets) == 0 {
		return v.found.OffsetIndex
	}
	e := getOffsetEntry(v.offsets)
	if int64(e.pos) > pos {
		return v.found.OffsetIndex
	}
	v.offsets = v.offsets[offsetEntrySize:]
	if int64(e.pos) < pos || int64(e.rel) != last {
		v.offsets = nil
		return fmt.Errorf("entry (%d, %d), the batch at %d ends at offset %d", v.s.base+int64(e.rel), e.pos, pos, h.LastOffset())
	}
	return v.found.OffsetIndex
}

// endIndexes judges what is left of the indexes: nothing may be, and the time index has to end with the largest timestamp.
func (v *verifier) endIndexes() {
	if !v.sealed || len(v.found.Damage) > 0 {
		return
	}
	if len(v.offsets) > 0 && v.found.OffsetIndex == nil {
		v.found.OffsetIndex = fmt.Errorf("%d bytes of entries for no batch", len(v.offsets))
	}
	if len(v.times) > 0 && v.found.TimeIndex == nil {
		v.found.TimeIndex = fmt.Errorf("%d bytes of entries for no batch", len(v.times))
	}
	if v.found.TimeIndex != nil || v.largest < 0 {
		return
	}
	if v.lastTime != v.largest {
		v.found.TimeIndex = fmt.Errorf("it ends with timestamp %d, the largest is %d", v.lastTime, v.largest)
	}
}

// ReadAborted reads the transaction index of a sealed segment as it is on disk. Errors: *CorruptError, *StorageError.
func (s *Segment) ReadAborted() ([]AbortedTxn, error) {
	b, err := readFile(s.txns.fs, s.txns.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, storage("read", s.txns.path, err)
	}
	list, err := parseTxnIndex(b, s.base, s.EndOffset())
	if err != nil {
		return nil, &CorruptError{Path: s.txns.path, Offset: s.base, Err: err}
	}
	return list, nil
}

// FileSize is the size of the .log file of a sealed segment, whatever it should be. The caller holds a reference.
func (s *Segment) FileSize() (int64, error) {
	f, err := s.pin()
	if err != nil {
		return 0, err
	}
	defer f.unpin()
	size, err := f.Size()
	return size, storage("stat", s.path, err)
}
