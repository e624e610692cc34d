package replication

import (
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
}

// Fail ends the wait with err (ErrTimedOut) unless the append is done already; it reports whether it did. The data stays in the log.
func (p *Pending) Fail(err error) bool {
	p.replica.lock()
	ok := p.replica.mu.machine.Cancel(&p.waiter)
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
// A batch that an idempotent producer sends again is answered with its first offsets, and waits like the first one did.
//
// Errors in the result: ErrNotLeader, ErrFencedEpoch and ErrUnknownEpoch, ErrNotEnoughReplicas, what log.Log.Append refuses a batch with, ErrClosed, *log.StorageError;
// after the append ErrNotLeader, *log.StorageError and what Fail was given.
func (r *Replica) Append(b record.Batch, o AppendOptions, done func(AppendResult)) *Pending {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	r.lock()
	res := AppendResult{BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, Leader: -1, LeaderEpoch: -1}
	if err := r.appendableLocked(o); err != nil {
		s := r.mu.machine.State()
		res.Leader, res.LeaderEpoch, res.Err = s.Leader, s.LeaderEpoch, err
		r.mu.Unlock()
		done(res)
		return nil
	}
	epoch := r.mu.machine.LeaderEpoch()
	appended, err := r.log.Append(b, log.AppendOptions{LeaderEpoch: epoch, Now: o.Now, Origin: o.Origin})
	if err != nil {
		res.Err = err
		if isStorageError(err) {
			fx := r.beginLocked()
			r.failLocked(err, fx)
			r.endLocked(fx)
		} else {
			r.mu.Unlock()
		}
		done(res)
		return nil
	}
	fx := r.beginLocked()
	acks := o.Acks.machine()
	r.mu.machine.Appended(r.log.Offsets().LogEndOffset, o.Now, &fx.Effects)
	r.afterAppendLocked(fx)
	res.BaseOffset, res.LogAppendTime, res.LogStartOffset = appended.BaseOffset, appended.LogAppendTime, r.log.Offsets().LogStartOffset
	outcome := r.mu.machine.Outcome(acks, appended.EndOffset)
	if outcome != machine.Waiting {
		r.endLocked(fx)
		res.Err = outcomeError(outcome, nil)
		done(res)
		return nil
	}
	p := &Pending{replica: r, done: done, result: res}
	p.waiter.Owner = p
	r.mu.machine.Wait(&p.waiter, acks, appended.EndOffset)
	r.endLocked(fx)
	return p
}

// appendableLocked says whether an append may start.
func (r *Replica) appendableLocked(o AppendOptions) error {
	if err := r.epochErrorLocked(o.RequiredLeaderEpoch, true); err != nil {
		return err
	}
	if _, enough := r.mu.machine.CheckAppend(o.Acks.machine(), -1); !enough {
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
