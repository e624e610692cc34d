package machine

import (
	"slices"
	"time"
)

// departure is how a broker leaves the in-sync sets.
type departure int8

const (
	// silent: it is fenced, shuts down, or comes back after a clean stop or a crash of its process. It still has what it confirmed.
	silent departure = iota
	// rebooted: it comes back with another run of the operating system. It still has what it confirmed, unless its disk is an older copy of itself.
	rebooted
	// lossy: it comes back, and may lack what it confirmed.
	lossy
	// gone: it does not come back.
	gone
)

// departures are brokers that leave at the same time.
type departures map[int32]departure

// concern tells whether a partition changes by them.
func (d departures) concern(p *Partition) bool {
	for id, how := range d {
		eligible := slices.Contains(p.ELR, id)
		switch {
		case slices.Contains(p.ISR, id), p.Leader == id,
			eligible && how >= lossy,
			eligible && how == rebooted && !slices.Contains(p.Unsure, id),
			how == gone && slices.Contains(p.LastKnownELR, id):
			return true
		}
	}
	return false
}

// leave takes brokers out of every ISR, and as they left out of every ELR, and elects other leaders. Those that leave together were in sync together: nobody commits anything in between. With them go those that
// wait, who are to lead nothing, and are fenced.
func (b *Batch) leave(who departures) {
	waiting := b.m.waiting
	b.m.waiting = departures{}
	for id, how := range waiting {
		who[id] = max(who[id], how)
	}
	alive := func(id int32) bool {
		_, left := who[id]
		return !left && b.active(id)
	}
	b.each(func(t *Topic, n int32, p *Partition) {
		if !who.concern(p) {
			return
		}
		c := b.change(b.d.img.Topics[t.Name], n, alive)
		c.left, c.isr = who, slices.DeleteFunc(slices.Clone(p.ISR), func(id int32) bool { _, left := who[id]; return left })
		b.decide(c)
	})
	for _, id := range b.d.img.BrokerIDs() {
		if _, waits := waiting[id]; waits {
			b.shutOut(id)
		}
	}
}

// shutOut fences a broker whose session is over.
func (b *Batch) shutOut(id int32) {
	delete(b.m.sessions, id)
	if br := b.d.img.Brokers[id]; br != nil && !br.Fenced {
		b.add(&BrokerChange{ID: id, Epoch: br.Epoch, Fenced: Set})
	}
}

// restart takes a broker that comes back out of the in-sync sets, or tells that it has to wait with that.
//
// One that comes back from a crash of its machine waits as long as this controller has not heard from all brokers that metadata takes for alive. After a loss of power everywhere they come back one by one;
// taken one by one, those who come early would leave the in-sync sets of leaders that are dead, and would not count as eligible although nothing was committed without them.
func (b *Batch) restart(id int32, how departure) (wait bool) {
	if how != silent && !b.d.img.Brokers[id].Fenced {
		b.m.waiting[id] = how
		if b.unheard() {
			return true
		}
	}
	delete(b.m.waiting, id)
	b.leave(departures{id: how})
	return false
}

func (b *Batch) waits(id int32) bool {
	_, ok := b.m.waiting[id]
	return ok
}

// unheard tells whether there is a broker that this controller takes for alive by its predecessor's word alone.
func (b *Batch) unheard() bool {
	for id, s := range b.m.sessions {
		if br := b.d.img.Brokers[id]; br != nil && !br.Fenced && !s.heard && !b.waits(id) && b.m.live(br, b.now) {
			return true
		}
	}
	return false
}

// expireSessions fences the brokers that were not heard of for a session timeout, with those that waited for them.
func (b *Batch) expireSessions() {
	ended := departures{}
	for id, s := range b.m.sessions {
		if !b.now.Before(s.contact.Add(b.m.c.SessionTimeout)) {
			ended[id] = silent
		}
	}
	for id := range ended {
		delete(b.m.sessions, id)
		if br := b.d.img.Brokers[id]; br == nil || br.Fenced {
			delete(ended, id)
		}
	}
	if len(ended) == 0 {
		return
	}
	b.leave(ended)
	for _, id := range b.d.img.BrokerIDs() {
		if _, left := ended[id]; left {
			b.shutOut(id)
		}
	}
}

// Session tells whether a broker has a session, and whether it has been heard of itself in it.
func (m *Machine) Session(id int32) (heard, ok bool) {
	s := m.sessions[id]
	return s != nil && s.heard, s != nil
}

// EndSession has the session of a broker end at once: its process has ended. It does nothing and returns false while others wait to hear from those that are not back yet: then all lost their power, and time is
// cheaper than an election without them.
func (m *Machine) EndSession(id int32, now time.Time) bool {
	s := m.sessions[id]
	if s == nil || len(m.waiting) > 0 {
		return false
	}
	s.contact = now.Add(-m.c.SessionTimeout)
	return true
}

// Refresh gives every broker a fresh session: the controller itself was stopped for so long that missing heartbeats prove nothing.
func (m *Machine) Refresh(now time.Time) {
	for _, s := range m.sessions {
		s.contact = now
	}
}
