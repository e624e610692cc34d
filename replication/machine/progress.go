package machine

import "time"

// Progress is what a leader knows of one follower in this epoch.
type Progress struct {
	ID             int32
	BrokerEpoch    int64 // of its last fetch; -1 unknown
	Offset         int64 // confirmed: the offset of its last fetch; -1 before the first one in this epoch
	LogStartOffset int64 // -1 unknown
	LastFetch      time.Time
	LastCaughtUp   time.Time
	InISR          bool // committed
	InMaximal      bool

	lastFetchLogEnd int64 // the leader's log end offset at its last fetch
}

func newProgress(id int32, logEnd int64, inISR bool, now time.Time) Progress {
	p := Progress{ID: id, BrokerEpoch: -1, Offset: -1, LogStartOffset: -1, lastFetchLogEnd: logEnd}
	if inISR {
		p.LastFetch, p.LastCaughtUp = now, now
	}
	return p
}

// Fetched is a follower's fetch after it has passed the checks of epoch, divergence and range.
type Fetched struct {
	Follower       int32
	BrokerEpoch    int64 // -1 unknown
	Offset         int64 // what it has confirmed
	LogStartOffset int64
	LogEnd         int64 // the leader's own, before reading for this fetch
}

// FollowerFetched records a follower's fetch: it may join the ISR and move the high watermark. False: not a replica, or an earlier life of one (a fetch that was long on its way).
func (m *Machine) FollowerFetched(f Fetched, now time.Time, fx *Effects) bool {
	if m.role != Leader {
		return false
	}
	p := m.follower(f.Follower)
	if p == nil || (f.BrokerEpoch >= 0 && f.BrokerEpoch < p.BrokerEpoch) {
		return false
	}
	p.update(f, now)
	switch {
	case p.InISR && p.Offset < m.hw:
		// A member of the ISR has everything below the high watermark. This one has lost some of it (its disk went back in time): it must not be elected.
		// Differs from Kafka: which lets it be a member until it has been behind for the lag time.
		m.proposeShrink(fx, func(q *Progress) bool { return q == p })
	case !p.InMaximal:
		m.maybeExpand(p, now, fx)
	}
	m.advance(now, fx)
	m.drain(now, fx)
	return true
}

// update moves the time at which the follower was last caught up: now, if it has all that the leader had just now; the time of the fetch before, if it has all that the leader had then. So a
// follower that is always one fetch behind a busy leader counts as caught up.
func (p *Progress) update(f Fetched, now time.Time) {
	switch {
	case f.Offset >= f.LogEnd:
		p.LastCaughtUp = later(p.LastCaughtUp, now)
	case f.Offset >= p.lastFetchLogEnd:
		p.LastCaughtUp = later(p.LastCaughtUp, p.LastFetch)
	}
	if f.BrokerEpoch >= 0 {
		p.BrokerEpoch = f.BrokerEpoch
	}
	p.Offset = f.Offset
	p.LogStartOffset = f.LogStartOffset
	p.lastFetchLogEnd = max(p.lastFetchLogEnd, f.LogEnd)
	p.LastFetch = now
}

// caughtUp is replica.lag.time.max.ms's rule.
func (m *Machine) caughtUp(p *Progress, now time.Time) bool {
	return p.Offset == m.logEnd || now.Sub(p.LastCaughtUp) <= m.settings.LagTime
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// IsReplica tells whether a leader keeps progress of the broker.
func (m *Machine) IsReplica(id int32) bool { return m.follower(id) != nil }
