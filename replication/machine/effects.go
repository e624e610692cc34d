package machine

import "time"

// Effects is what the driver has to do after an event, in this order: StartEpoch and HighWatermark before the lock is let go, the rest without it.
// The caller reuses one; Reset empties it.
type Effects struct {
	// StartEpoch: this replica leads a new epoch. Record (State.LeaderEpoch, log end) before anything is served; if that fails, call StorageFailed.
	StartEpoch bool
	// HighWatermark is the new high watermark for the log; -1 when it has not moved.
	HighWatermark int64
	// RoleChanged: role or leader epoch changed; whoever waits should look again.
	RoleChanged bool
	// ISRChanged: the committed in-sync set of a leader changed.
	ISRChanged bool
	// Propose: send Proposal to the controller and report its answer with Answered. The members are the machine's memory, valid until the next event.
	Propose  bool
	Proposal Proposal
	// RetryIn: call Retry after this long; 0: not.
	RetryIn time.Duration

	completed, lastCompleted *Waiter
}

// Reset empties the effects.
func (fx *Effects) Reset() { *fx = Effects{HighWatermark: -1} }

// Completed is the first of the waiters that were answered or failed; follow Next. Their Outcome is set.
func (fx *Effects) Completed() *Waiter { return fx.completed }

func (fx *Effects) complete(w *Waiter, o Outcome) {
	w.Outcome = o
	if fx.lastCompleted == nil {
		fx.completed = w
	} else {
		fx.lastCompleted.next = w
	}
	fx.lastCompleted = w
}

// Proposal is an in-sync set to send to the controller.
type Proposal struct {
	Attempt        uint64 // to be given back with the answer
	LeaderEpoch    int32
	PartitionEpoch int32
	Members        []Member
	HandOver       []int32 // the broker that has all that this leader has, which appends no more: it may lead
}

// Member is one member of a proposed in-sync set.
type Member struct {
	ID    int32
	Epoch int64 // the broker epoch of its last fetch; -1 if it has not fetched, and for the leader itself
}
