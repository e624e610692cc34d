package replication

import (
	"errors"
	"time"

	"github.com/insynclog/insync/replication/machine"
)

// proposalLocked is a proposal of the machine in words of its own.
func (r *Replica) proposalLocked(p machine.Proposal) ISRProposal {
	isr := make([]ISRMember, len(p.Members))
	for i, m := range p.Members {
		isr[i] = ISRMember(m)
		if m.ID == r.config.NodeID {
			isr[i].Epoch = r.config.BrokerEpoch(m.ID)
		}
	}
	return ISRProposal{
		TopicID: r.config.TopicID, Topic: r.config.Topic, Partition: r.config.Partition,
		LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: isr, HandOver: p.HandOver,
	}
}

// proposalAnswered takes the controller's answer, whenever it comes.
func (r *Replica) proposalAnswered(attempt uint64, res ISRResult) {
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	r.mu.machine.Answered(attempt, answerOf(res.Err), machine.State(res.State), time.Now(), &fx.Effects)
	r.endLocked(fx)
}

// answerOf puts the controller's errors into the four classes that the machine tells apart.
func answerOf(err error) machine.Answer {
	switch {
	case err == nil:
		return machine.Applied
	case errors.Is(err, ErrIneligibleReplica), errors.Is(err, ErrNotAttempted):
		return machine.NotApplied
	case errors.Is(err, ErrFencedEpoch), errors.Is(err, ErrUnknownTopic), errors.Is(err, ErrInvalidUpdateVersion), errors.Is(err, ErrInvalidRequest), errors.Is(err, ErrNewLeaderElected):
		return machine.AwaitUpdate
	}
	return machine.Unanswered
}

// armRetryLocked has a proposal repeated after d. The armed timer counts as an effect under way.
func (r *Replica) armRetryLocked(d time.Duration) {
	if r.mu.retry == nil {
		r.performing.Add(1)
		r.mu.retry = time.AfterFunc(d, r.retryProposal)
		return
	}
	if !r.mu.retry.Reset(d) {
		r.performing.Add(1)
	}
}

func (r *Replica) retryProposal() {
	defer r.performing.Done()
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	r.mu.machine.Retry(time.Now(), &fx.Effects)
	r.endLocked(fx)
}
