package machine

import (
	"slices"
	"time"
)

// Acks says what an append waits for.
type Acks int8

// The levels.
const (
	AcksNone   Acks = iota
	AcksLeader      // the leader's own confirmed offset
	AcksAll         // the high watermark
)

// lead begins a leadership. The high watermark starts at what this replica knew as a follower, which may be below the true one: it moves only when the in-sync followers have fetched in this
// epoch, hence nobody's old progress counts.
func (m *Machine) lead(p Positions, now time.Time, fx *Effects) {
	if m.role == Leader {
		p.HighWatermark = max(p.HighWatermark, m.hw)
	}
	m.role = Leader
	m.logEnd, m.syncedEnd, m.hw = p.LogEnd, p.SyncedEnd, p.HighWatermark
	m.epochStart = p.LogEnd
	m.isr.settle()
	m.isr.holdOff = time.Time{}
	m.handOver = handOver{}
	m.assignFollowers(now, true)
	fx.StartEpoch = true
	fx.ISRChanged = true
	m.advance(now, fx)
	m.answerLeaderWaiters(fx)
}

// CheckAppend tells whether an append may start: role and epoch (-1: any), and for AcksAll the size of the committed in-sync set.
// The second result is false when it is below the minimum: NOT_ENOUGH_REPLICAS, nothing appended.
func (m *Machine) CheckAppend(acks Acks, requiredEpoch int32) (EpochCheck, bool) {
	if c := m.CheckEpoch(requiredEpoch, true); c != EpochOK {
		return c, true
	}
	if m.HandsOver() {
		return HandsOver, true
	}
	return EpochOK, acks != AcksAll || len(m.state.ISR) >= m.minISR()
}

// Appended tells a leader that its log has grown (a duplicate grows nothing).
func (m *Machine) Appended(logEnd int64, now time.Time, fx *Effects) {
	if m.role != Leader {
		return
	}
	m.logEnd = max(m.logEnd, logEnd)
	m.advance(now, fx)
}

// Synced tells a leader how far its log survives power loss.
func (m *Machine) Synced(syncedEnd int64, now time.Time, fx *Effects) {
	if m.role != Leader {
		return
	}
	m.syncedEnd = max(m.syncedEnd, min(syncedEnd, m.logEnd))
	m.answerLeaderWaiters(fx)
	m.advance(now, fx)
}

// Outcome tells whether an append that ends at end is answered already; Waiting if not.
func (m *Machine) Outcome(acks Acks, end int64) Outcome {
	switch {
	case m.role != Leader:
		return LostLeadership
	case acks == AcksNone:
		return Acked
	case acks == AcksLeader && end <= m.confirmed():
		return Acked
	case acks == AcksAll && end <= m.hw:
		return Acked
	}
	return Waiting
}

// Wait queues w for an append that ends at end and has no outcome yet.
func (m *Machine) Wait(w *Waiter, acks Acks, end int64) {
	if acks == AcksAll {
		m.allWaiters.insert(w, end)
	} else {
		m.leaderWaiters.insert(w, end)
	}
}

// Cancel takes w out of the queue; false when it was completed already.
func (m *Machine) Cancel(w *Waiter) bool {
	if w.list == nil {
		return false
	}
	w.list.remove(w)
	w.Outcome = GivenUp
	return true
}

func (m *Machine) answerLeaderWaiters(fx *Effects) {
	m.leaderWaiters.completeUpTo(m.confirmed(), Acked, fx)
}

// confirmed is the leader's own part in the high watermark.
func (m *Machine) confirmed() int64 {
	if m.settings.Synced {
		return m.syncedEnd
	}
	return m.logEnd
}

// minISR is the effective min.insync.replicas.
func (m *Machine) minISR() int { return max(1, m.settings.MinISR) }

// HighWatermark is the leader's high watermark.
func (m *Machine) HighWatermark() int64 { return m.hw }

// advance recomputes the high watermark and answers what it passes. An append that waits while the ISR is below the minimum goes on waiting: the batch may be committed yet.
// So NOT_ENOUGH_REPLICAS_AFTER_APPEND has no cause here any more: what the high watermark has passed had enough replicas when it did.
//
// It is the minimum over the maximal ISR, for the controller may have applied a proposal of which we have not heard and may elect whomever it put in. It also waits for replicas outside of the
// ISR that are caught up and may join: without that a newcomer would have to hit a target that moves away with every append. And it stands still while the committed ISR is below the minimum:
// members that left the ISR then (the eligible leader replicas) stay complete, so that one of them can still be elected (KIP-966).
func (m *Machine) advance(now time.Time, fx *Effects) {
	if len(m.state.ISR) < m.minISR() {
		return
	}
	hw := m.confirmed()
	for i := range m.followers {
		f := &m.followers[i]
		if f.Offset < hw && (f.InMaximal || m.mayJoin(f, now)) {
			hw = f.Offset
		}
	}
	if hw <= m.hw {
		return
	}
	m.hw = hw
	fx.HighWatermark = hw
	m.allWaiters.completeUpTo(hw, Acked, fx)
}

// mayJoin tells whether a replica outside of the ISR is so close that the high watermark waits for it.
func (m *Machine) mayJoin(f *Progress, now time.Time) bool {
	return f.Offset >= 0 && m.caughtUp(f, now) && m.eligible(f.ID, f.BrokerEpoch)
}

// OffsetAvailable is false while a new leader's high watermark is below the start of its epoch: the true one may be anywhere up to there, and an answer from the older one could go back behind
// what a client has seen (KIP-207). Nor while it hands over: another may lead already, and have more.
func (m *Machine) OffsetAvailable() bool {
	return m.role != Leader || m.hw >= m.epochStart && !m.HandsOver()
}

// assignFollowers makes the progress table fit the committed state. With reset nothing of the past counts; those in the ISR get LagTime from now to show themselves.
func (m *Machine) assignFollowers(now time.Time, reset bool) {
	old := m.followers
	if reset {
		old = nil
	}
	same := len(old) == m.followerCount()
	for i := range old {
		same = same && m.isFollower(old[i].ID)
	}
	if !same {
		m.followers = make([]Progress, 0, len(m.state.Replicas))
		for _, ids := range [2][]int32{m.state.Replicas, m.state.ISR} { // an ISR member outside of the replicas would be a fault of the controller: count it
			for _, id := range ids {
				if id == m.id || slices.ContainsFunc(m.followers, func(p Progress) bool { return p.ID == id }) {
					continue
				}
				if i := slices.IndexFunc(old, func(p Progress) bool { return p.ID == id }); i >= 0 {
					m.followers = append(m.followers, old[i])
				} else {
					m.followers = append(m.followers, newProgress(id, m.logEnd, slices.Contains(m.state.ISR, id), now))
				}
			}
		}
	}
	for i := range m.followers {
		f := &m.followers[i]
		f.InISR = slices.Contains(m.state.ISR, f.ID)
	}
	m.markMaximal()
}

func (m *Machine) isFollower(id int32) bool {
	return id != m.id && (slices.Contains(m.state.Replicas, id) || slices.Contains(m.state.ISR, id))
}

func (m *Machine) followerCount() int {
	n := 0
	for _, id := range m.state.Replicas {
		if id != m.id {
			n++
		}
	}
	for _, id := range m.state.ISR {
		if id != m.id && !slices.Contains(m.state.Replicas, id) {
			n++
		}
	}
	return n
}

func (m *Machine) follower(id int32) *Progress {
	for i := range m.followers {
		if m.followers[i].ID == id {
			return &m.followers[i]
		}
	}
	return nil
}
