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

// LogTruncatedError says that records up to Position were read of which the log no longer has those from DivergentOffset on: they were lost by an unclean leader election, or with the power of all in-sync replicas before they were synced (KIP-320). Undo what
// they did, then Seek to DivergentOffset.
type LogTruncatedError struct {
	Topic           string
	Partition       int32
	Position        int64
	DivergentOffset int64
}

// Error names partition and offsets.
func (e *LogTruncatedError) Error() string {
	return fmt.Sprintf("consume %s-%d: records [%d, %d) were read, and have been lost: by an unclean leader election, or with the power of all replicas before they were synced", e.Topic, e.Partition, e.DivergentOffset, e.Position)
}

// ErrFenced says that the group has given a partition to another member, or that another instance has taken this one's place: what this member does for it must not count any more. *LostError,
// *InstanceError and the error of a store that found another owner match it (errors.Is).
var ErrFenced = errors.New("consumer: fenced: the partition or the membership is another's")

// ErrNotMarked is returned by MarkProcessed, MarkBatch and CommitMarked of a consumer that commits no marks: it has no group, or another CommitMode than AtLeastOnce.
var ErrNotMarked = errors.New("consumer: marks belong to a group with Commit AtLeastOnce")

// ErrSessionExpired is why partitions were lost when no heartbeat was answered for the session timeout.
var ErrSessionExpired = errors.New("consumer: no heartbeat was answered for the session timeout")

// ErrStuck is why partitions were lost when the application held a record for longer than Config.MaxProcessing.
var ErrStuck = errors.New("consumer: the application has held a record for longer than MaxProcessing")

// LostError says that marks do not count because their partitions are this member's no longer; whoever has them now begins at the last committed offset, so that the records come again there. It
// matches ErrFenced.
type LostError struct {
	Partitions []TopicPartition
	Err        error // why: ErrSessionExpired, ErrStuck, a *kerr.Error (UNKNOWN_MEMBER_ID, …); nil if they were asked back in good order
}

// Error names the partitions.
func (e *LostError) Error() string {
	s := fmt.Sprintf("consumer: %v are not this member's any more", e.Partitions)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// Is matches ErrFenced.
func (e *LostError) Is(target error) bool { return target == ErrFenced }

// GroupError ends the iteration: the coordinator does not let this consumer into the group, and asking again would not help (GROUP_AUTHORIZATION_FAILED, GROUP_MAX_SIZE_REACHED, UNSUPPORTED_ASSIGNOR,
// INVALID_REGULAR_EXPRESSION, …), or it lacks what Config asks for, which matches errors.ErrUnsupported.
type GroupError struct {
	Group string
	Err   error
}

// Error names the group.
func (e *GroupError) Error() string { return fmt.Sprintf("consumer group %s: %v", e.Group, e.Err) }

// Unwrap returns the cause.
func (e *GroupError) Unwrap() error { return e.Err }

// InstanceError ends the iteration: another consumer has the same Config.InstanceID in the group. It has taken this one's place (FENCED_INSTANCE_ID), or has it and does not let go
// (UNRELEASED_INSTANCE_ID, after one and a half session timeouts: a crashed predecessor would be gone). It matches ErrFenced.
type InstanceError struct {
	Group      string
	InstanceID string
	Err        error
}

// Error names group and instance.
func (e *InstanceError) Error() string {
	return fmt.Sprintf("consumer group %s: instance %s is another consumer: %v", e.Group, e.InstanceID, e.Err)
}

// Unwrap returns the cause.
func (e *InstanceError) Unwrap() error { return e.Err }

// Is matches ErrFenced.
func (e *InstanceError) Is(target error) bool { return target == ErrFenced }

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
