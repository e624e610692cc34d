package record

import (
	"encoding/binary"
	"math"
	"slices"
)

// Filter makes a batch with some of another's records: what compaction needs. Offsets, timestamps, producer fields and leader epoch stay, and so do the records' bytes and the codec. It keeps
// its memory for the next batch, and allocates nothing per record. The zero value is ready. Not safe for concurrent use.
//
//	for err := f.Reset(b, 0); err == nil && f.Next(); {
//		if wanted(f.Record()) {
//			f.Keep()
//		}
//	}
type Filter struct {
	Reader

	batch   Batch
	at      int    // where the current record starts in the section
	kept    []kept // in order
	maxTime int64  // of the kept ones
	out     []byte // records, not compressed
}

// kept is where a record that stays is in the section.
type kept struct{ lo, hi int }

// Reset begins with batch b, as Reader.Reset does, with its errors. b must stay unchanged up to Build.
func (f *Filter) Reset(b Batch, maxDecompressed int) error {
	f.batch, f.at, f.kept, f.maxTime = b, 0, f.kept[:0], -1
	return f.Reader.Reset(b, maxDecompressed)
}

// Next moves to the next record.
func (f *Filter) Next() bool {
	f.at = f.pos
	return f.Reader.Next()
}

// Keep lets the current record stay.
func (f *Filter) Keep() {
	f.kept = append(f.kept, kept{f.at, f.pos})
	if !f.record.Timestamp.IsZero() {
		f.maxTime = max(f.maxTime, f.record.Timestamp.UnixMilli())
	}
}

// Kept is how many records stay so far.
func (f *Filter) Kept() int { return len(f.kept) }

// Build appends a batch of the records that stay to dst. A horizon of 0 or more becomes the batch's base timestamp, to which the records' timestamps are then relative, and is marked as the time in milliseconds from
// which tombstones and markers may go (KIP-534). ok is false for a horizon that a timestamp cannot be relative to; nothing is appended then. Without any record it is Shell.
//
// Errors: *InvalidError, *TooLargeError.
func (f *Filter) Build(dst []byte, horizon int64) (out []byte, ok bool, err error) {
	if len(f.kept) == 0 {
		return Shell(dst, f.batch), true, nil
	}
	b := f.batch
	if horizon < 0 {
		f.out = f.out[:0]
		for _, k := range f.kept {
			f.out = append(f.out, f.section[k.lo:k.hi]...)
		}
	} else if ok, err := f.rebase(horizon); !ok || err != nil {
		return dst, ok, err
	}
	at := len(dst)
	out = append(dst, b[:HeaderSize]...)
	if b.Codec() == None {
		out = append(out, f.out...)
	} else if out, err = compress(out, b.Codec(), 0, f.out); err != nil {
		return dst, true, err
	}
	if size := len(out) - at; size > math.MaxInt32 {
		return dst, true, &TooLargeError{Size: size, Limit: math.MaxInt32}
	}
	h := Batch(out[at:])
	be := binary.BigEndian
	be.PutUint32(h[lengthAt:], uint32(len(h)-lengthEnd))
	be.PutUint32(h[recordCountAt:], uint32(len(f.kept)))
	if horizon >= 0 {
		be.PutUint16(h[attributesAt:], uint16(b.Attributes()|deleteHorizonBit))
		be.PutUint64(h[baseTimestampAt:], uint64(horizon))
	}
	if !b.LogAppendTime() {
		be.PutUint64(h[maxTimestampAt:], uint64(f.maxTime))
	}
	h.putCRC()
	return out, true, nil
}

// rebase encodes the records that stay with their timestamps relative to base.
func (f *Filter) rebase(base int64) (ok bool, err error) {
	f.out = f.out[:0]
	old := f.batch.BaseTimestamp()
	for i, k := range f.kept {
		var e entry
		if reason := e.parse(f.section, k.lo); reason != "" {
			return true, &InvalidError{Index: i, Reason: reason}
		}
		_, at := varint32(f.section, k.lo) // attributes
		_, rest := varint64(f.section, at+1)
		ts := old + e.timestampDelta
		delta := ts - base
		if (ts < base) != (delta < 0) {
			return false, nil
		}
		body := 1 + varintSize(delta) + k.hi - rest
		n := varintSize(int64(body)) + body
		o := len(f.out)
		f.out = slices.Grow(f.out, n)[:o+n]
		j := putVarint(f.out, o, int64(body))
		f.out[j] = f.section[at]
		j = putVarint(f.out, j+1, delta)
		copy(f.out[j:], f.section[rest:k.hi])
	}
	return true, nil
}

// Shell appends what is left of a batch without records to dst: a header that still tells the offsets, the producer's sequences and the leader epoch, as Kafka's cleaner leaves it.
func Shell(dst []byte, b Batch) []byte {
	at := len(dst)
	dst = append(dst, b[:HeaderSize]...)
	h := Batch(dst[at:])
	be := binary.BigEndian
	be.PutUint32(h[lengthAt:], HeaderSize-lengthEnd)
	be.PutUint16(h[attributesAt:], uint16(b.Attributes()&^(codecMask|deleteHorizonBit)))
	be.PutUint64(h[baseTimestampAt:], math.MaxUint64) // -1
	be.PutUint32(h[recordCountAt:], 0)
	h.putCRC()
	return dst
}
