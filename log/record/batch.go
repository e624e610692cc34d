package record

import "iter"

// HeaderSize is the encoded size in bytes of a RecordBatch v2 header.
const HeaderSize = 61

// Codec is a compression codec, with the number it has in a batch's attributes.
type Codec int8

// The codecs of RecordBatch v2.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// Batch is a view of the encoded bytes of exactly one RecordBatch v2. It does not own them.
// Accessors assume a header that Parse or Split accepted.
type Batch []byte

// Split returns the first whole batch of b and what follows it. It checks the length field and the magic, nothing else.
// ErrPartial means that b ends inside the batch (legal at the end of fetched data); *CorruptError that the length or the magic is impossible.
func Split(b []byte) (batch Batch, rest []byte, err error) { panic("stub") }

// Batches iterates over the whole batches in b; a partial batch at the end ends it without an error.
func Batches(b []byte) iter.Seq2[Batch, error] { panic("stub") }

// PeekSize returns the total size in bytes of the batch that starts with head; head must hold 12 bytes or more.
func PeekSize(head []byte) (int, error) { panic("stub") }

func (b Batch) Size() int                                             { return len(b) }
func (b Batch) BaseOffset() int64                                     { panic("stub") }
func (b Batch) LastOffset() int64                                     { panic("stub") }
func (b Batch) NextOffset() int64                                     { panic("stub") } // LastOffset + 1
func (b Batch) LastOffsetDelta() int32                                { panic("stub") }
func (b Batch) LeaderEpoch() int32                                    { panic("stub") }
func (b Batch) Magic() int8                                           { panic("stub") }
func (b Batch) CRC() uint32                                           { panic("stub") }
func (b Batch) Attributes() int16                                     { panic("stub") }
func (b Batch) Codec() Codec                                          { panic("stub") }
func (b Batch) LogAppendTime() bool                                   { panic("stub") } // attribute bit 3
func (b Batch) Transactional() bool                                   { panic("stub") }
func (b Batch) Control() bool                                         { panic("stub") }
func (b Batch) HasDeleteHorizon() bool                                { panic("stub") }
func (b Batch) BaseTimestamp() int64                                  { panic("stub") } // milliseconds
func (b Batch) MaxTimestamp() int64                                   { panic("stub") } // milliseconds
func (b Batch) ProducerID() int64                                     { panic("stub") }
func (b Batch) ProducerEpoch() int16                                  { panic("stub") }
func (b Batch) BaseSequence() int32                                   { panic("stub") }
func (b Batch) LastSequence() int32                                   { panic("stub") } // wraps after MaxInt32 to 0
func (b Batch) RecordCount() int32                                    { panic("stub") }
func (b Batch) CheckCRC() error                                       { panic("stub") } // *CorruptError
func (b Batch) PutBaseOffset(v int64)                                 { panic("stub") } // in place; not under the CRC
func (b Batch) PutLeaderEpoch(v int32)                                { panic("stub") } // in place; not under the CRC
func (b Batch) PutProducer(id int64, epoch int16, baseSequence int32) { panic("stub") } // in place, and the CRC anew
func (b Batch) PutLogAppendTime(maxTimestamp int64)                   { panic("stub") } // in place: bit 3, max timestamp, CRC anew
func (b Batch) Clone() Batch                                          { panic("stub") }

// ControlType tells what a control batch says (ok is false where b is not a readable control batch).
func (b Batch) ControlType() (t ControlType, ok bool) { panic("stub") }

// ControlType is the kind of a control record.
type ControlType int16

// The control records that live in partitions of data.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// ValidateOptions are the rules of a leader for a batch that a client sends (KIP-98, kafka: LogValidator).
type ValidateOptions struct {
	MaxBytes        int  // max.message.bytes; 0 is no limit
	MaxDecompressed int  // bound on the decompressed size in bytes; 0 means max(8 MiB, 10 x MaxBytes)
	RequireKeys     bool // the topic is compacted
	CheckTimestamps bool // CreateTime topics
	NowMillis       int64
	BeforeMaxMillis int64 // message.timestamp.before.max.ms
	AfterMaxMillis  int64 // message.timestamp.after.max.ms
	AllowControl    bool  // from a coordinator, not from a client
}

// Validate checks a batch from a client in full: header fields, CRC, every record's structure, keys and timestamps, through
// decompression. r is scratch that is reused from call to call. It returns the largest record timestamp in milliseconds.
// Errors: *CorruptError, *InvalidError, *TimestampError, *TooLargeError, *UnsupportedCodecError.
func Validate(b Batch, o ValidateOptions, r *Reader) (maxTimestamp int64, err error) { panic("stub") }
