package producer

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/transport"
)

// errNoAnswer is the cause when a node's answer does not mention a partition that was in the request.
var errNoAnswer = errors.New("producer: the answer lacks the partition")

// resultKind is what follows from an attempt.
type resultKind int8

const (
	resultSuccess    resultKind = iota
	resultRetry                 // send it again
	resultSplit                 // send it again in smaller batches; fatal for a single record
	resultOutOfOrder            // the leader waits for another sequence
	resultLostID                // the leader wants another producer epoch, or another id
	resultFatal                 // never again
)

// result is what an attempt came to.
type result struct {
	kind    resultKind
	err     error
	maybe   bool // the attempt may have left the batch in the log
	aliased bool // it ended without an answer: others may still read the batch's bytes
	refresh bool // metadata may be out of date
	newID   bool // for resultLostID: an epoch is not enough

	baseOffset, logAppendTime int64 // for resultSuccess
	message                   string
	records                   []kmsg.ProduceResponseTopicPartitionErrorRecord
}

// resultOfCode says what an error code of a Produce response means.
func resultOfCode(code int16) result {
	r := result{err: kerr.ErrorForCode(code)}
	switch r.err {
	case kerr.DuplicateSequenceNumber: // in the log already, nobody remembers where
		return result{kind: resultSuccess, baseOffset: -1, logAppendTime: -1}

	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		r.kind = resultSplit
	case kerr.OutOfOrderSequenceNumber:
		r.kind = resultOutOfOrder
	case kerr.UnknownProducerID:
		r.kind = resultLostID
	case kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidProducerIDMapping:
		r.kind, r.newID = resultLostID, true

	// Refused before the append, for good.
	case kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.InvalidTopicException, kerr.InvalidRequiredAcks, kerr.UnsupportedCompressionType,
		kerr.UnsupportedForMessageFormat, kerr.UnsupportedVersion, kerr.InvalidRequest, kerr.PolicyViolation, kerr.InvalidTxnState:
		r.kind = resultFatal

	// Refused before the append, and mendable.
	case kerr.CorruptMessage, kerr.NotEnoughReplicas, kerr.ThrottlingQuotaExceeded:
		r.kind = resultRetry
	case kerr.UnknownTopicID, kerr.LeaderNotAvailable, kerr.InconsistentTopicID, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch:
		r.kind, r.refresh = resultRetry, true

	// Appended, or nobody can tell.
	case kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend:
		r.kind, r.maybe = resultRetry, true
	case kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.KafkaStorageError, kerr.NetworkException, kerr.ReplicaNotAvailable:
		r.kind, r.maybe, r.refresh = resultRetry, true, true
	default:
		r.kind, r.maybe = resultFatal, true
		if kerr.IsRetriable(r.err) {
			r.kind, r.refresh = resultRetry, true
		}
	}
	return r
}

// resultOfError says what an error of transport.Client.Send means.
func resultOfError(err error) result {
	if e, ok := errors.AsType[*transport.UnsupportedVersionError](err); ok {
		return result{kind: resultFatal, err: e}
	}
	r := result{kind: resultRetry, err: err, refresh: true}
	if c, ok := errors.AsType[*transport.ConnError](err); ok {
		r.maybe = c.Sent
	} else if _, ok := errors.AsType[*transport.UnknownNodeError](err); !ok {
		r.maybe = true
	}
	r.aliased = r.maybe
	if errors.Is(err, transport.ErrClosed) || errors.Is(err, context.Canceled) {
		r.kind = resultFatal // the client is closed: nothing will ever be sent
	}
	return r
}

// finish gives b the result of an attempt. It returns the node that should look at the partition again, or nil.
func (pt *partition) finish(b *batch, r *result) *node {
	p := pt.topic.p
	pt.mu.Lock()
	defer pt.mu.Unlock()
	b.aliased = b.aliased || r.aliased
	if b.state != flying {
		return nil // its time was up before
	}
	w := &pt.window
	switch r.kind {
	case resultSuccess:
		b.baseOffset, b.logAppendTime = r.baseOffset, r.logAppendTime
		w.succeed(b)
		pt.failures, pt.notBefore = 0, time.Time{}
	case resultRetry:
		w.retry(b, r.maybe)
		pt.delayLocked(b, r)
	case resultSplit:
		pt.splitLocked(b, r)
	case resultOutOfOrder:
		w.outOfOrder(b, pt.errorOf(b, r))
		pt.calmLocked(b)
	case resultLostID:
		how := bumpEpoch
		if r.newID {
			how = bumpID
			p.identity.drop(w.producerID)
		}
		w.lostState(b, how, pt.errorOf(b, r))
		pt.calmLocked(b)
	case resultFatal:
		b.maybe = b.maybe || r.maybe
		b.rejected = rejections(b, r)
		w.fail(b, pt.errorOf(b, r))
	}
	pt.settleLocked()
	return pt.wakeLocked(fullBatch)
}

// delayLocked puts the retry off, except when the next leader is known already.
func (pt *partition) delayLocked(b *batch, r *result) {
	b.lastErr = r.err
	if pt.window.sent[0] != b {
		return // the first one's retry sets the pace
	}
	if leader, epoch := pt.topic.leader(pt.number); r.refresh && leader >= 0 && epoch > pt.epoch {
		pt.notBefore = time.Time{}
		return
	}
	pt.backOffLocked(time.Now())
}

// calmLocked puts the retry of a refused sequence off if new numbers did not help: the leader is not as it should be.
func (pt *partition) calmLocked(b *batch) {
	if b.attempts > 2 && pt.window.bump != bumpNone {
		pt.backOffLocked(time.Now())
	}
}

// errorOf makes the error of a batch whose last attempt came to r.
func (pt *partition) errorOf(b *batch, r *result) *Error {
	e := &Error{Topic: pt.topic.name, Partition: pt.number, Outcome: NotCommitted, Err: r.err}
	if r.message != "" {
		e.Err = &RejectedError{Err: r.err, Message: r.message}
	}
	if b.maybe || r.maybe {
		e.Outcome = Unknown
	}
	return e
}

// rejections returns the error of each record if the leader told which ones it refused (KIP-467), else nil.
func rejections(b *batch, r *result) []error {
	if len(r.records) == 0 {
		return nil
	}
	errs := make([]error, b.count)
	innocent := &RejectedError{Err: r.err, Message: r.message, Innocent: true}
	for i := range errs {
		errs[i] = innocent
	}
	for _, rec := range r.records {
		if rec.RelativeOffset < 0 || int(rec.RelativeOffset) >= len(errs) {
			continue
		}
		e := &RejectedError{Err: r.err, Message: r.message}
		if rec.ErrorMessage != nil {
			e.Message = strings.Clone(*rec.ErrorMessage)
		}
		errs[rec.RelativeOffset] = e
	}
	return errs
}
