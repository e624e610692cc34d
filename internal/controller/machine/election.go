package machine

import (
	"slices"
)

// election says which replicas may become leader.
type election int

const (
	// clean keeps a valid leader, else takes the first replica in the ISR, or of the ELR if the ISR is empty, or the one of the ELR, or of those who lost something, whose log ends last.
	clean election = iota
	// preferred takes the first replica of the list if it is valid.
	preferred
	// unclean takes any live replica if there is no other choice: acknowledged records may be lost.
	unclean
)

// change works out one PartitionChange: the wanted ISR goes in, leader, ELR and epochs follow by Kafka's rules (KIP-966).
type change struct {
	topic    *Topic
	number   int32
	p        *Partition
	minISR   int
	election election
	alive    func(id int32) bool // may lead

	isr         []int32                       // wanted
	recovering  bool                          // wanted
	left        departures                    // who leaves with this change, and how
	heir        int32                         // wanted: whom the leader is to hand over to; NoLeader is nobody
	handedOver  bool                          // the leader has handed over to the heir
	paused      bool                          // the leader is not to hand over now: it was tried a moment ago
	steppedDown bool                          // the leader leads no more under its epoch
	nobody      bool                          // follows: a move waits for somebody who can take it
	back        bool                          // a reassignment that is cancelled does not wait for all that there were before
	forced      bool                          // the leadership is to be moved although the leader does not hand over, and cannot step down
	stays       func(id int32) bool           // may become leader without need
	slow        func(id int32) bool           // has a slow disk
	elr         []int32                       // follows
	last        []int32                       // follows
	end         func(id int32) (LogEnd, bool) // of a replica that told of it

	// wanted, and as they are once the reassignment is complete
	replicas, adding, removing []int32
	minOf                      func(p *Partition) int // min.insync.replicas
}

func (b *Batch) change(t *Topic, n int32, alive func(int32) bool) *change {
	p := t.Partitions[n]
	c := &change{
		topic: t, number: n, p: p, alive: alive,
		isr: p.ISR, elr: p.ELR, recovering: p.Recovering, election: clean,
		replicas: p.Replicas, adding: p.Adding, removing: p.Removing,
		heir: p.heir(), paused: b.pausing(t, n), back: b.goesBack(t, n), stays: b.stays,
		slow: func(id int32) bool { return b.d.img.Brokers[id].SlowDisk },
	}
	img := b.d.img
	c.minOf = func(p *Partition) int { return img.MinISR(t, p, b.m.c.Static) }
	c.end = func(id int32) (LogEnd, bool) { return b.end(id, t, n) }
	if b.d.img.uncleanElection(t, b.m.c.Static) {
		c.election = unclean
	}
	return c
}

// active is the plain rule for who may lead.
func (b *Batch) active(id int32) bool { return b.d.img.Brokers[id].Active() }

// decide adds the record if there is anything to change, and tells whether it did.
func (b *Batch) decide(c *change) bool {
	r := c.record()
	if c.nobody {
		b.await(c)
	}
	if r == nil {
		return false
	}
	b.add(r)
	b.watch(r)
	return true
}

func (c *change) record() *PartitionChange {
	r := &PartitionChange{TopicID: c.topic.ID, Number: c.number}
	c.complete()
	c.minISR = c.minOf(&Partition{Replicas: c.replicas, Adding: c.adding})
	c.followELR()
	c.followLost()
	c.elect(r)
	c.reassign(r)
	c.followHandOver(r)
	if !slices.Equal(c.isr, c.p.ISR) {
		r.Has, r.ISR = r.Has|HasISR, slices.Clone(c.isr)
	}
	if !slices.Equal(c.elr, c.p.ELR) {
		r.Has, r.ELR = r.Has|HasELR, slices.Clone(c.elr)
	}
	if unsure := c.unsure(); !slices.Equal(unsure, c.p.Unsure) {
		r.Has, r.Unsure = r.Has|HasUnsure, unsure
	}
	if len(c.isr) > 0 {
		c.last = nil
	}
	if !slices.Equal(c.last, c.p.LastKnownELR) {
		r.Has, r.LastKnownELR = r.Has|HasLastKnownELR, c.last
	}
	if c.recovering != c.p.Recovering {
		r.Has, r.Recovering = r.Has|HasRecovering, c.recovering
	}
	if r.Has == 0 {
		return nil
	}
	return r
}

// followELR keeps who left the ISR while it was too small for the high watermark to move: they still hold every committed record. Once the ISR is
// large enough again only its members count.
func (c *change) followELR() {
	if len(c.isr) >= c.minISR {
		c.elr = nil
		return
	}
	var elr []int32
	for _, id := range slices.Concat(c.p.ELR, c.p.ISR) {
		if !slices.Contains(c.isr, id) && c.left[id] < lossy && !slices.Contains(elr, id) && slices.Contains(c.replicas, id) {
			elr = append(elr, id)
		}
	}
	slices.Sort(elr)
	c.elr = elr
}

// elect names a leader in r if it is to be another one, with the ISR that goes with it.
func (c *change) elect(r *PartitionChange) {
	leader, isUnclean := c.leader()
	if leader == c.p.Leader {
		if c.steppedDown {
			r.Has, r.Leader = r.Has|HasLeader, leader
		}
		return
	}
	if c.election == preferred && !c.handedOver && c.valid(c.p.Leader) {
		if c.stays(leader) {
			c.heir = leader // a planned move: the leader drains first
		}
		return
	}
	r.Has, r.Leader = r.Has|HasLeader, leader
	switch {
	case leader == NoLeader:
	case isUnclean:
		c.isr, c.recovering = []int32{leader}, true
		c.elr = without(c.elr, leader)
		if len(c.isr) >= c.minISR {
			c.elr = nil
		}
	case !slices.Contains(c.isr, leader): // from the ELR
		c.isr = []int32{leader}
		c.elr = without(c.elr, leader)
		if len(c.isr) >= c.minISR {
			c.elr = nil
		}
	}
}

