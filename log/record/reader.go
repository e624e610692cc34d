package record

import (
	"fmt"
	"iter"
	"math"
	"time"
)

// defaultMaxDecompressed bounds a batch's decompressed records where the caller names no bound.
const defaultMaxDecompressed = 128 << 20

// keptBuffer is how large a decompression buffer may be, in bytes, to be kept although the last batch used little of it.
const keptBuffer = 4 << 20

// Reader iterates over the records of batches, decompressing them into memory that it keeps for the next batch.
// The zero value is ready. It allocates nothing per record. It is not safe for concurrent use.
//
// A Reader does not check the CRC: who took the batch from a disk or a network does, with Batch.CheckCRC.
type Reader struct {
	section []byte // the records, decompressed
	buf     []byte // what compressed batches are decompressed into

	pos   int // of the next record in section
	index int // of the next record in the batch
	count int // records according to the header

	baseOffset      int64
	baseTimestamp   int64
	lastOffsetDelta int32
	offsetDelta     int32 // of the current record; -1 before the first
	logAppendTime   bool
	appendTime      time.Time // with logAppendTime, the timestamp of every record

	record  Record
	headers []Header // backs record.Headers; beyond its length, still the keys of earlier records
	keys    keyTable
	err     error
}

// Reset starts the iteration over b. maxDecompressed bounds the size in bytes of the decompressed records; 0 means 128 MiB.
// It decompresses the records at once and decodes them one by one in Next. b must stay unchanged while it is iterated.
//
// Errors: *CorruptError if b is not one whole batch, *UnsupportedCodecError, *InvalidError if the codec rejects the stream,
// *TooLargeError if it exceeds maxDecompressed. After an error Next returns false, and Err the same error.
//
// Differs from Kafka: offsets must rise inside a batch and stay within it, and a record has at most MaxHeaders headers.
func (r *Reader) Reset(b Batch, maxDecompressed int) error {
	r.section, r.pos, r.index, r.count = nil, 0, 0, 0
	r.record, r.headers = Record{}, r.headers[:0]
	for i := range r.headers[:cap(r.headers)] {
		r.headers[:cap(r.headers)][i].Value = nil // or it would keep an earlier batch's memory alive
	}
	if r.err = b.checkFrame(); r.err != nil {
		return r.err
	}
	base, delta, count := b.BaseOffset(), b.LastOffsetDelta(), b.RecordCount()
	switch {
	case base < 0 || delta < 0 || base > math.MaxInt64-1-int64(delta): // exclusive ends must fit, too
		r.err = corrupt(b, fmt.Sprintf("last offset delta %d", delta))
	case count < 0 || int64(count) > int64(delta)+1:
		r.err = corrupt(b, fmt.Sprintf("%d records with last offset delta %d", count, delta))
	case count > 0:
		r.section, r.err = r.decompress(b, maxDecompressed)
	}
	if r.err == nil && int(count) > len(r.section)/minEntrySize {
		r.err = &InvalidError{Index: -1, Reason: fmt.Sprintf("%d records in %d bytes", count, len(r.section))}
	}
	if r.err != nil {
		return r.err
	}
	r.count = int(count)
	r.baseOffset, r.baseTimestamp, r.lastOffsetDelta, r.offsetDelta = base, b.BaseTimestamp(), delta, -1
	if r.logAppendTime = b.LogAppendTime(); r.logAppendTime {
		r.appendTime = timeOf(b.MaxTimestamp())
	}
	r.record.LeaderEpoch = b.LeaderEpoch()
	return nil
}

// decompress returns the records of b, in b itself or in r.buf.
func (r *Reader) decompress(b Batch, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = defaultMaxDecompressed
	}
	if b.Codec() == None {
		return b.records(), nil
	}
	// One huge batch shall not keep its memory for ever.
	if cap(r.buf) > keptBuffer && len(r.buf) < cap(r.buf)/4 {
		r.buf = nil
	}
	buf, err := decompress(r.buf[:0], b.Codec(), b.records(), limit)
	r.buf = buf
	return buf, err
}

