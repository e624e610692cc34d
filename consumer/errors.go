package consumer

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("consumer: closed")

// ErrBusy says that an iteration is under way already.
var ErrBusy = errors.New("consumer: an iteration is under way")

// OffsetOutOfRangeError says that the position is not in the log: below what retention has left, or above its end. Seek somewhere else, or set Config.OutOfRange.
type OffsetOutOfRangeError struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Error names partition and offset.
func (e *OffsetOutOfRangeError) Error() string {
	return fmt.Sprintf("consume %s-%d: offset %d is not in the log: seek, or set Config.OutOfRange", e.Topic, e.Partition, e.Offset)
}

// LogTruncatedError says that records up to Position were read of which the log no longer has those from DivergentOffset on: they were lost by an unclean leader election (KIP-320). Undo what
// they did, then Seek to DivergentOffset.
type LogTruncatedError struct {
	Topic           string
	Partition       int32
	Position        int64
	DivergentOffset int64
}

// Error names partition and offsets.
func (e *LogTruncatedError) Error() string {
	return fmt.Sprintf("consume %s-%d: records [%d, %d) were read, and have been lost by an unclean leader election", e.Topic, e.Partition, e.DivergentOffset, e.Position)
}

// PartitionError is an error of one partition that the consumer cannot get over: a batch that is damaged, a topic that may not be read.
type PartitionError struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

// Error names partition, offset and cause.
func (e *PartitionError) Error() string {
	return fmt.Sprintf("consume %s-%d at offset %d: %v", e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap returns the cause: *record.CorruptError, *kerr.Error, …
func (e *PartitionError) Unwrap() error { return e.Err }
