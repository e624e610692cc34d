package record

import "errors"

// ErrPartial says that the bytes end before the batch does.
var ErrPartial = errors.New("record: partial batch")

// CorruptError says that stored or received bytes are not a batch: impossible length, unknown magic, wrong CRC. Kafka: CORRUPT_MESSAGE.
type CorruptError struct {
	BaseOffset int64
	Reason     string
}

func (e *CorruptError) Error() string { panic("stub") }

// InvalidError says that a batch is whole but breaks a rule of the format. Kafka: INVALID_RECORD.
type InvalidError struct {
	Index  int // index of the record in the batch; -1 for the batch itself
	Reason string
}

func (e *InvalidError) Error() string { panic("stub") }

// TimestampError says that a record's timestamp is outside what the topic allows. Kafka: INVALID_TIMESTAMP.
type TimestampError struct {
	Index     int
	Timestamp int64 // milliseconds
	Reason    string
}

func (e *TimestampError) Error() string { panic("stub") }

// TooLargeError says that a batch is larger than allowed, encoded or decompressed. Kafka: MESSAGE_TOO_LARGE.
type TooLargeError struct {
	Size, Limit  int
	Decompressed bool
}

func (e *TooLargeError) Error() string { panic("stub") }

// UnsupportedCodecError names a codec number that RecordBatch v2 does not define. Kafka: UNSUPPORTED_COMPRESSION_TYPE.
type UnsupportedCodecError struct{ Codec Codec }

func (e *UnsupportedCodecError) Error() string { panic("stub") }
