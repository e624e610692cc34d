package record

import (
	"encoding/binary"
	"math"
	"slices"
)

// BuilderConfig says what batches a Builder makes.
type BuilderConfig struct {
	Codec Codec
	Level int // compression level; 0 is the codec's default (as in Kafka: gzip -1, lz4 9, zstd 3). See Codec.CheckLevel

	Transactional bool
}

// Builder encodes records into one RecordBatch v2 after another, reusing its memory. It allocates nothing per record.
// It is not safe for concurrent use.
type Builder struct {
	c      BuilderConfig
	buf    []byte // room for the header, and the records, encoded
	packed []byte // the batch, compressed
	built  Batch  // what Batch has returned and nothing has changed since

	count         int
	baseTimestamp int64 // of the first record, milliseconds
	minTimestamp  int64
	maxTimestamp  int64
	nullKey       bool          // a record has no key
	wraps         bool          // the difference of two timestamps is no int64
	invalid       *InvalidError // the first record that cannot be encoded

	producerID    int64
	producerEpoch int16
	baseSequence  int32
}

// NewBuilder returns an empty builder.
func NewBuilder(c BuilderConfig) *Builder {
	b := &Builder{c: c}
	b.Reset()
	return b
}

// Append adds a record (Key, Value, Headers, Timestamp; a zero Timestamp counts as now). Its bytes are copied.
// A record that no batch can hold (more than MaxHeaders headers, 2 GiB) is an error of Build.
func (b *Builder) Append(r *Record) {
	b.built = nil
	ts := millis(r.Timestamp)
	if b.count == 0 {
		b.baseTimestamp, b.minTimestamp, b.maxTimestamp = ts, ts, ts
	}
	b.minTimestamp, b.maxTimestamp = min(b.minTimestamp, ts), max(b.maxTimestamp, ts)
	b.nullKey = b.nullKey || r.Key == nil
	if len(r.Headers) > MaxHeaders && b.invalid == nil {
		b.invalid = &InvalidError{Index: b.count, Reason: "more than 1024 headers"}
	}
	delta := ts - b.baseTimestamp
	b.wraps = b.wraps || (ts < b.baseTimestamp) != (delta < 0)
	body := bodySize(r, delta, b.count)

	// One growth, then stores without further checks of capacity.
	at := len(b.buf)
	b.buf = slices.Grow(b.buf, varintSize(int64(body))+body)
	s := b.buf[:at+varintSize(int64(body))+body]
	i := putVarint(s, at, int64(body))
	s[i] = 0 // attributes: none defined
	i = putVarint(s, i+1, delta)
	i = putVarint(s, i, int64(b.count))
	i = putNullable(s, i, r.Key)
	i = putNullable(s, i, r.Value)
	i = putVarint(s, i, int64(len(r.Headers)))
	for j := range r.Headers {
		h := &r.Headers[j]
		i = putVarint(s, i, int64(len(h.Key)))
		i += copy(s[i:], h.Key)
		i = putNullable(s, i, h.Value)
	}
	b.buf = s
	b.count++
}

func putNullable(s []byte, i int, v []byte) int {
	if v == nil {
		return putVarint(s, i, -1)
	}
	i = putVarint(s, i, int64(len(v)))
	return i + copy(s[i:], v)
}

// bodySize returns the size in bytes of a record without its length field.
func bodySize(r *Record, timestampDelta int64, offsetDelta int) int {
	n := 1 + varintSize(timestampDelta) + varintSize(int64(offsetDelta)) + nullableSize(r.Key) + nullableSize(r.Value) +
		varintSize(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintSize(int64(len(h.Key))) + len(h.Key) + nullableSize(h.Value)
	}
	return n
}

func nullableSize(v []byte) int {
	if v == nil {
		return 1
	}
	return varintSize(int64(len(v))) + len(v)
}

// AppendSize returns the number of bytes by which Append(r) would grow the uncompressed batch.
// For a zero Timestamp that is as of now; it may differ by a byte or two when Append is called later.
func (b *Builder) AppendSize(r *Record) int {
	var delta int64
	if b.count > 0 {
		delta = millis(r.Timestamp) - b.baseTimestamp
	}
	body := bodySize(r, delta, b.count)
	return varintSize(int64(body)) + body
}

