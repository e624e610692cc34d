package machine

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// SetSlowDisk says in a heartbeat that the broker's disk is slow: it asks not to be waited for. A controller that does not know that goes on waiting.
func SetSlowDisk(req *kmsg.BrokerHeartbeatRequest) { req.UnknownTags.Set(tagSlowDisk, []byte{1}) }

func hasSlowDisk(req *kmsg.BrokerHeartbeatRequest) (is bool) {
	req.UnknownTags.Each(func(tag uint32, _ []byte) { is = is || tag == tagSlowDisk })
	return is
}

// noteSlowDisk writes down what a heartbeat says of the disk, so that leaders do not wait for the broker, and takes one whose disk is slow out of the in-sync sets that can spare it. What it leads there for too long is recalled.
func (b *Batch) noteSlowDisk(s *session, req *kmsg.BrokerHeartbeatRequest) (recalled []Leadership) {
	if b.m.c.Levels.Highest() < LevelLevels {
		return nil
	}
	br := b.d.img.Brokers[req.BrokerID]
	slow := hasSlowDisk(req)
	if slow != br.SlowDisk {
		change := &BrokerChange{ID: br.ID, Epoch: br.Epoch, SlowDisk: Unset}
		if slow {
			change.SlowDisk = Set
		}
		b.add(change)
	}
	if !slow {
		s.slowSince = time.Time{}
		return nil
	}
	if s.slowSince.IsZero() {
		s.slowSince = b.now
	}
	return b.stepBack(br.ID, b.now.Before(s.slowSince.Add(slowHandOvers*HandOverTime(b.m.c.SessionTimeout))))
}

// slowHandOvers is for how many hand-over times a leader whose disk is slow may hand over what it leads: it hears late of what it is to do. Then the leadership is recalled.
const slowHandOvers = 4

// Spares tells whether a partition is as well off without a broker whose disk is slow: of its in-sync replicas enough others remain that are not slow, for what acks=all promises, and one at least, which can lead.
func (img *Image) Spares(t *Topic, p *Partition, id int32, static map[string]string) bool {
	fast := 0
	for _, other := range p.ISR {
		if br := img.Brokers[other]; other != id && br.Active() && !br.SlowDisk {
			fast++
		}
	}
	return fast >= max(1, img.MinISR(t, p, static))
}

// stepBack takes a broker whose disk is slow out of the in-sync sets that can spare it, and gives what it leads there to others. Where they cannot it stays, and is waited for. With mayHandOver it leads until it has handed over,
// else until it has stepped down: what it is to step down from is returned.
func (b *Batch) stepBack(id int32, mayHandOver bool) (recalled []Leadership) {
	fast := func(id int32) bool { return b.active(id) && !b.d.img.Brokers[id].SlowDisk }
	b.each(func(t *Topic, n int32, p *Partition) {
		if !slices.Contains(p.ISR, id) || p.Recovering || !b.d.img.Spares(t, p, id, b.m.c.Static) {
			return
		}
		leads := p.Leader == id
		c := b.change(b.d.img.Topics[t.Name], n, func(other int32) bool { return fast(other) || other == p.Leader && other != id && b.active(other) })
		if leads && mayHandOver {
			c.alive, c.paused = b.active, false
			if len(p.HandOver) > 0 || c.choose(slices.DeleteFunc(slices.Clone(p.Replicas), func(id int32) bool { return !fast(id) })) {
				b.decide(c)
				return
			}
		}
		if leads && b.takesWord(id) {
			recalled = append(recalled, Leadership{t.ID, n, p.LeaderEpoch})
			return
		}
		c.isr = without(p.ISR, id)
		b.decide(c)
	})
	return recalled
}

// keptOut tells whether a proposed in-sync set has a newcomer whose disk is slow, and which is not needed.
func (b *Batch) keptOut(t *Topic, p *Partition, isr []int32) bool {
	return slices.ContainsFunc(isr, func(id int32) bool {
		return b.d.img.Brokers[id].SlowDisk && !slices.Contains(p.ISR, id) && b.d.img.Spares(t, p, id, b.m.c.Static)
	})
}
