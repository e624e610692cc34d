package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
)

// HeaderSize is the encoded size in bytes of a RecordBatch v2 header.
const HeaderSize = 61

// The header's fields, by their place. These numbers are the format: see the picture in doc.go.
const (
	baseOffsetAt      = 0
	lengthAt          = 8
	leaderEpochAt     = 12
	magicAt           = 16
	crcAt             = 17
	attributesAt      = 21 // the CRC begins here
	lastOffsetDeltaAt = 23
	baseTimestampAt   = 27
	maxTimestampAt    = 35
	producerIDAt      = 43
	producerEpochAt   = 51
	baseSequenceAt    = 53
	recordCountAt     = 57
	recordsAt         = 61

	lengthEnd = lengthAt + 4 // the length field counts the bytes after itself

	magicV2 = 2
)

var _ = [1]struct{}{}[recordsAt-HeaderSize] // the fields fill the header

// The bits of the attributes.
const (
	codecMask         = 0x07
	logAppendTimeBit  = 1 << 3
	transactionalBit  = 1 << 4
	controlBit        = 1 << 5
	deleteHorizonBit  = 1 << 6
	unknownAttributes = ^int16(1<<7 - 1)
)

// castagnoli selects CRC-32C, for which hash/crc32 uses the processor's instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a view of the encoded bytes of exactly one RecordBatch v2. It does not own them.
// Accessors assume a header that Split accepted; on fewer than HeaderSize bytes they panic.
type Batch []byte

// Split returns the first whole batch of b and what follows it. It checks the length field and the magic, nothing else.
// ErrPartial means that b ends inside the batch (legal at the end of fetched data); *CorruptError that the length or the magic is impossible.
// Both results share b's memory; the batch is capped at its end.
func Split(b []byte) (batch Batch, rest []byte, err error) {
	size, err := PeekSize(b)
	if err != nil {
		return nil, b, err
	}
	// A wrong magic is told even of a partial batch: waiting for the rest of it would not help.
	if len(b) > magicAt && b[magicAt] != magicV2 {
		return nil, b, corrupt(b, fmt.Sprintf("magic %d, want %d", int8(b[magicAt]), magicV2))
	}
	if len(b) < size {
		return nil, b, ErrPartial
	}
	return Batch(b[:size:size]), b[size:], nil
}

// Batches iterates over the whole batches in b; a partial batch at the end ends it without an error.
// An error other than that is the last element, and comes with a nil batch.
func Batches(b []byte) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for rest := b; len(rest) > 0; {
			batch, next, err := Split(rest)
			if errors.Is(err, ErrPartial) {
				return
			}
			if !yield(batch, err) || err != nil {
				return
			}
			rest = next
		}
	}
}

// PeekSize returns the total size in bytes of the batch that starts with head; head must hold 12 bytes or more, otherwise
// it returns ErrPartial. A length that no batch can have is a *CorruptError.
func PeekSize(head []byte) (int, error) {
	if len(head) < lengthEnd {
		return 0, ErrPartial
	}
	length := int32(binary.BigEndian.Uint32(head[lengthAt:]))
	if length < HeaderSize-lengthEnd || length > math.MaxInt32-lengthEnd {
		return 0, corrupt(head, fmt.Sprintf("length field %d", length))
	}
	return int(length) + lengthEnd, nil
}

// corrupt makes the error for bytes that start with a base offset.
func corrupt(b []byte, reason string) *CorruptError {
	e := &CorruptError{BaseOffset: -1, Reason: reason}
	if len(b) >= lengthAt {
		e.BaseOffset = int64(binary.BigEndian.Uint64(b[baseOffsetAt:]))
	}
	return e
}

// checkFrame tells whether b is one whole batch of magic 2, as Split hands out: what the accessors rely on.
func (b Batch) checkFrame() error {
	size, err := PeekSize(b)
	switch {
	case errors.Is(err, ErrPartial):
		return corrupt(b, fmt.Sprintf("%d bytes are no batch", len(b)))
	case err != nil:
		return err
	case size != len(b):
		return corrupt(b, fmt.Sprintf("length field says %d bytes in all, have %d", size, len(b)))
	case b.Magic() != magicV2:
		return corrupt(b, fmt.Sprintf("magic %d, want %d", b.Magic(), magicV2))
	}
	return nil
}

// Size returns the encoded size in bytes, header included.
func (b Batch) Size() int { return len(b) }

// BaseOffset returns the offset of the first record (of the first that was there, if compaction took it).
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[baseOffsetAt:])) }

// LastOffset returns the offset of the last record, whether or not compaction has left it there. Inclusive.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset returns LastOffset + 1: where the next batch begins.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// LastOffsetDelta returns LastOffset - BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[lastOffsetDeltaAt:])) }

