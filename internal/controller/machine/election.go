package machine

import (
	"slices"
)

// election says which replicas may become leader.
type election int

const (
	// clean keeps a valid leader, else takes the first replica in the ISR, or in the ELR if the ISR is empty.
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

	isr        []int32 // wanted
	recovering bool    // wanted
	lossy      []int32 // replicas that restarted and may lack confirmed records: not eligible
	elr        []int32 // follows

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
	}
	img := b.d.img
	c.minOf = func(p *Partition) int { return img.MinISR(t, p, b.m.c.Static) }
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
	if r == nil {
		return false
	}
	b.add(r)
	return true
}

func (c *change) record() *PartitionChange {
	r := &PartitionChange{TopicID: c.topic.ID, Number: c.number}
	c.complete()
	c.minISR = c.minOf(&Partition{Replicas: c.replicas, Adding: c.adding})
	c.followELR()
	c.elect(r)
	c.reassign(r)
	if !slices.Equal(c.isr, c.p.ISR) {
		r.Has, r.ISR = r.Has|HasISR, slices.Clone(c.isr)
	}
	if !slices.Equal(c.elr, c.p.ELR) {
		r.Has, r.ELR = r.Has|HasELR, slices.Clone(c.elr)
	}
	c.rememberLeader(r)
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
		if !slices.Contains(c.isr, id) && !slices.Contains(c.lossy, id) && !slices.Contains(elr, id) && slices.Contains(c.replicas, id) {
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
	// With nobody left who surely holds every committed record, the last leader is the best guess.
	if last := c.p.LastKnownELR; len(c.isr)+len(c.elr) == 0 && len(last) == 1 && slices.Contains(c.replicas, last[0]) && c.alive(last[0]) {
		return last[0], true
	}
	if c.election == unclean {
		for _, id := range c.replicas {
			if c.alive(id) {
				return id, true
			}
		}
	}
	return NoLeader, false
}

func (c *change) valid(id int32) bool {
	if id == NoLeader || !c.alive(id) {
		return false
	}
	return slices.Contains(c.isr, id) || len(c.isr) == 0 && slices.Contains(c.elr, id)
}

// rememberLeader keeps the last leader while there is nobody in sync, for the case that nobody eligible comes back either.
func (c *change) rememberLeader(r *PartitionChange) {
	last := c.p.LastKnownELR
	switch {
	case len(c.isr) == 0 && c.p.Leader != NoLeader:
		last = []int32{c.p.Leader}
	case len(c.isr) > 0:
		last = nil
	}
	if !subset(last, c.replicas) {
		last = nil
	}
	if !slices.Equal(last, c.p.LastKnownELR) {
		r.Has, r.LastKnownELR = r.Has|HasLastKnownELR, last
	}
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

// leaveISRs takes a broker out of every ISR and elects other leaders. With lossy it leaves every ELR, too.
func (b *Batch) leaveISRs(id int32, lossy bool) {
	alive := func(other int32) bool { return other != id && b.active(other) }
	b.each(func(t *Topic, n int32, p *Partition) {
		if !slices.Contains(p.ISR, id) && p.Leader != id && !(lossy && slices.Contains(p.ELR, id)) {
			return
		}
		c := b.change(b.d.img.Topics[t.Name], n, alive)
		c.isr = without(p.ISR, id)
		if lossy {
			c.lossy = []int32{id}
		}
		b.decide(c)
	})
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

// balance gives leadership back to preferred replicas, so many at a time.
func (b *Batch) balance() {
	const perRound = 1000
	if b.static("auto.leader.rebalance.enable") == "false" {
		return
	}
	moved := 0
	b.each(func(t *Topic, n int32, p *Partition) {
		if moved >= perRound || p.Leader == p.Replicas[0] || !slices.Contains(p.ISR, p.Replicas[0]) || !b.active(p.Replicas[0]) {
			return
		}
		c := b.change(b.d.img.Topics[t.Name], n, b.active)
		c.election = preferred
		if b.decide(c) {
			moved++
		}
	})
}
