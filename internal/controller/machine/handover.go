package machine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A planned move of a leadership, while the leader is alive, comes in two steps, so that what the leader has acknowledged alone (acks=1) moves with it:
//
//	leader 1 ──mark──▶ leader 1, HandOver=2 ──AlterPartition of 1: "2 has all that I have, and I take no more"──▶ leader 2, epoch + 1
//	                          │
//	                          └── in vain for too long: given up (preferred), tried again (reassignment), another one's turn (shutdown), then recalled: see stepdown.go
//
// The mark is metadata: it says with which partition epoch the leader may hand over, and any controller that finds it goes on with it. How long it has been there is this controller's knowledge, a new one counts anew.
// It goes with every change of the leader, and when its target leaves the in-sync set. The leader's word is compared by partition epoch like every AlterPartition: once a mark is gone, what was said because of it is void,
// and the leader, which sees that it is gone, may append again.
//
// Where the leader is dead, fenced, or has a failed directory, where there is nobody else, and where an election is unclean, nothing waits.

// HandOverTime is how long a planned move may take until it is given up, or the leadership is recalled, without waiting for records that only the leader has. Leaders go by the same.
func HandOverTime(sessionTimeout time.Duration) time.Duration {
	return min(time.Second, sessionTimeout/4)
}

const (
	// handOverTries is how often a reassignment that needs another leader tries to have the present one hand over, before it recalls the leadership.
	handOverTries = 5
	// handOverPause is the time between two tries, in hand-over times.
	handOverPause = 4
)

// handOver is what the active controller knows of a move under way.
type handOver struct {
	leaderEpoch int32
	until       time.Time // the end of the try, or of the pause
	tries       int       // that came to nothing
	paused      bool      // no mark before until
	recalled    bool      // the leader is to step down; looked at again at until
	back        bool      // of a reassignment that was cancelled: see cancelReassignment
}

// tagDrained is a tag of a partition in AlterPartition: the broker that has all that the leader has, as a varint. Format: never renumber.
const tagDrained uint32 = 32_101

// SetDrained says in an AlterPartition that the leader appends no more, and that a broker has all that it has.
func SetDrained(p *kmsg.AlterPartitionRequestTopicPartition, to int32) {
	p.UnknownTags.Set(tagDrained, putInt(nil, int64(to)))
}

// drainedTo reads what SetDrained wrote.
func drainedTo(p *kmsg.AlterPartitionRequestTopicPartition) (to int32, ok bool) {
	p.UnknownTags.Each(func(tag uint32, b []byte) {
		if v, n := binary.Varint(b); tag == tagDrained && n == len(b) && n > 0 && int64(int32(v)) == v {
			to, ok = int32(v), true
		}
	})
	return to, ok
}

// leaving tells whether a broker shuts down, as far as this controller has heard. Until it has handed over it is an active one in metadata.
func (b *Batch) leaving(id int32) bool {
	s, br := b.m.sessions[id], b.d.img.Brokers[id]
	return s != nil && br != nil && s.epoch == br.Epoch && !s.leavesAt.IsZero()
}

// stays tells whether a leadership may be given to a broker without need.
func (b *Batch) stays(id int32) bool { return b.active(id) && !b.leaving(id) && !b.waits(id) }

// heir is whom the leader is to hand over to; NoLeader is nobody.
func (p *Partition) heir() int32 {
	if len(p.HandOver) == 0 {
		return NoLeader
	}
	return p.HandOver[0]
}

// choose names the broker that is to lead next: the one that is named already if it is among the candidates and will do, else the first that does. False if none does.
func (c *change) choose(candidates []int32) bool {
	ok := func(id int32) bool {
		return id != c.p.Leader && slices.Contains(c.isr, id) && !slices.Contains(c.removing, id) && c.stays(id)
	}
	if slices.Contains(candidates, c.heir) && ok(c.heir) {
		return true
	}
	if i := slices.IndexFunc(candidates, ok); i >= 0 {
		c.heir = candidates[i]
		return true
	}
	return false
}

// drainsFirst tells whether a reassignment whose target is in sync has to wait until its leader, which is to go, has handed over.
func (c *change) drainsFirst(target []int32) bool {
	if c.handedOver || c.steppedDown || c.forced || !slices.Contains(c.removing, c.p.Leader) || !c.valid(c.p.Leader) {
		return false
	}
	if c.paused || !c.choose(target) {
		c.heir, c.nobody = NoLeader, !c.paused
	}
	return true
}

// followHandOver writes the mark where it changes. One that has become void goes.
func (c *change) followHandOver(r *PartitionChange) {
	if r.Has&HasLeader != 0 {
		return // it goes with the record
	}
	var to []int32
	if c.heir != NoLeader && c.valid(c.p.Leader) && slices.Contains(c.isr, c.heir) && c.alive(c.heir) && !slices.Contains(c.removing, c.heir) {
		to = []int32{c.heir}
	}
	if !slices.Equal(to, c.p.HandOver) {
		r.Has, r.HandOver = r.Has|HasHandOver, to
	}
}

// watch remembers since when a record's mark has been there.
func (b *Batch) watch(r *PartitionChange) {
	if len(r.HandOver) == 0 {
		return
	}
	key, epoch := logKey{r.TopicID, r.Number}, b.d.img.TopicIDs[r.TopicID].Partitions[r.Number].LeaderEpoch
	h := b.m.handOvers[key]
	if h == nil || h.leaderEpoch != epoch {
		h = &handOver{leaderEpoch: epoch}
		b.m.handOvers[key] = h
	}
	h.until, h.paused, h.recalled = b.now.Add(HandOverTime(b.m.c.SessionTimeout)), false, false
}