func (c *change) leader() (id int32, isUnclean bool) {
	if c.handedOver && c.valid(c.heir) {
		return c.heir, false
	}
	if c.steppedDown {
		if id := c.successor(); c.valid(id) {
			return id, false
		}
	}
	if c.election == preferred && c.valid(c.replicas[0]) {
		return c.replicas[0], false
	}
	if c.valid(c.p.Leader) {
		return c.p.Leader, false
	}
	for _, id := range c.replicas {
		if c.valid(id) {
			return id, false
		}
	}
	if len(c.isr) == 0 {
		// At most min.insync.replicas-1 replicas may have lost anything at a time; those that are known to have use that up.
		if id := c.furthest(c.elr, min(max(c.minISR-len(c.last), 1), len(c.elr))); id != NoLeader {
			return id, false
		}
		if len(c.elr) == 0 {
			if id := c.furthest(c.last, len(c.last)); id != NoLeader {
				return id, true
			}
		}
	}
	if c.election == unclean {
		var living []int32
		told := 0
		for _, id := range c.replicas {
			if c.alive(id) {
				living = append(living, id)
				if _, ok := c.end(id); ok {
					told++
				}
			}
		}
		return c.furthest(living, told), true
	}
	return NoLeader, false
}

// furthest is the one among candidates whose log ends last, once so many of them have told of their ends, and if it may lead. Where one would do, nobody needs to be asked.
func (c *change) furthest(candidates []int32, need int) int32 {
	best, told := NoLeader, 0
	var end LogEnd
	for _, id := range c.replicas { // of equals the first
		if !slices.Contains(candidates, id) {
			continue
		}
		if need <= 1 && c.alive(id) {
			return id
		}
		e, ok := c.end(id)
		if !ok {
			continue
		}
		if told++; told == 1 || e.compare(end) > 0 {
			best, end = id, e
		}
	}
	if told < need || need <= 1 || !c.alive(best) {
		return NoLeader
	}
	return best
}

// unsure lists the eligible replicas whose disks may be older copies of themselves.
func (c *change) unsure() (unsure []int32) {
	for _, id := range c.elr {
		if c.left[id] == rebooted || slices.Contains(c.p.Unsure, id) {
			unsure = append(unsure, id)
		}
	}
	return unsure
}

func (c *change) valid(id int32) bool {
	if id == NoLeader || !c.alive(id) {
		return false
	}
	return slices.Contains(c.isr, id) || len(c.isr) == 0 && slices.Contains(c.elr, id) && !slices.Contains(c.unsure(), id)
}

// followLost remembers who was in sync or eligible and may have lost something: with nobody eligible left, one of them holds the most of what was committed.
func (c *change) followLost() {
	if len(c.isr) > 0 {
		return
	}
	c.last = c.lost(lossy)
	if len(c.elr)+len(c.last) == 0 {
		c.last = c.lost(gone) // should they come back after all
	}
}

// lost lists candidates for a recovery: those of before, and those that leave and have lost up to so much.
func (c *change) lost(most departure) (last []int32) {
	for _, id := range slices.Concat(c.p.LastKnownELR, c.p.ISR, c.p.ELR) {
		how := c.left[id]
		candidate := how >= lossy && how <= most || how < lossy && slices.Contains(c.p.LastKnownELR, id)
		if candidate && slices.Contains(c.replicas, id) && !slices.Contains(c.isr, id) && !slices.Contains(c.elr, id) && !slices.Contains(last, id) {
			last = append(last, id)
		}
	}
	slices.Sort(last)
	return last
}

// each visits all partitions in order.
func (b *Batch) each(f func(t *Topic, n int32, p *Partition)) {
	img := b.d.img
	for _, name := range img.TopicNames() {
		for n, p := range img.Topics[name].Partitions {
			f(img.Topics[name], int32(n), p)
		}
	}
}

// electLeaderless looks for leaders of all partitions that have none.
func (b *Batch) electLeaderless() {
	b.each(func(t *Topic, n int32, p *Partition) {
		if p.Leader == NoLeader {
			b.decide(b.change(b.d.img.Topics[t.Name], n, b.active))
		}
	})
}

// electUnclean looks again for leaders where any live replica will do.
func (b *Batch) electUnclean() {
	b.each(func(t *Topic, n int32, p *Partition) {
		if p.Leader == NoLeader && b.d.img.uncleanElection(t, b.m.c.Static) {
			b.decide(b.change(b.d.img.Topics[t.Name], n, b.active))
		}
	})
}

// balance has leaders give leadership back to preferred replicas, so many at a time.
func (b *Batch) balance() {
	const perRound = 1000
	if b.static("auto.leader.rebalance.enable") == "false" {
		return
	}
	moved := 0
	b.each(func(t *Topic, n int32, p *Partition) {
		if moved >= perRound || p.Leader == p.Replicas[0] || !slices.Contains(p.ISR, p.Replicas[0]) || !b.stays(p.Replicas[0]) || len(p.HandOver) > 0 {
			return
		}
		c := b.change(b.d.img.Topics[t.Name], n, b.active)
		c.election = preferred
		if b.decide(c) {
			moved++
		}
	})
}
