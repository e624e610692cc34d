package log

import "errors"

// Sentinels. All errors of this package can be told apart by errors.Is and errors.AsType.
var (
	ErrClosed             = errors.New("log: closed")
	ErrRecordListTooLarge = errors.New("log: batch is larger than a segment") // Kafka: RECORD_LIST_TOO_LARGE
	ErrInvalidTxnState    = errors.New("log: invalid transaction state")      // Kafka: INVALID_TXN_STATE
	ErrDirectoryLocked    = errors.New("log: directory is in use by another node")
)

// OffsetOutOfRangeError: Kafka OFFSET_OUT_OF_RANGE.
type OffsetOutOfRangeError struct{ Offset, LogStartOffset, LogEndOffset int64 }

func (e *OffsetOutOfRangeError) Error() string { panic("stub") }

// SequenceError: Kafka OUT_OF_ORDER_SEQUENCE_NUMBER (KIP-98).
type SequenceError struct {
	ProducerID      int64
	Epoch           int16
	Got, Want, Last int32
}

func (e *SequenceError) Error() string { panic("stub") }

// ProducerEpochError: Kafka INVALID_PRODUCER_EPOCH.
type ProducerEpochError struct {
	ProducerID int64
	Got, Known int16
}

func (e *ProducerEpochError) Error() string { panic("stub") }

// StorageError is a disk error; the log is read-only until it is opened again. Kafka: KAFKA_STORAGE_ERROR.
type StorageError struct {
	Path string
	Op   string
	Err  error
}

func (e *StorageError) Error() string { panic("stub") }
func (e *StorageError) Unwrap() error { return e.Err }

// CorruptError is damage in stored bytes below what is known to have been synced: reported, never cut away (fault-model S4).
type CorruptError struct {
	Path     string
	Position int64
	Offset   int64
	Err      error
}

func (e *CorruptError) Error() string { panic("stub") }
func (e *CorruptError) Unwrap() error { return e.Err }

// IdentityError says that a directory belongs to another node or cluster.
type IdentityError struct{ Path, Field, Stored, Wanted string }

func (e *IdentityError) Error() string { panic("stub") }

// ForeignDirectoryError says that a directory holds something else.
type ForeignDirectoryError struct{ Path, Found string }

func (e *ForeignDirectoryError) Error() string { panic("stub") }

// TopicIDError says that a partition directory belongs to another incarnation of the topic.
type TopicIDError struct {
	Path         string
	Stored, Want TopicID
}

func (e *TopicIDError) Error() string { panic("stub") }
