package replication

import (
	"errors"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication/machine"
)

// Acks says when an append is answered.
type Acks int16

// Kafka's acks.
const (
	AcksAll    Acks = -1
	AcksNone   Acks = 0
	AcksLeader Acks = 1
)

func (a Acks) machine() machine.Acks {
	switch a {
	case AcksNone:
		return machine.AcksNone
	case AcksLeader:
		return machine.AcksLeader
	}
	return machine.AcksAll // anything else is refused by the broker; the strictest is the safe reading
}

// AppendOptions go with Append.
type AppendOptions struct {
	Acks   Acks
	Now    time.Time // the zero time means time.Now()
	Origin log.Origin
	// RequiredLeaderEpoch, if >= 0, must be the leader's epoch (coordinators). Others pass -1.
	RequiredLeaderEpoch int32
	// Until is when the node may have ceased to lead without having heard of it; an append that is held back is not made after that. The zero time is never.
	Until time.Time
}

// AppendResult is the outcome of an append.
type AppendResult struct {
	BaseOffset     int64 // -1 on an error before the append
	LogAppendTime  int64 // milliseconds; -1 with CreateTime
	LogStartOffset int64
	Leader         int32 // the current leader as far as known, with ErrNotLeader (KIP-951)
	LeaderEpoch    int32
	Err            error // see Append; ErrTimedOut and lost leadership leave the data in the log
}

// Pending is an append that waits for its acknowledgement.
type Pending struct {
	replica *Replica
	waiter  machine.Waiter // guarded by replica.mu until it is completed
	done    func(AppendResult)
	result  AppendResult

	held *heldAppend // guarded by replica.mu: it is not appended yet
}

// Fail ends the wait with err (ErrTimedOut) unless the append is done already; it reports whether it did. The data stays in the log, if it is there: an append that is held back is not made any more.
func (p *Pending) Fail(err error) bool {
	p.replica.lock()
	ok := p.replica.mu.held.cancel(p) || p.replica.mu.machine.Cancel(&p.waiter)
	p.replica.mu.Unlock()
	if ok {
		p.result.Err = err
		p.done(p.result)
	}
	return ok
}

// complete answers an append whose wait is over.
func (p *Pending) complete(fx *effects) {
	p.result.Err = outcomeError(p.waiter.Outcome, fx.offline)
	if p.waiter.Outcome == machine.LostLeadership {
		p.result.Leader, p.result.LeaderEpoch = fx.leader, fx.leaderEpoch
	}
	p.done(p.result)
}

func outcomeError(o machine.Outcome, storage error) error {
	switch o {
	case machine.LostLeadership:
		return ErrNotLeader
	case machine.StorageLost:
		return storage
	}
	return nil
}

// Append appends one batch as leader. done is called exactly once, without locks, perhaps before Append returns: at once for an error or AcksNone; when the leader has confirmed (synced, with
// FlushMessages 1) for AcksLeader; when the high watermark has passed the batch for AcksAll. The returned Pending is nil when done was called already.
// b is not kept after Append returns.
//
// While the leadership is about to move by plan, for about a round trip, appends are held back: then another replica leads, and they end with ErrNotLeader without having been made, or they are made after all.
//
// A batch that an idempotent producer sends again is answered with its first offsets, and waits like the first one did.
//
// Errors in the result: ErrNotLeader, ErrFencedEpoch and ErrUnknownEpoch, ErrNotEnoughReplicas, ErrHandsOver, what log.Log.Append refuses a batch with, ErrClosed, *log.StorageError;
// after the append ErrNotLeader, *log.StorageError and what Fail was given.
func (r *Replica) Append(b record.Batch, o AppendOptions, done func(AppendResult)) *Pending {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	r.lock()
	res := AppendResult{BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, Leader: -1, LeaderEpoch: -1}
	err := r.appendableLocked(o)
	if errors.Is(err, ErrHandsOver) {
		if p := r.holdLocked(b, o, res, done); p != nil {
			r.mu.Unlock()
			return p
		}
	}
	if err != nil {
		s := r.mu.machine.State()
		res.Leader, res.LeaderEpoch, res.Err = s.Leader, s.LeaderEpoch, err
		r.mu.Unlock()
		done(res)
		return nil
	}
	fx := r.beginLocked()
	outcome, end := r.appendNowLocked(b, o, &res, fx)
	if outcome != machine.Waiting {
		r.endLocked(fx)
		done(res)
		return nil
	}
	p := &Pending{replica: r, done: done, result: res}
	r.waitLocked(p, o, end)
	r.endLocked(fx)
	return p
}

// appendNowLocked appends, and tells what became of it; the error is in res. While the outcome is Waiting it is so for the log up to end.
func (r *Replica) appendNowLocked(b record.Batch, o AppendOptions, res *AppendResult, fx *effects) (outcome machine.Outcome, end int64) {
	appended, err := r.log.Append(b, log.AppendOptions{LeaderEpoch: r.mu.machine.LeaderEpoch(), Now: o.Now, Origin: o.Origin})
	if err != nil {
		if isStorageError(err) {
			r.failLocked(err, fx)
		}
		res.Err = err
		return machine.GivenUp, 0
	}
	r.mu.machine.Appended(r.log.Offsets().LogEndOffset, o.Now, &fx.Effects)
	r.afterAppendLocked(fx)
	res.BaseOffset, res.LogAppendTime, res.LogStartOffset = appended.BaseOffset, appended.LogAppendTime, r.log.Offsets().LogStartOffset
	outcome = r.mu.machine.Outcome(o.Acks.machine(), appended.EndOffset)
	res.Err = outcomeError(outcome, nil)
	return outcome, appended.EndOffset
}

// waitLocked has p answered when the log up to end is as durable as it wants.
func (r *Replica) waitLocked(p *Pending, o AppendOptions, end int64) {
	p.waiter.Owner = p
	r.mu.machine.Wait(&p.waiter, o.Acks.machine(), end)
}

// appendableLocked says whether an append may start.
func (r *Replica) appendableLocked(o AppendOptions) error {
	if err := r.epochErrorLocked(o.RequiredLeaderEpoch, true); err != nil {
		return err
	}
	check, enough := r.mu.machine.CheckAppend(o.Acks.machine(), -1)
	switch {
	case check == machine.HandsOver:
		return ErrHandsOver
	case !enough:
		return ErrNotEnoughReplicas
	}
	return nil
}

// afterAppendLocked decides whether what the log has unsynced wants a sync, now or within flush.ms.
func (r *Replica) afterAppendLocked(fx *effects) {
	o := r.log.Offsets()
	switch unsynced := o.LogEndOffset - o.SyncedEndOffset; {
	case unsynced <= 0:
	case r.mu.settings.needsFlush(unsynced):
		fx.sync = true
	case r.mu.settings.FlushInterval > 0 && !r.mu.flushing:
		fx.syncAfter = r.mu.settings.FlushInterval
	}
}
