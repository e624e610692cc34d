package segment

import (
	"math"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// unknownTimestamp stands for the first batch's timestamp while nobody has asked for it.
const unknownTimestamp = math.MinInt64

// assembleBytes is the size in bytes up to which a batch with a new head is assembled in memory of the segment and written from there: below
// it the copy costs less than a vectored write.
const assembleBytes = 16 << 10

// writer is what only the goroutine that changes a segment sees.
type writer struct {
	created time.Time

	size, end int64 // as published in the tail

	sinceEntry     int64 // bytes since the last entry of the offset index
	maxTimestamp   int64 // largest of all batches; -1 without
	maxOffset      int64 // last offset of the first batch that holds it
	firstTimestamp int64 // max timestamp of the first batch
	timeEntry      int64 // timestamp of the last entry of the time index; -1 without

	fileEnd   int64 // length of the file where blocks are written ahead; less than size means that nothing is
	blocksEnd int64 // up to where blocks are reserved; less than size means that none are

	scratch []byte
	vector  [2][]byte
}

func (w *writer) reset(base int64) {
	*w = writer{
		created: time.Now(), end: base, maxTimestamp: -1, maxOffset: -1, timeEntry: -1, firstTimestamp: unknownTimestamp,
		scratch: w.scratch,
	}
}

// Append writes one batch at the end and publishes it. If head is not empty it is written in place of the first len(head) bytes of b:
// that is how a batch gets its offset in the log while b stays as it is. b is not kept.
// After a *FullError everything is as it was. After another error the segment must not be written to: the file may hold part of the batch.
func (s *Segment) Append(head []byte, b record.Batch, ahead Ahead) error {
	at := b
	if len(head) > 0 {
		at = head
	}
	f, err := s.pin()
	if err != nil {
		return full(err)
	}
	defer f.unpin()
	if err := s.reserve(at[:record.HeaderSize], int64(len(b)), nil); err != nil {
		return err
	}
	if err := s.writeAhead(f, int64(len(b)), ahead); err != nil {
		return err
	}
	w := &s.w
	switch {
	case len(head) == 0:
		_, err = f.WriteAt(b, w.size)
	case len(b) <= assembleBytes:
		w.scratch = append(append(w.scratch[:0], head...), b[len(head):]...)
		_, err = f.WriteAt(w.scratch, w.size)
	default:
		w.vector = [2][]byte{head, b[len(head):]}
		_, err = f.WritevAt(w.vector[:], w.size)
		w.vector = [2][]byte{}
	}
	s.wrote()
	if err != nil {
		return s.undo(f, err)
	}
	return s.account(at[:record.HeaderSize], int64(len(b)))
}

// AppendRun writes whole batches, as they are, with one write, and publishes them. data is not kept. The rules of Append hold.
func (s *Segment) AppendRun(data []byte, ahead Ahead) error {
	f, err := s.pin()
	if err != nil {
		return full(err)
	}
	defer f.unpin()
	first, rest, err := record.Split(data)
	if err != nil {
		return s.corrupt(s.w.size, s.w.end, err)
	}
	if err := s.reserve(first, int64(len(first)), rest); err != nil {
		return err
	}
	if err := s.writeAhead(f, int64(len(data)), ahead); err != nil {
		return err
	}
	_, err = f.WriteAt(data, s.w.size)
	s.wrote()
	if err != nil {
		return s.undo(f, err)
	}
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			return s.corrupt(s.w.size, s.w.end, err)
		}
		if err := s.account(b[:record.HeaderSize], int64(len(b))); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

// account brings indexes and tail up to date with a batch that has been written at the end. header is the batch's.
func (s *Segment) account(header record.Batch, size int64) error {
	if err := s.index(header, size); err != nil {
		return err
	}
	w := &s.w
	t := s.tail.Load()
	if len(t.slots) < tailSlots {
		t = newTail(tailSlots, boundary{offset: w.end, pos: w.size})
		s.tail.Store(t)
	}
	base := header.BaseOffset()
	w.size += size
	w.end = header.NextOffset()
	t.push(base, w.end, w.size)
	return nil
}

// index adds the index entries for a batch at the end of the segment, by Kafka's rule: an entry when more than the interval has been
// written since the last one, not counting the batch itself; so the first batch has none.
func (s *Segment) index(header record.Batch, size int64) error {
	w := &s.w
	last := header.LastOffset()
	ts := header.MaxTimestamp()
	if w.size == 0 {
		w.firstTimestamp = ts
	}
	if ts > w.maxTimestamp {
		w.maxTimestamp, w.maxOffset = ts, last
	}
	if w.sinceEntry > int64(s.cfg.IndexIntervalBytes) {
		if err := s.offsets.add(offsetEntry{rel: int32(last - s.base), pos: int32(w.size)}); err != nil {
			return err
		}
		if err := s.addTimeEntry(); err != nil {
			return err
		}
		w.sinceEntry = 0
	}
	w.sinceEntry += size
	return nil
}

// addTimeEntry records the largest timestamp so far, unless the time index has it.
func (s *Segment) addTimeEntry() error {
	w := &s.w
	if w.maxTimestamp <= w.timeEntry {
		return nil
	}
	if err := s.times.add(timeEntry{ts: w.maxTimestamp, rel: int32(w.maxOffset - s.base)}); err != nil {
		return err
	}
	w.timeEntry = w.maxTimestamp
	return nil
}

// IndexFull tells whether an index has no room for what the next batch may need: time to roll. The time index keeps one entry for Seal.
func (s *Segment) IndexFull() bool { return s.offsets.full(0) || s.times.full(1) }

// MaxTimestamp is the largest timestamp of the segment in milliseconds, -1 without; for the writer.
func (s *Segment) MaxTimestamp() int64 { return s.w.maxTimestamp }

// FirstTimestamp is the max timestamp in milliseconds of the first batch; ok is false for an empty segment. For the writer.
func (s *Segment) FirstTimestamp() (ts int64, ok bool, err error) {
	if s.w.size == 0 {
		return 0, false, nil
	}
	if s.w.firstTimestamp == unknownTimestamp {
		h, err := s.header(0, s.w.size)
		if err != nil {
			return 0, false, err
		}
		s.w.firstTimestamp = h.MaxTimestamp()
	}
	return s.w.firstTimestamp, true, nil
}

// Created is when Create or Activate was called: the age of a segment without timestamps counts from there.
func (s *Segment) Created() time.Time { return s.w.created }

// AddAborted adds an entry to the transaction index; its marker has just been appended to this segment. For the writer.
func (s *Segment) AddAborted(a AbortedTxn) error { return s.txns.add(a) }

// Seal ends the writing and gives the files their final form: the time index gets its last entry, the indexes are trimmed, the log loses the blocks
// written ahead. Durable after Sync with indexes and a sync of the directory.
func (s *Segment) Seal() error { return s.seal(false) }

// Settle is Seal for the last segment of a log that is closed: it will be written to again. As long as it has no entry in an index it gets none, and no file for it: Activate walks all of such a segment, and makes both anew.
func (s *Segment) Settle() error {
	return s.seal(s.offsets.count.Load() == 0 && !s.times.exists.Load())
}

func (s *Segment) seal(short bool) error {
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	if s.w.size > 0 && !short {
		if err := s.addTimeEntry(); err != nil {
			return err
		}
	}
	s.sealed.Store(true)
	if s.w.fileEnd > s.w.size || s.w.blocksEnd > s.w.size || s.w.size >= reservedFrom {
		err := f.Truncate(s.w.size)
		s.wrote()
		if err != nil {
			return storage("truncate", s.path, err)
		}
		s.w.fileEnd, s.w.blocksEnd = 0, 0
	}
	if err := s.offsets.trim(); err != nil {
		return err
	}
	return s.times.trim()
}

// Ahead says how far behind a batch the file is made ready for the next ones, in bytes, if it is not ready for this one. It is a favour to what comes, and not done on a full disk.
type Ahead struct {
	Synced   int64 // zeros are written, so that Sync finds blocks that need no journal
	Unsynced int64 // zeros are written or blocks reserved, at most so many, so that writes to the page cache cost less; not in memory
}

// A write to the page cache that makes a file longer pays for that with a transaction of the file system's journal, for a block for every page, and for pages that are made one by one. One into zeros that were written before, many at a time and into reserved
// blocks, pays the least. Measured on ext4, growing, into reserved blocks, and into zeros in them, theirs included: 170 B 0.75, 0.72 and 0.69 us, 1 KiB 1.37, 1.26 and 0.85 us, 10 KiB 6.2, 5.4 and 1.9 us, 64 KiB 12.5, 8.7 and 9.0 us, 1 MiB 180, 105 and 190 us.
const (
	smallWrite  = 4 << 10  // zeros are written in smaller pieces before such: the kernel goes over all blocks of a large page for each
	mediumWrite = 64 << 10 // from here on blocks are reserved alone
	smallPiece  = 64 << 10 // pieces end at multiples of themselves: they become one page each
	mediumPiece = 128 << 10
)

// reservedFrom is the size of a segment for which blocks may have been reserved in an earlier life of the process, which nobody gave back: Seal does, to be sure.
const reservedFrom = 4 << 20

// zeros are what is written ahead. Nobody writes to them.
var zeros [256 << 10]byte

// writeAhead makes sure that the file has blocks for the next n bytes and more, if that is wanted and they are used up. Written zeros, not
// reserved blocks: a write into the latter has to be journalled all the same. It is a favour to Sync, so a full disk is left to the write that follows.
func (s *Segment) writeAhead(f vfs.File, n int64, ahead Ahead) error {
	w := &s.w
	if w.size+n <= w.fileEnd {
		return nil
	}
	from := max(w.fileEnd, w.size+n)
	switch {
	case ahead.Synced > 0:
		w.fileEnd = from + ahead.Synced
	case ahead.Unsynced <= 0 || f.OS() == nil:
		return nil
	default:
		if w.size+n > w.blocksEnd {
			from := max(w.blocksEnd, w.fileEnd, w.size)
			w.blocksEnd = w.size + n + ahead.Unsynced
			f.Reserve(from, w.blocksEnd-from)
		}
		if n >= mediumWrite {
			return nil
		}
		piece := int64(smallPiece)
		if n >= smallWrite {
			piece = mediumPiece
		}
		from = max(w.fileEnd, w.size)
		w.fileEnd = (w.size + n + piece) &^ (piece - 1)
	}
	for from < w.fileEnd {
		z := zeros[:min(int64(len(zeros)), w.fileEnd-from)]
		_, err := f.WriteAt(z, from)
		s.wrote()
		switch {
		case err == nil:
		case vfs.IsNoSpace(err):
			return nil
		default:
			return storage("write", s.path, err)
		}
		from += int64(len(z))
	}
	return nil
}
