package replication

import (
	"errors"
	"slices"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication/machine"
)

// effects is what one event leads to: collected under the replica's lock, performed without it. The memory is reused.
type effects struct {
	machine.Effects

	sync      bool // request a sync
	syncAfter time.Duration
	wake      []Watcher
	answers   []*Pending // that were held back, and have an outcome
	proposal  ISRProposal
	isr       []int32
	offline   error
	truncated bool
	from, to  int64

	leader, leaderEpoch int32 // for who is told that this replica does not lead
}

// beginLocked starts an event.
func (r *Replica) beginLocked() *effects {
	fx := r.spare.Swap(nil)
	if fx == nil {
		fx = new(effects)
	}
	fx.Effects.Reset()
	return fx
}

// endLocked finishes an event: it does what must be done under the lock, lets the lock go and performs the rest. last runs at the very end of the locked part.
func (r *Replica) endLocked(fx *effects, last ...func()) {
	r.releaseLocked(fx)
	if fx.HighWatermark >= 0 {
		r.log.SetHighWatermark(fx.HighWatermark) // before any answer: a reader that has seen the answer sees the record
	}
	if r.mu.machine.Role() != machine.Leader {
		r.changes.Add(1)
	}
	r.collectWatchersLocked(fx)
	if fx.Completed() != nil {
		s := r.mu.machine.State()
		fx.leader, fx.leaderEpoch = s.Leader, s.LeaderEpoch
	}
	if fx.Propose {
		fx.proposal = r.proposalLocked(fx.Proposal)
	}
	if fx.ISRChanged && r.config.Events.ISRChanged != nil {
		fx.isr = slices.Clone(r.mu.machine.State().ISR)
	}
	if fx.RetryIn > 0 {
		r.armRetryLocked(fx.RetryIn)
	}
	if fx.syncAfter > 0 && !fx.sync {
		r.mu.flushing = true
	}
	for _, f := range last {
		f()
	}
	r.performing.Add(1)
	r.mu.Unlock()
	r.perform(fx)
}

// perform does what may call out, without the lock.
func (r *Replica) perform(fx *effects) {
	defer r.performing.Done() // also when a callback panics
	// The sync first: it is the longest part of an append's way.
	if fx.sync {
		r.handle.Request()
	} else if fx.syncAfter > 0 {
		r.handle.RequestAfter(fx.syncAfter)
	}
	for _, w := range fx.wake {
		w.Wake()
	}
	for w := fx.Completed(); w != nil; {
		next := w.Next()
		w.Owner.(*Pending).complete(fx)
		w = next
	}
	for _, p := range fx.answers {
		p.done(p.result)
	}
	if fx.Propose {
		attempt := fx.Proposal.Attempt
		r.config.ProposeISR(fx.proposal, func(res ISRResult) { r.proposalAnswered(attempt, res) })
	}
	if fx.isr != nil {
		r.config.Events.ISRChanged(r.config.Topic, r.config.Partition, fx.isr)
	}
	if fx.truncated && r.config.Events.Truncated != nil {
		r.config.Events.Truncated(r.config.Topic, r.config.Partition, fx.from, fx.to)
	}
	if fx.offline != nil && r.config.Events.Offline != nil && !errors.Is(fx.offline, log.ErrClosed) {
		r.config.Events.Offline(r.config.Topic, r.config.Partition, fx.offline)
	}
	clear(fx.wake)
	*fx = effects{wake: fx.wake[:0]}
	r.spare.Store(fx)
}
