package machine

import (
	"slices"
	"time"
)

// A planned move of the leadership drains first, so that what only the leader has (acknowledged with acks=1) moves with it:
//
//	mark in metadata ──▶ approaching ──(the heir has what there was when the mark came)──▶ stopped ──(the heir has everything)──▶ PendingHandOver ──▶ another leads
//	                         │                                                                │                                      │
//	                         └──────────────── Settings.HandOverTime is over ─────────────────┴──▶ declined ◀── certainly not applied ┘
//
// While it is approaching appends go on: how far behind the heir is does not matter to producers. While it is stopped they are not taken, which is for about a round trip. Once the controller has been told, only a
// newer state, or its word that it has not done it, lets appends go on: it may have made the move, and what is appended then would be lost. Until then clients read nothing, either: the other one may have more.
//
// A leader that does not hand over in time is asked to step down (StepDown), without a mark that it would have to hear of.

// handOverStep is how far a hand-over has come.
type handOverStep int8

const (
	noHandOver  handOverStep = iota
	approaching              // the heir is fetching what there was when the mark came
	stopped                  // no appends
	declined                 // it took too long, or was refused; for as long as the mark is there
)

// handOver is the hand-over that metadata asks for.
type handOver struct {
	step  handOverStep
	to    int32
	goal  int64 // the log end when the mark came
	until time.Time
	doubt bool // the controller was told under this partition epoch, and did not answer: that may be on its way
}

// takeHandOver takes the mark of a committed state.
func (m *Machine) takeHandOver(to []int32, now time.Time, fx *Effects) {
	h := &m.handOver
	switch {
	case len(to) == 0:
		*h = handOver{}
	case h.step == noHandOver || h.to != to[0]:
		*h = handOver{step: approaching, to: to[0], goal: m.logEnd, until: now.Add(m.settings.HandOverTime)}
	}
	m.drain(now, fx)
	m.arm(now, fx)
}

// drain moves a hand-over on.
func (m *Machine) drain(now time.Time, fx *Effects) {
	h := &m.handOver
	if h.step == noHandOver || h.step == declined || m.isr.pending == PendingHandOver {
		return
	}
	p := m.follower(h.to)
	if p == nil || !p.InISR || !now.Before(h.until) {
		h.step = declined
		return
	}
	if h.step == approaching && p.Offset >= h.goal {
		h.step = stopped
	}
	if h.step == stopped && p.Offset == m.logEnd && m.isr.pending == Committed {
		m.isr.pending = PendingHandOver
		m.isr.members = m.isr.members[:0]
		for _, id := range m.state.ISR {
			m.isr.members = append(m.isr.members, m.member(id))
		}
		m.send(fx)
	}
}

// arm has Retry called when the hand-over takes too long, or earlier for a proposal.
func (m *Machine) arm(now time.Time, fx *Effects) {
	if h := &m.handOver; h.step != approaching && h.step != stopped || m.isr.pending == PendingHandOver {
		return
	}
	wait := max(m.handOver.until.Sub(now), 1)
	if m.isr.pending != Committed && !m.isr.sent && !m.isr.stuck {
		wait = min(wait, max(m.isr.retryAt.Sub(now), 1))
	}
	if fx.RetryIn == 0 || wait < fx.RetryIn {
		fx.RetryIn = wait
	}
}

// refuseHandOver is the controller's word that it has not moved the leadership: appends may go on. Not so if an earlier attempt may be on its way: that one could be accepted.
func (m *Machine) refuseHandOver(now time.Time, fx *Effects) {
	if m.handOver.doubt {
		m.retryLater(now, fx)
		return
	}
	m.handOver.step = declined
	m.isr.settle()
}

// HandsOver tells whether appends have to wait, because the leadership is about to move.
func (m *Machine) HandsOver() bool { return m.role == Leader && m.handOver.step == stopped }

// HandedOver tells whether another may lead already: the controller has been told that it may, and has not answered that it does not. What this leader knows may be out of date.
func (m *Machine) HandedOver() bool { return m.role == Leader && m.isr.pending == PendingHandOver }

// proposedHeir is what a proposal says of the hand-over.
func (m *Machine) proposedHeir() []int32 {
	if m.isr.pending != PendingHandOver {
		return nil
	}
	return slices.Clone(m.state.HandOver)
}
