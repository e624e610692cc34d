package machine

import (
	"slices"
	"time"
)

// Pending is the kind of ISR change in flight.
type Pending int8

// The states of the in-sync set.
const (
	Committed Pending = iota
	PendingExpand
	PendingShrink
	PendingHandOver // no other in-sync set: the leader says that it has handed over
)

// String is for transcripts.
func (p Pending) String() string {
	switch p {
	case Committed:
		return "committed"
	case PendingExpand:
		return "pending-expand"
	case PendingShrink:
		return "pending-shrink"
	case PendingHandOver:
		return "pending-hand-over"
	}
	return "unknown"
}

// Back-off of proposals: Kafka retries after 50 ms for ever.
const (
	proposalBackoffMin = 50 * time.Millisecond
	proposalBackoffMax = time.Second
)

// isrState is the proposal in flight, if any. The committed set is in Machine.state.ISR.
type isrState struct {
	pending  Pending
	newcomer int32    // PendingExpand: who joins
	members  []Member // what was proposed
	attempt  uint64   // number of the last proposal sent; answers to earlier ones are ignored
	sent     bool     // waits for an answer
	stuck    bool     // only newer metadata resolves it
	backoff  time.Duration
	retryAt  time.Time
	doubt    time.Time // when an attempt ended without an answer: it may be on its way for LagTime after that; zero if there is none
	holdOff  time.Time // no new expansion before: the last one was refused
}

// settle drops the proposal in flight. The committed set stands.
func (s *isrState) settle() {
	*s = isrState{members: s.members[:0], attempt: s.attempt, holdOff: s.holdOff}
}

// Answer is the class of the controller's answer to a proposal.
type Answer int8

// The classes (KIP-497, §AlterPartition).
const (
	Applied     Answer = iota // committed; the state says what
	NotApplied                // certainly not applied: INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED
	AwaitUpdate               // refused because we know too little (fenced epoch, stale partition epoch, unknown topic, invalid, new leader): newer metadata will come
	Unanswered                // anything else: may have been applied or not; ask again
)

// Answered takes the controller's answer to a proposal. s is looked at with Applied only, and only its leader epoch, partition epoch and ISR.
func (m *Machine) Answered(attempt uint64, a Answer, s State, now time.Time, fx *Effects) {
	if m.role != Leader || m.isr.pending == Committed || attempt != m.isr.attempt || !m.isr.sent {
		return
	}
	m.isr.sent = false
	m.answered(a, s, now, fx)
	m.drain(now, fx)
	m.arm(now, fx)
}

func (m *Machine) answered(a Answer, s State, now time.Time, fx *Effects) {
	switch a {
	case Applied:
		if s.LeaderEpoch != m.state.LeaderEpoch || s.PartitionEpoch < m.state.PartitionEpoch {
			m.isr.stuck = true // there is a newer leader epoch, or the answer is to something old: metadata will tell
			return
		}
		fx.ISRChanged = !slices.Equal(m.state.ISR, s.ISR)
		m.state.PartitionEpoch = s.PartitionEpoch
		m.state.ISR = append(m.state.ISR[:0], s.ISR...)
		if m.isr.pending == PendingHandOver {
			m.handOver.step = declined // by a controller that does not know of it: this one still leads
		}
		m.isr.settle()
		m.isr.holdOff = time.Time{}
		m.assignFollowers(now, false)
		m.advance(now, fx)
	case NotApplied:
		if m.isr.pending == PendingHandOver {
			m.refuseHandOver(now, fx)
			return
		}
		if m.inDoubt(now) {
			m.retryLater(now, fx)
			return
		}
		m.isr.holdOff = now.Add(max(proposalBackoffMin, m.isr.backoff))
		m.isr.settle()
		m.markMaximal()
		m.advance(now, fx)
	case AwaitUpdate:
		m.isr.stuck = true
	default:
		m.isr.doubt = now
		m.handOver.doubt = m.isr.pending == PendingHandOver
		m.retryLater(now, fx)
	}
}

// inDoubt tells whether a refused expansion may be accepted yet: an earlier attempt had no answer, and may still be on its way to a controller that would not refuse it any more. Until that must be
// dead the newcomer stays in the maximal ISR. (A shrink in doubt is harmless.) Differs from Kafka: which goes back to the committed ISR at once.
func (m *Machine) inDoubt(now time.Time) bool {
	if m.isr.pending != PendingExpand || m.isr.doubt.IsZero() || now.Sub(m.isr.doubt) >= m.settings.LagTime {
		return false
	}
	proposed := m.isr.members[len(m.isr.members)-1].Epoch
	p := m.follower(m.isr.newcomer)
	return p == nil || proposed < 0 || p.BrokerEpoch <= proposed // else the newcomer has registered anew: the controller will never accept the epoch that was proposed
}