// Size returns the size in bytes that the batch would have now without compression, header included.
func (b *Builder) Size() int { return len(b.buf) }

// Len returns the number of records in the batch so far.
func (b *Builder) Len() int { return b.count }

// SetProducer sets producer id, epoch and base sequence of the batch under construction; without it they are -1.
func (b *Builder) SetProducer(id int64, epoch int16, baseSequence int32) {
	b.built = nil
	b.producerID, b.producerEpoch, b.baseSequence = id, epoch, baseSequence
}

// Build appends the encoded batch to dst (base offset 0, leader epoch -1) and returns the extended slice; the batch is what was added.
// The builder is unchanged; Reset empties it. Building an empty batch is an error. On an error it returns dst as it was.
//
// Errors: ErrEmpty, *UnsupportedCodecError, *InvalidError if a record cannot be encoded, *TooLargeError if the batch exceeds 2 GiB.
func (b *Builder) Build(dst []byte) ([]byte, error) {
	if err := b.buildable(); err != nil {
		return dst, err
	}
	at := len(dst)
	out, err := b.compress(dst)
	if err != nil {
		return dst, err
	}
	b.putHeader(Batch(out[at:]))
	return out, nil
}

// Batch is Build without a copy: the batch is in the builder's memory, until Append, SetProducer or Reset is next called. A second call costs nothing.
func (b *Builder) Batch() (Batch, error) {
	if b.built != nil {
		return b.built, nil
	}
	if err := b.buildable(); err != nil {
		return nil, err
	}
	out := b.buf
	if b.c.Codec != None {
		var err error
		if out, err = b.compress(b.packed[:0]); err != nil {
			return nil, err
		}
		b.packed = out
	}
	b.putHeader(out)
	b.built = out
	return out, nil
}

// buildable tells what is wrong with the records so far.
func (b *Builder) buildable() error {
	switch {
	case b.count == 0:
		return ErrEmpty
	case b.invalid != nil:
		return b.invalid
	case b.Size() > math.MaxInt32:
		return &TooLargeError{Size: b.Size(), Limit: math.MaxInt32}
	}
	return nil
}

// compress appends room for the header and the records to dst.
func (b *Builder) compress(dst []byte) ([]byte, error) {
	at := len(dst)
	out := slices.Grow(dst, HeaderSize)[:at+HeaderSize]
	out, err := compress(out, b.c.Codec, b.c.Level, b.buf[HeaderSize:])
	if err != nil {
		return dst, err
	}
	if size := len(out) - at; size > math.MaxInt32 {
		return dst, &TooLargeError{Size: size, Limit: math.MaxInt32}
	}
	return out, nil
}

// putHeader fills the header of h, whose records are in place.
func (b *Builder) putHeader(h Batch) {
	attributes := uint16(b.c.Codec)
	if b.c.Transactional {
		attributes |= transactionalBit
	}
	be := binary.BigEndian
	h.PutBaseOffset(0)
	be.PutUint32(h[lengthAt:], uint32(len(h)-lengthEnd))
	h.PutLeaderEpoch(-1)
	h[magicAt] = magicV2
	be.PutUint16(h[attributesAt:], attributes)
	be.PutUint32(h[lastOffsetDeltaAt:], uint32(b.count-1))
	be.PutUint64(h[baseTimestampAt:], uint64(b.baseTimestamp))
	be.PutUint64(h[maxTimestampAt:], uint64(b.maxTimestamp))
	be.PutUint32(h[recordCountAt:], uint32(b.count))
	h.PutProducer(b.producerID, b.producerEpoch, b.baseSequence) // and the CRC
}

// Reset empties the builder and keeps its memory.
func (b *Builder) Reset() {
	b.buf = slices.Grow(b.buf[:0], HeaderSize)[:HeaderSize]
	b.count, b.invalid, b.nullKey, b.wraps = 0, nil, false, false
	b.SetProducer(-1, -1, -1)
}