// Next moves to the next record; false at the end or on an error (see Err).
func (r *Reader) Next() bool {
	if r.err != nil || r.index >= r.count {
		return false
	}
	var e entry
	if reason := e.parse(r.section, r.pos); reason != "" {
		return r.fail(r.index, reason)
	}
	if r.index == r.count-1 && e.end != len(r.section) {
		return r.fail(-1, "bytes after the last record")
	}
	// Compaction leaves gaps, but never changes the order.
	if e.offsetDelta <= r.offsetDelta || e.offsetDelta > r.lastOffsetDelta {
		return r.fail(r.index, "offset out of order or beyond the batch")
	}
	if !r.logAppendTime {
		ts := r.baseTimestamp + e.timestampDelta
		if (ts < r.baseTimestamp) != (e.timestampDelta < 0) {
			return r.fail(r.index, "timestamp delta overflows")
		}
		r.record.Timestamp = timeOf(ts)
	} else {
		r.record.Timestamp = r.appendTime
	}
	r.record.Headers = nil
	if e.headers > 0 && !r.readHeaders(&e) {
		return false
	}
	r.offsetDelta = e.offsetDelta
	r.record.Offset = r.baseOffset + int64(e.offsetDelta)
	r.record.Key = e.key.of(r.section)
	r.record.Value = e.value.of(r.section)
	r.pos = e.end
	r.index++
	return true
}

func (r *Reader) fail(index int, reason string) bool {
	r.err = &InvalidError{Index: index, Reason: reason}
	r.record = Record{}
	return false
}

// readHeaders decodes the headers of e into the record. The count was held against the record's size before.
func (r *Reader) readHeaders(e *entry) bool {
	r.headers = r.headers[:0]
	s, i := r.section[:e.end], e.headersAt
	for range e.headers {
		var key, value span
		if key, value, i = header(s, i); i < 0 {
			return r.fail(r.index, "malformed header")
		}
		r.headers = append(r.headers, Header{Key: r.headerKey(key.of(s)), Value: value.of(s)})
	}
	if i != e.end {
		return r.fail(r.index, "bytes after the last header")
	}
	r.record.Headers = r.headers[:len(r.headers):len(r.headers)]
	return true
}

// headerKey returns b as a string, without allocating if the record before had the same key in the same place or if the key
// is in the table.
func (r *Reader) headerKey(b []byte) string {
	if n := len(r.headers); n < cap(r.headers) {
		if last := r.headers[: n+1 : n+1][n].Key; last == string(b) {
			return last
		}
	}
	return r.keys.intern(b)
}

// Record is the current record. It and its bytes are valid until the next call of Next or Reset. Topic and Partition are not set:
// who knows them may set them after Reset, once for the batch, and Next leaves them alone.
// The bytes are those of the batch, or of the Reader's buffer if the batch is compressed; they must not be changed.
func (r *Reader) Record() *Record { return &r.record }

// Err returns what ended the iteration early: *InvalidError, *CorruptError, *TooLargeError.
func (r *Reader) Err() error { return r.err }

// All iterates over the records of b. The *Record is reused: Clone keeps one. An error is the last element, with a nil
// record. A batch may decompress to 128 MiB; use a Reader for another bound, or to keep memory from batch to batch.
func (b Batch) All() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		var r Reader
		if err := r.Reset(b, 0); err != nil {
			yield(nil, err)
			return
		}
		for r.Next() {
			if !yield(r.Record(), nil) {
				return
			}
		}
		if err := r.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// keyTable holds header keys as strings, so that a key that comes with every record is allocated once. It is bounded in
// number and size, for keys are what a client chooses.
type keyTable map[string]string

const (
	maxInternedKeys    = 256
	maxInternedKeySize = 128 // bytes
)

func (t *keyTable) intern(b []byte) string {
	if s, ok := (*t)[string(b)]; ok { // the compiler does not allocate for this conversion
		return s
	}
	s := string(b)
	if len(s) > maxInternedKeySize {
		return s
	}
	if *t == nil {
		*t = make(keyTable)
	}
	if len(*t) >= maxInternedKeys {
		clear(*t) // rather than refuse: the keys in use now come back at once
	}
	(*t)[s] = s
	return s
}