func (m *Machine) retryLater(now time.Time, fx *Effects) {
	m.isr.backoff = min(max(2*m.isr.backoff, proposalBackoffMin), proposalBackoffMax)
	m.isr.retryAt = now.Add(m.isr.backoff)
	fx.RetryIn = m.isr.backoff
}

// Retry sends a proposal again that had no answer, and ends a hand-over that takes too long; what the driver calls after Effects.RetryIn.
func (m *Machine) Retry(now time.Time, fx *Effects) {
	if m.role != Leader {
		return
	}
	m.retryProposal(now, fx)
	m.drain(now, fx)
	m.arm(now, fx)
}

func (m *Machine) retryProposal(now time.Time, fx *Effects) {
	if m.isr.pending == Committed || m.isr.sent || m.isr.stuck {
		return
	}
	if wait := m.isr.retryAt.Sub(now); wait > 0 {
		fx.RetryIn = wait
		return
	}
	m.send(fx)
}

// Tick looks at the clock: members of the ISR that have not been caught up for LagTime leave it.
func (m *Machine) Tick(now time.Time, fx *Effects) {
	if m.role != Leader {
		return
	}
	m.Retry(now, fx)
	m.proposeShrink(fx, func(p *Progress) bool { return !m.caughtUp(p, now) })
	m.advance(now, fx) // a replica that it waited for may have fallen behind
}

// maybeExpand proposes that p joins the ISR. It must have reached the high watermark, and the start of this epoch: until then the leader's high watermark may be below the true one.
func (m *Machine) maybeExpand(p *Progress, now time.Time, fx *Effects) {
	if m.isr.pending != Committed || p.InISR || p.Offset < m.hw || p.Offset < m.epochStart || now.Before(m.isr.holdOff) || m.handOver.step == stopped || !m.eligible(p.ID, p.BrokerEpoch) {
		return
	}
	m.isr.pending, m.isr.newcomer = PendingExpand, p.ID
	m.isr.members = m.isr.members[:0]
	for _, id := range m.state.ISR {
		m.isr.members = append(m.isr.members, m.member(id))
	}
	m.isr.members = append(m.isr.members, m.member(p.ID))
	m.markMaximal()
	m.send(fx)
}

// proposeShrink proposes the committed ISR without those that drop selects.
func (m *Machine) proposeShrink(fx *Effects, drop func(*Progress) bool) {
	if m.isr.pending != Committed {
		return
	}
	m.isr.members = m.isr.members[:0]
	for _, id := range m.state.ISR {
		if p := m.follower(id); p != nil && drop(p) {
			continue
		}
		m.isr.members = append(m.isr.members, m.member(id))
	}
	if len(m.isr.members) == len(m.state.ISR) {
		return
	}
	m.isr.pending = PendingShrink
	m.send(fx)
}

func (m *Machine) member(id int32) Member {
	if p := m.follower(id); p != nil {
		return Member{ID: id, Epoch: p.BrokerEpoch}
	}
	return Member{ID: id, Epoch: -1}
}

func (m *Machine) send(fx *Effects) {
	m.isr.attempt++
	m.isr.sent = true
	fx.Propose = true
	fx.Proposal = Proposal{
		Attempt: m.isr.attempt, LeaderEpoch: m.state.LeaderEpoch, PartitionEpoch: m.state.PartitionEpoch, Members: m.isr.members, HandOver: m.proposedHeir(),
	}
}

// markMaximal marks the members of the maximal ISR: the committed one, and who may have been added to it. Those whom a shrink leaves out stay in it until that is committed.
func (m *Machine) markMaximal() {
	for i := range m.followers {
		p := &m.followers[i]
		p.InMaximal = p.InISR || (m.isr.pending == PendingExpand && p.ID == m.isr.newcomer)
	}
}

// MaximalISR appends the maximal ISR to dst.
func (m *Machine) MaximalISR(dst []int32) []int32 {
	dst = append(dst, m.state.ISR...)
	if m.isr.pending == PendingExpand && !slices.Contains(m.state.ISR, m.isr.newcomer) {
		dst = append(dst, m.isr.newcomer)
	}
	return dst
}

// PendingChange is the kind of proposal in flight.
func (m *Machine) PendingChange() Pending { return m.isr.pending }