// LeaderEpoch returns the epoch of the leader that appended the batch; -1 from clients.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[leaderEpochAt:])) }

// Magic returns the version of the format: 2.
func (b Batch) Magic() int8 { return int8(b[magicAt]) }

// CRC returns the stored CRC-32C. It covers the bytes from the attributes to the end.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[crcAt:]) }

// Attributes returns the attribute bits: the codec and the flags that the methods below name.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[attributesAt:])) }

// Codec returns the codec of the records, which may be one that does not exist (5, 6, 7).
func (b Batch) Codec() Codec { return Codec(b.Attributes() & codecMask) }

// LogAppendTime tells whether MaxTimestamp is when the leader appended the batch, and the time of every record in it.
func (b Batch) LogAppendTime() bool { return b.Attributes()&logAppendTimeBit != 0 }

// Transactional tells whether the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b.Attributes()&transactionalBit != 0 }

// Control tells whether the batch holds a control record, which applications do not see. See ControlType.
func (b Batch) Control() bool { return b.Attributes()&controlBit != 0 }

// HasDeleteHorizon tells whether BaseTimestamp is when tombstones and markers of the batch may go (KIP-534). Timestamps of
// records are relative to it all the same.
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&deleteHorizonBit != 0 }

// BaseTimestamp returns the time in milliseconds that the records' timestamps are relative to: that of the first record
// when the batch was made. -1 if there is none.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[baseTimestampAt:])) }

// MaxTimestamp returns the largest timestamp of the records in milliseconds, or with LogAppendTime the time of the append. -1 if there is none.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[maxTimestampAt:])) }

// ProducerID returns the id of an idempotent producer, or -1.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[producerIDAt:])) }

// ProducerEpoch returns the epoch of an idempotent producer, or -1.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[producerEpochAt:])) }

// BaseSequence returns the sequence number of the first record of an idempotent producer, or -1.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[baseSequenceAt:])) }

// LastSequence returns the sequence number of the last record, or -1 without a sequence. MaxInt32 is followed by 0.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base < 0 {
		return base
	}
	return int32((int64(base) + int64(b.LastOffsetDelta())) & math.MaxInt32)
}

// RecordCount returns the number of records; compaction may leave fewer than LastOffsetDelta+1, even none.
func (b Batch) RecordCount() int32 { return int32(binary.BigEndian.Uint32(b[recordCountAt:])) }

// records returns the records' bytes, compressed or not.
func (b Batch) records() []byte { return b[recordsAt:] }

// CheckCRC compares the stored CRC with the bytes; *CorruptError if they differ.
func (b Batch) CheckCRC() error {
	if got := crc32.Checksum(b[attributesAt:], castagnoli); got != b.CRC() {
		return corrupt(b, fmt.Sprintf("crc 0x%08x, the header says 0x%08x", got, b.CRC()))
	}
	return nil
}

// PutBaseOffset sets the base offset in place. The CRC does not cover it.
func (b Batch) PutBaseOffset(v int64) { binary.BigEndian.PutUint64(b[baseOffsetAt:], uint64(v)) }

// PutLeaderEpoch sets the leader epoch in place. The CRC does not cover it.
func (b Batch) PutLeaderEpoch(v int32) { binary.BigEndian.PutUint32(b[leaderEpochAt:], uint32(v)) }

// PutProducer sets producer id, epoch and base sequence in place, and computes the CRC anew.
func (b Batch) PutProducer(id int64, epoch int16, baseSequence int32) {
	binary.BigEndian.PutUint64(b[producerIDAt:], uint64(id))
	binary.BigEndian.PutUint16(b[producerEpochAt:], uint16(epoch))
	binary.BigEndian.PutUint32(b[baseSequenceAt:], uint32(baseSequence))
	b.putCRC()
}

// PutLogAppendTime makes maxTimestamp (milliseconds) the time of the append and so of every record, in place: bit 3, max
// timestamp, and the CRC anew.
func (b Batch) PutLogAppendTime(maxTimestamp int64) {
	binary.BigEndian.PutUint16(b[attributesAt:], uint16(b.Attributes()|logAppendTimeBit))
	b.PutMaxTimestamp(maxTimestamp)
}

// PutMaxTimestamp sets the max timestamp (milliseconds) in place, and computes the CRC anew. A leader needs it when a
// client's header disagrees with what Validate found in the records.
func (b Batch) PutMaxTimestamp(v int64) {
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(v))
	b.putCRC()
}

func (b Batch) putCRC() {
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
}

// Clone returns a copy of b in memory of its own.
func (b Batch) Clone() Batch { return bytes.Clone(b) }
