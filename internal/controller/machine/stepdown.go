package machine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// No planned move takes a leadership from a leader that may still act on it. What could not be handed over in time is recalled, by the way that heartbeats go, which takes neither the leader's metadata nor its disk:
//
//	time is over ──▶ answer to a heartbeat: recalled ──▶ the leader serves nobody under that epoch, for good ──▶ its next heartbeat: stepped down ──▶ another leads
//	                                                 └── it hears no answer: its session ends ──────────────────────────────────────────────────────┘
//
// A broker that shuts down is recalled as a whole: it fences itself, and asks to be fenced. That a broker has stepped down is true for ever, and says itself what is to be done: whoever is the active controller by then
// moves the leadership, whether it has asked or not. What is recalled is this controller's knowledge; a new one counts anew.
//
// Brokers of a version that does not know of this say nothing of leaderships in their heartbeats. From them a leadership is taken when time is over.

// Leadership is a reign over a partition.
type Leadership struct {
	TopicID     log.TopicID
	Partition   int32
	LeaderEpoch int32
}

// Private tags. Format: never renumber.
const (
	tagSteppedDown uint32 = 32_106 // of BrokerHeartbeat: uvarint count | count times: id, and as varints partition, leader epoch
	tagRecalled    uint32 = 32_107 // of the answer to it: likewise
	tagRecalledAll uint32 = 32_108 // of the answer to it: one byte
)

func putLeaderships(list []Leadership) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for _, l := range list {
		b = putInt(putInt(append(b, l.TopicID[:]...), int64(l.Partition)), int64(l.LeaderEpoch))
	}
	return b
}

// leaderships reads what putLeaderships wrote; ok is false if it cannot be read.
func leaderships(b []byte) (list []Leadership, ok bool) {
	r := &reader{b: b}
	list = make([]Leadership, min(r.count(18), MaxLogEnds))
	for i := range list {
		list[i] = Leadership{TopicID: r.id(), Partition: r.int32(), LeaderEpoch: r.int32()}
	}
	return list, r.err == nil
}

// SetSteppedDown says in a heartbeat under which epochs the broker leads no more, whatever metadata says, MaxLogEnds at most; and thereby that it would do so.
func SetSteppedDown(req *kmsg.BrokerHeartbeatRequest, from []Leadership) {
	req.UnknownTags.Set(tagSteppedDown, putLeaderships(from))
}

// steppedDown reads what SetSteppedDown wrote. The broker does not know of it if ok is false.
func steppedDown(req *kmsg.BrokerHeartbeatRequest) (from []Leadership, ok bool) {
	req.UnknownTags.Each(func(tag uint32, b []byte) {
		if tag == tagSteppedDown {
			from, ok = leaderships(b)
		}
	})
	return from, ok
}

// Recalled reads from the answer to a heartbeat which leaderships the broker is to step down from, and whether it is all that it has, because it shuts down.
func Recalled(resp *kmsg.BrokerHeartbeatResponse) (from []Leadership, all bool) {
	resp.UnknownTags.Each(func(tag uint32, b []byte) {
		switch tag {
		case tagRecalled:
			from, _ = leaderships(b)
		case tagRecalledAll:
			all = true
		}
	})
	return from, all
}

// takesWord tells whether a broker steps down when it is asked to. One that was not heard of yet may be asked.
func (b *Batch) takesWord(id int32) bool {
	s := b.m.sessions[id]
	return s == nil || !s.heard || s.stepsDown
}

// stepDown moves a leadership whose leader has stepped down. Where nobody else can lead it is the same one again, under another epoch.
func (b *Batch) stepDown(br *Broker, l Leadership) {
	t := b.d.img.TopicIDs[l.TopicID]
	p := t.partition(l.Partition)
	if p == nil || p.Leader != br.ID || p.LeaderEpoch != l.LeaderEpoch {
		return
	}
	c := b.change(t, l.Partition, b.active)
	c.steppedDown = true
	if br.SlowDisk && !p.Recovering && b.d.img.Spares(t, p, br.ID, b.m.c.Static) {
		c.isr = without(p.ISR, br.ID)
	}
	b.decide(c)
}

// successor is who leads after a leader that has stepped down.
func (c *change) successor() int32 {
	ranks := []func(id int32) bool{
		func(id int32) bool { return id == c.heir && c.stays(id) },
		func(id int32) bool { return c.stays(id) && !c.slow(id) },
		c.stays,
		func(int32) bool { return true },
	}
	for _, ok := range ranks {
		if i := slices.IndexFunc(c.replicas, func(id int32) bool { return id != c.p.Leader && c.valid(id) && ok(id) }); i >= 0 {
			return c.replicas[i]
		}
	}
	return c.p.Leader
}

// recalled lists the leaderships that a broker has kept from a reassignment for too long.
func (b *Batch) recalled(id int32) (from []Leadership) {
	for key, h := range b.m.handOvers {
		t := b.d.img.TopicIDs[key.topic]
		p := t.partition(key.partition)
		if h.recalled && p != nil && p.Leader == id && p.LeaderEpoch == h.leaderEpoch && b.holdsUp(t, key.partition) {
			from = append(from, Leadership{key.topic, key.partition, h.leaderEpoch})
		}
	}
	slices.SortFunc(from, func(x, y Leadership) int {
		return cmp.Or(bytes.Compare(x.TopicID[:], y.TopicID[:]), cmp.Compare(x.Partition, y.Partition))
	})
	return from
}

// answerRecall puts what is recalled into the answer to a heartbeat.
func answerRecall(resp *kmsg.BrokerHeartbeatResponse, from []Leadership, all bool) {
	if len(from) > 0 {
		resp.UnknownTags.Set(tagRecalled, putLeaderships(from[:min(len(from), MaxLogEnds)]))
	}
	if all {
		resp.UnknownTags.Set(tagRecalledAll, []byte{1})
	}
}
