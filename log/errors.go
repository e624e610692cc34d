package log

import (
	"errors"
	"fmt"

	"github.com/insynclog/insync/segment"
)

// Sentinels. All errors of this package can be told apart by errors.Is and errors.AsType.
var (
	// ErrClosed is returned by everything after Close.
	ErrClosed = errors.New("log: closed")
	// ErrRecordListTooLarge says that a batch does not fit into a segment. Kafka: RECORD_LIST_TOO_LARGE.
	ErrRecordListTooLarge = errors.New("log: batch is larger than a segment")
	// ErrInvalidTxnState says that a producer with an open transaction sent a batch outside it. Kafka: INVALID_TXN_STATE.
	ErrInvalidTxnState = errors.New("log: invalid transaction state")
	// ErrDirectoryLocked says that another node, in this process or another, has the directory open.
	ErrDirectoryLocked = errors.New("log: directory is in use by another node")
	// ErrTruncated says that a Slice was cut off by a truncation between Read and its use. Read again.
	ErrTruncated = segment.ErrTruncated
)

// StorageError is a disk error; the log is read-only until it is opened again. Kafka: KAFKA_STORAGE_ERROR.
type StorageError = segment.StorageError

// CorruptError is damage in stored bytes below what is known to have been synced: reported, never cut away.
type CorruptError = segment.CorruptError

// OffsetOutOfRangeError says that a read is outside [LogStartOffset, LogEndOffset]. Kafka: OFFSET_OUT_OF_RANGE.
type OffsetOutOfRangeError struct{ Offset, LogStartOffset, LogEndOffset int64 }

func (e *OffsetOutOfRangeError) Error() string {
	return fmt.Sprintf("log: offset %d is outside [%d, %d]", e.Offset, e.LogStartOffset, e.LogEndOffset)
}

// SequenceError says that an idempotent producer's batch does not follow its last one. Kafka: OUT_OF_ORDER_SEQUENCE_NUMBER (KIP-98).
type SequenceError struct {
	ProducerID      int64
	Epoch           int16
	Got, Want, Last int32
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("log: producer %d epoch %d: sequence %d, want %d after %d", e.ProducerID, e.Epoch, e.Got, e.Want, e.Last)
}

// ProducerEpochError says that a producer is fenced: a batch carries an older epoch than the log has seen. Kafka: INVALID_PRODUCER_EPOCH.
type ProducerEpochError struct {
	ProducerID int64
	Got, Known int16
}

func (e *ProducerEpochError) Error() string {
	return fmt.Sprintf("log: producer %d: epoch %d is older than %d", e.ProducerID, e.Got, e.Known)
}

// CoordinatorEpochError says that a transaction marker comes from a coordinator that has been replaced. Kafka: TRANSACTION_COORDINATOR_FENCED.
type CoordinatorEpochError struct {
	ProducerID int64
	Got, Known int32
}

func (e *CoordinatorEpochError) Error() string {
	return fmt.Sprintf("log: producer %d: coordinator epoch %d is older than %d", e.ProducerID, e.Got, e.Known)
}

// AppendOffsetError says that a replicated batch starts below the end of the log: the copy and the original are not the same.
type AppendOffsetError struct{ BaseOffset, LogEndOffset int64 }

func (e *AppendOffsetError) Error() string {
	return fmt.Sprintf("log: replicated batch at offset %d, the log ends at %d", e.BaseOffset, e.LogEndOffset)
}

// AppendEpochError says that a replicated batch has an older leader epoch than what is in front of it.
type AppendEpochError struct {
	BaseOffset   int64
	Epoch, Known int32
}

func (e *AppendEpochError) Error() string {
	return fmt.Sprintf("log: replicated batch at offset %d has leader epoch %d, behind one of epoch %d", e.BaseOffset, e.Epoch, e.Known)
}

// IdentityError says that a directory belongs to another node or cluster.
type IdentityError struct{ Path, Field, Stored, Wanted string }

func (e *IdentityError) Error() string {
	return fmt.Sprintf("log: %s: %s is %q, not %q: the directory belongs to another node or cluster", e.Path, e.Field, e.Stored, e.Wanted)
}

// ForeignDirectoryError says that a directory holds something else.
type ForeignDirectoryError struct{ Path, Found string }

func (e *ForeignDirectoryError) Error() string {
	return fmt.Sprintf("log: %s is no data directory: it holds %s", e.Path, e.Found)
}

// TopicIDError says that a partition directory belongs to another incarnation of the topic.
type TopicIDError struct {
	Path         string
	Stored, Want TopicID
}

func (e *TopicIDError) Error() string {
	return fmt.Sprintf("log: %s belongs to topic id %v, not %v", e.Path, e.Stored, e.Want)
}