// await has a move tried again after a pause that nobody could take just now: who is to lead is about to go, or to come back.
func (b *Batch) await(c *change) {
	key := logKey{c.topic.ID, c.number}
	if h := b.m.handOvers[key]; h == nil || h.leaderEpoch != c.p.LeaderEpoch {
		b.m.handOvers[key] = &handOver{leaderEpoch: c.p.LeaderEpoch, paused: true, until: b.now.Add(handOverPause * HandOverTime(b.m.c.SessionTimeout))}
	}
}

// goesBack tells whether a partition goes back from a reassignment as soon as its leader has made way.
func (b *Batch) goesBack(t *Topic, n int32) bool {
	h := b.m.handOvers[logKey{t.ID, n}]
	return h != nil && h.back && h.leaderEpoch == t.Partitions[n].LeaderEpoch
}

// holdsUp tells whether a reassignment waits for nothing but its leader, which is to go.
func (b *Batch) holdsUp(t *Topic, n int32) bool {
	p := t.Partitions[n]
	return slices.Contains(p.Removing, p.Leader) && (b.goesBack(t, n) || subset(without(p.Replicas, p.Removing...), p.ISR))
}

// pausing tells whether a partition's hand-over was tried in vain a moment ago.
func (b *Batch) pausing(t *Topic, n int32) bool {
	h := b.m.handOvers[logKey{t.ID, n}]
	return h != nil && (h.paused && b.now.Before(h.until) || h.recalled) && h.leaderEpoch == t.Partitions[n].LeaderEpoch
}

// takeOver finds the moves that were under way when this controller became active, and those that were between two tries.
func (m *Machine) takeOver(img *Image, now time.Time) {
	for _, t := range img.Topics {
		for n, p := range t.Partitions {
			switch {
			case len(p.HandOver) > 0:
				m.handOvers[logKey{t.ID, int32(n)}] = &handOver{leaderEpoch: p.LeaderEpoch, until: now.Add(HandOverTime(m.c.SessionTimeout))}
			case slices.Contains(p.Removing, p.Leader) && subset(without(p.Replicas, p.Removing...), p.ISR):
				m.handOvers[logKey{t.ID, int32(n)}] = &handOver{leaderEpoch: p.LeaderEpoch, until: now, paused: true}
			}
		}
	}
}

// expireHandOvers ends the tries that take too long, and the pauses between them.
func (b *Batch) expireHandOvers() {
	var due []logKey
	for key, h := range b.m.handOvers {
		if !b.now.Before(h.until) {
			due = append(due, key)
		}
	}
	slices.SortFunc(due, func(x, y logKey) int {
		return cmp.Or(bytes.Compare(x.topic[:], y.topic[:]), cmp.Compare(x.partition, y.partition))
	})
	for _, key := range due {
		b.expireHandOver(key, b.m.handOvers[key])
	}
}

func (b *Batch) expireHandOver(key logKey, h *handOver) {
	t := b.d.img.TopicIDs[key.topic]
	p := t.partition(key.partition)
	switch {
	case p == nil || p.LeaderEpoch != h.leaderEpoch:
		delete(b.m.handOvers, key) // it was made, or something else was
		return
	case b.leaving(p.Leader):
		h.until = b.now.Add(HandOverTime(b.m.c.SessionTimeout)) // its next heartbeat decides
		return
	}
	pause := b.now.Add(handOverPause * HandOverTime(b.m.c.SessionTimeout))
	c := b.change(t, key.partition, b.active)
	switch {
	case !slices.Contains(p.Removing, p.Leader):
		delete(b.m.handOvers, key) // the next round, or the next request, tries again
		c.heir = NoLeader
	case len(p.HandOver) > 0:
		h.tries++
		switch {
		case h.tries < handOverTries:
			h.paused, h.until, c.paused = true, pause, true
		case b.takesWord(p.Leader):
			h.recalled, h.until, c.paused = true, pause, true
		default:
			c.forced = true
			delete(b.m.handOvers, key)
		}
		c.heir = NoLeader
	case h.recalled && b.holdsUp(t, key.partition): // its heartbeats are told
		h.until = pause
		return
	default:
		h.paused, h.recalled, h.until, c.paused = true, false, pause, false // unless a mark is made: see watch
	}
	b.decide(c)
}

// handsOver has a broker that shuts down hand over what it leads, and tells whether there is something left to wait for. Who has not caught up in half of the time makes way for the next one in sync, if there is one.
func (b *Batch) handsOver(br *Broker, s *session) (wait bool) {
	most := HandOverTime(b.m.c.SessionTimeout)
	if s.leavesAt.IsZero() {
		s.leavesAt = b.now.Add(most)
	}
	if !b.now.Before(s.leavesAt) {
		return false
	}
	b.each(func(t *Topic, n int32, p *Partition) {
		if p.Leader != br.ID {
			return
		}
		c := b.change(b.d.img.Topics[t.Name], n, b.active)
		c.paused = false
		h := b.m.handOvers[logKey{t.ID, n}]
		late := h != nil && len(p.HandOver) > 0 && !b.now.Before(h.until.Add(-most/2))
		if late && c.choose(without(p.Replicas, p.HandOver...)) || c.choose(p.Replicas) {
			wait = true
			b.decide(c)
		}
	})
	return wait
}
