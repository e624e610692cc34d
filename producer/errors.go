package producer

import (
	"errors"
	"fmt"
)

// ErrClosed is the cause of every error after Close, and of the errors of records that Close cut short.
var ErrClosed = errors.New("producer: closed")

// ErrDeliveryTimeout is the cause when a record was not acknowledged within Config.DeliveryTimeout. The error of the last
// attempt, if there was one, is wrapped beside it.
var ErrDeliveryTimeout = errors.New("producer: delivery timed out")

// ErrUnknownOutcome matches, with errors.Is, every error of a record that may or may not be in the log.
//
//	switch md, err := p.Produce(ctx, r); {
//	case err == nil: // committed, at md.Offset
//	case errors.Is(err, producer.ErrUnknownOutcome): // look before you repeat it
//	default: // certainly not in the log: repeating it is safe
//	}
var ErrUnknownOutcome = errors.New("producer: outcome unknown")

// Outcome says what is known of a record when its producer is done with it.
type Outcome int8

const (
	// Committed: acknowledged as Config.Acks asks. Its error is nil.
	Committed Outcome = iota

	// NotCommitted: certainly not in the log, and it will not appear there. Causes: the record or the call was refused here
	// (closed, too large, no such topic, a context that ended while waiting for buffer space); it was never sent until its
	// delivery timeout; or every attempt ended before the leader appended it: MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE,
	// INVALID_RECORD, INVALID_TIMESTAMP, CORRUPT_MESSAGE, UNSUPPORTED_COMPRESSION_TYPE, NOT_ENOUGH_REPLICAS,
	// INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_ID, authorization errors, a fenced or unknown producer epoch, a sequence out of order,
	// a connection that could not be made.
	NotCommitted

	// Unknown: in the log or not; with idempotence at most once. Causes: an attempt without an answer (connection lost, request
	// timed out, delivery timeout or Close while under way); REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS_AFTER_APPEND, a leader that
	// lost its office (NOT_LEADER_OR_FOLLOWER), KAFKA_STORAGE_ERROR or an error not listed at NotCommitted. All of these are retried
	// within the delivery timeout; one such attempt makes the outcome unknown even if a later one was refused.
	// Also: the context of Produce ended while its record was on its way.
	Unknown
)

// String returns the name of o.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case NotCommitted:
		return "not committed"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("outcome %d", int8(o))
}

// OutcomeOf returns what an error of this package says: Committed for nil, Unknown for errors of others.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Committed
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Outcome
	}
	return Unknown
}

// Error is why a record was not acknowledged. All records of a batch may share one.
type Error struct {
	Topic     string
	Partition int32   // -1 if none was chosen
	Outcome   Outcome // NotCommitted or Unknown
	Err       error   // ErrClosed, ErrDeliveryTimeout, a *kerr.Error, a *RejectedError, a context's error, a transport error, …
}

func (e *Error) Error() string {
	if e.Partition < 0 {
		return fmt.Sprintf("produce to %q (%v): %v", e.Topic, e.Outcome, e.Err)
	}
	return fmt.Sprintf("produce to %s-%d (%v): %v", e.Topic, e.Partition, e.Outcome, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is ErrUnknownOutcome and the outcome is unknown.
func (e *Error) Is(target error) bool { return target == ErrUnknownOutcome && e.Outcome == Unknown }

// RejectedError says why a leader refused a record, or the batch that the record was in (KIP-467).
type RejectedError struct {
	Err      error  // the *kerr.Error
	Message  string // the leader's words, may be empty
	Innocent bool   // the leader found no fault with this record, only with others of its batch: sending it again may succeed
}

func (e *RejectedError) Error() string {
	switch {
	case e.Innocent:
		return fmt.Sprintf("%v: other records of the batch were refused: %s", e.Err, e.Message)
	case e.Message == "":
		return e.Err.Error()
	}
	return fmt.Sprintf("%v: %s", e.Err, e.Message)
}

// Unwrap returns the Kafka error.
func (e *RejectedError) Unwrap() error { return e.Err }
