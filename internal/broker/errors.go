package broker

import (
	"context"
	"errors"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Sentinels.
var (
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("broker: closed")
	// ErrRemoved says that the node was removed from the cluster.
	ErrRemoved = errors.New("broker: the node was removed from the cluster")
	// ErrNotStarted is returned by calls that need a cluster before Start has joined one.
	ErrNotStarted = errors.New("broker: not started")

	errUnknownTopicID = errors.New("broker: unknown topic id")
	errBudget         = errors.New("broker: no space is left for records")
	errBallast        = errors.New("broker: the disk was full, and has no room for records yet")
	errFencedSelf     = errors.New("broker: others may lead what this node leads")
	errDiskFailed     = errors.New("broker: the directory has failed")
	errInvalidTopic   = errors.New("broker: invalid topic name")
)

// errorCode is one row of the table between the errors of the lower layers and Kafka's codes.
type errorCode struct {
	kafka *kerr.Error
	err   error                // the sentinel, or an example of the type
	match func(err error) bool // for types; nil means errors.Is(err, row.err)
	back  bool                 // a peer's code stands for this error again
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// errorCodes is the table; it never changes. The first row that matches counts, in both directions. It is the only place where errors of lower layers and codes of the protocol meet.
var errorCodes = []errorCode{
	// replication
	{kafka: kerr.NotLeaderForPartition, err: replication.ErrNotLeader, back: true},
	{kafka: kerr.FencedLeaderEpoch, err: replication.ErrFencedEpoch, back: true},
	{kafka: kerr.UnknownLeaderEpoch, err: replication.ErrUnknownEpoch, back: true},
	{kafka: kerr.UnknownTopicOrPartition, err: replication.ErrUnknownTopic, back: true},
	{kafka: kerr.InconsistentTopicID, err: replication.ErrInconsistentTopicID, back: true},
	{kafka: kerr.NotEnoughReplicas, err: replication.ErrNotEnoughReplicas, back: true},
	{kafka: kerr.NotEnoughReplicas, err: replication.ErrHandsOver},      // every client tries again after a pause, and asks nobody who leads: nobody else does yet
	{kafka: kerr.NotLeaderForPartition, err: replication.ErrHandedOver}, // whoever asks learns who leads, should this node not hear of it
	{kafka: kerr.NotEnoughReplicasAfterAppend, err: replication.ErrNotEnoughReplicasAfterAppend, back: true},
	{kafka: kerr.RequestTimedOut, err: replication.ErrTimedOut, back: true},
	{kafka: kerr.OffsetNotAvailable, err: replication.ErrOffsetNotAvailable, back: true},
	{kafka: kerr.IneligibleReplica, err: replication.ErrIneligibleReplica, back: true},
	{kafka: kerr.OperationNotAttempted, err: replication.ErrNotAttempted, back: true},
	{kafka: kerr.InvalidUpdateVersion, err: replication.ErrInvalidUpdateVersion, back: true},
	{kafka: kerr.InvalidRequest, err: replication.ErrInvalidRequest, back: true},
	{kafka: kerr.NewLeaderElected, err: replication.ErrNewLeaderElected, back: true},
	{kafka: kerr.NotLeaderForPartition, err: replication.ErrClosed}, // the replica is going away: look for the leader again

	// log
	{kafka: kerr.OffsetOutOfRange, err: &log.OffsetOutOfRangeError{Offset: -1, LogStartOffset: -1, LogEndOffset: -1}, match: is[*log.OffsetOutOfRangeError], back: true},
	{kafka: kerr.OutOfOrderSequenceNumber, err: &log.SequenceError{ProducerID: -1}, match: is[*log.SequenceError], back: true},
	{kafka: kerr.InvalidProducerEpoch, err: &log.ProducerEpochError{ProducerID: -1}, match: is[*log.ProducerEpochError], back: true},
	{kafka: kerr.TransactionCoordinatorFenced, err: &log.CoordinatorEpochError{ProducerID: -1}, match: is[*log.CoordinatorEpochError], back: true},
	{kafka: kerr.RecordListTooLarge, err: log.ErrRecordListTooLarge, back: true},
	{kafka: kerr.InvalidTxnState, err: log.ErrInvalidTxnState, back: true},
	{kafka: kerr.NotEnoughReplicas, err: &log.FullError{}, match: is[*log.FullError]}, // every client tries again after a pause, and does not take the partition for gone as with KAFKA_STORAGE_ERROR
	{kafka: kerr.KafkaStorageError, err: &log.StorageError{Op: "remote", Err: kerr.KafkaStorageError}, match: is[*log.StorageError], back: true},
	{kafka: kerr.KafkaStorageError, err: &log.CorruptError{}, match: is[*log.CorruptError]}, // damage below what was synced: this replica cannot serve, others may
	{kafka: kerr.KafkaStorageError, err: &log.DamagedError{}, match: is[*log.DamagedError]}, // until it is mended
	{kafka: kerr.KafkaStorageError, err: &log.CopyError{}, match: is[*log.CopyError]},
	{kafka: kerr.KafkaStorageError, err: &log.TopicIDError{}, match: is[*log.TopicIDError]}, // another incarnation's directory is in the way
	{kafka: kerr.NotLeaderForPartition, err: log.ErrClosed},
	{kafka: kerr.NotLeaderForPartition, err: log.ErrTruncated}, // handlers read again; what still meets it came in the middle of a leader change

	// log/record
	{kafka: kerr.CorruptMessage, err: &record.CorruptError{BaseOffset: -1, Reason: "reported by a peer"}, match: is[*record.CorruptError], back: true},
	{kafka: kerr.InvalidTimestamp, err: &record.TimestampError{Index: -1, Reason: "reported by a peer"}, match: is[*record.TimestampError], back: true},
	{kafka: kerr.MessageTooLarge, err: &record.TooLargeError{}, match: is[*record.TooLargeError], back: true},
	{kafka: kerr.UnsupportedCompressionType, err: &record.UnsupportedCodecError{}, match: is[*record.UnsupportedCodecError], back: true},
	{kafka: kerr.InvalidRecord, err: &record.InvalidError{Index: -1, Reason: "reported by a peer"}, match: is[*record.InvalidError], back: true},
	{kafka: kerr.CorruptMessage, err: record.ErrPartial},
	{kafka: kerr.InvalidRecord, err: record.ErrEmpty},

	// groups
	{kafka: kerr.NotCoordinator, err: groups.ErrNotCoordinator},
	{kafka: kerr.CoordinatorLoadInProgress, err: groups.ErrLoading},
	{kafka: kerr.CoordinatorNotAvailable, err: groups.ErrNotAvailable},
	{kafka: kerr.UnknownServerError, err: groups.ErrRefused},
	{kafka: kerr.InvalidRequest, err: machine.ErrInvalidRequest},
	{kafka: kerr.InvalidGroupID, err: machine.ErrInvalidGroupID},
	{kafka: kerr.GroupIDNotFound, err: machine.ErrGroupIDNotFound},
	{kafka: kerr.UnknownMemberID, err: machine.ErrUnknownMember},
	{kafka: kerr.MemberIDRequired, err: machine.ErrMemberIDRequired},
	{kafka: kerr.IllegalGeneration, err: machine.ErrIllegalGeneration},
	{kafka: kerr.RebalanceInProgress, err: machine.ErrRebalanceInProgress},
	{kafka: kerr.InconsistentGroupProtocol, err: machine.ErrInconsistentProtocol},
	{kafka: kerr.InvalidSessionTimeout, err: machine.ErrInvalidSessionTimeout},
	{kafka: kerr.FencedInstanceID, err: machine.ErrFencedInstance},
	{kafka: kerr.UnreleasedInstanceID, err: machine.ErrUnreleasedInstance},
	{kafka: kerr.GroupMaxSizeReached, err: machine.ErrMaxSizeReached},
	{kafka: kerr.FencedMemberEpoch, err: machine.ErrFencedMemberEpoch},
	{kafka: kerr.StaleMemberEpoch, err: machine.ErrStaleMemberEpoch},
	{kafka: kerr.UnsupportedAssignor, err: machine.ErrUnsupportedAssignor},
	{kafka: kerr.UnsupportedVersion, err: machine.ErrUnsupportedVersion},
	{kafka: kerr.NonEmptyGroup, err: machine.ErrNonEmptyGroup},
	{kafka: kerr.GroupSubscribedToTopic, err: machine.ErrSubscribedToTopic},
	{kafka: kerr.OffsetMetadataTooLarge, err: machine.ErrOffsetMetadataTooLarge},
	{kafka: kerr.CoordinatorNotAvailable, err: machine.ErrCoordinatorNotAvailable},

	// configs, transport, context
	{kafka: kerr.InvalidConfig, err: &configs.Error{}, match: is[*configs.Error]},
	{kafka: kerr.RequestTimedOut, err: context.DeadlineExceeded},
	{kafka: kerr.RequestTimedOut, err: context.Canceled},
	{kafka: kerr.RequestTimedOut, err: &transport.ConnError{}, match: is[*transport.ConnError]}, // the controller could not be asked: retriable, and the outcome is open
	{kafka: kerr.RequestTimedOut, err: &transport.UnknownNodeError{}, match: is[*transport.UnknownNodeError]},
	{kafka: kerr.UnsupportedVersion, err: &transport.UnsupportedVersionError{}, match: is[*transport.UnsupportedVersionError]},
	{kafka: kerr.RequestTimedOut, err: transport.ErrClosed},
	{kafka: kerr.RequestTimedOut, err: controller.ErrClosed},

	// broker
	{kafka: kerr.UnknownTopicID, err: errUnknownTopicID, back: true},
	{kafka: kerr.NotLeaderForPartition, err: errFencedSelf},
	{kafka: kerr.InvalidTopicException, err: errInvalidTopic, back: true},
	{kafka: kerr.NotLeaderForPartition, err: ErrClosed},
	{kafka: kerr.BrokerNotAvailable, err: ErrNotStarted},
}

func (e errorCode) matches(err error) bool {
	if e.match != nil {
		return e.match(err)
	}
	return errors.Is(err, e.err)
}

// codeOf returns Kafka's code of an error: 0 of nil, that of a *kerr.Error itself, UNKNOWN_SERVER_ERROR of what the table does not know.
func codeOf(err error) int16 {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok && !is[*log.StorageError](err) {
		return e.Code
	}
	for _, row := range errorCodes {
		if row.matches(err) {
			return row.kafka.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// errorOf returns the error that a peer's code stands for: nil for 0, the lower layers' error where the table has one, else Kafka's *kerr.Error.
func errorOf(code int16) error {
	if code == 0 {
		return nil
	}
	for _, row := range errorCodes {
		if row.back && row.kafka.Code == code {
			return row.err
		}
	}
	return kerr.ErrorForCode(code)
}

// messageOf is the text that goes with a code where the protocol has room for one.
func messageOf(err error) *string {
	if err == nil {
		return nil
	}
	s := err.Error()
	return &s
}
