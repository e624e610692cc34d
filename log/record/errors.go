package record

import (
	"errors"
	"fmt"
)

// ErrPartial says that the bytes end before the batch does. Split and PeekSize return it. At the end of fetched data it is
// legal and means that the rest has to be fetched; at the end of a file it is a torn tail.
var ErrPartial = errors.New("record: partial batch")

// ErrEmpty is returned by Builder.Build when no record was appended.
var ErrEmpty = errors.New("record: empty batch")

// CorruptError says that stored or received bytes are not a batch: impossible length, unknown magic, wrong CRC. Kafka: CORRUPT_MESSAGE.
type CorruptError struct {
	BaseOffset int64 // as the damaged bytes have it
	Reason     string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("record: corrupt batch at offset %d: %s", e.BaseOffset, e.Reason)
}

// InvalidError says that a batch is whole but breaks a rule of the format. Kafka: INVALID_RECORD.
type InvalidError struct {
	Index  int // index of the record in the batch; -1 for the batch itself
	Reason string
	Err    error // what a codec said about its stream, or nil
}

func (e *InvalidError) Error() string {
	s := "record: invalid batch: " + e.Reason
	if e.Index >= 0 {
		s = fmt.Sprintf("record: invalid record %d: %s", e.Index, e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the codec's error.
func (e *InvalidError) Unwrap() error { return e.Err }

// TimestampError says that a record's timestamp is outside what the topic allows. Kafka: INVALID_TIMESTAMP.
type TimestampError struct {
	Index     int   // index of the record in the batch; -1 for the batch itself
	Timestamp int64 // milliseconds
	Reason    string
}

func (e *TimestampError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("record: timestamp %d of the batch: %s", e.Timestamp, e.Reason)
	}
	return fmt.Sprintf("record: timestamp %d of record %d: %s", e.Timestamp, e.Index, e.Reason)
}

// TooLargeError says that a batch is larger than allowed, encoded or decompressed. Kafka: MESSAGE_TOO_LARGE.
type TooLargeError struct {
	Size, Limit  int  // bytes; a decompressed Size is what was known when decompression stopped, at least Limit+1
	Decompressed bool // it is the decompressed size that exceeds the limit
}

func (e *TooLargeError) Error() string {
	if e.Decompressed {
		return fmt.Sprintf("record: batch decompresses to %d bytes or more, limit %d", e.Size, e.Limit)
	}
	return fmt.Sprintf("record: batch of %d bytes, limit %d", e.Size, e.Limit)
}

// UnsupportedCodecError names a codec number that RecordBatch v2 does not define. Kafka: UNSUPPORTED_COMPRESSION_TYPE.
type UnsupportedCodecError struct{ Codec Codec }

func (e *UnsupportedCodecError) Error() string {
	return fmt.Sprintf("record: unsupported compression codec %d", int8(e.Codec))
}
