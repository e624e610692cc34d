package assignor

// chains evens out loads that no single move can even out:
//
//	a ──● t ○── b ──● u ○── c      a has 11, b 10, c 9: a gives one of t to b, and b one of u to c
//
// Loads are as even as they can be exactly if no chain leads from a member to one that has two fewer: the theorem on semi-matchings of Harvey, Ladner, Lovász and Tamir.
//
// It goes from the highest load down. From all members with it at once it looks for the nearest ones that have two fewer, as Dinic's algorithm does for flows, and moves along chains of that length while
// there are any. Once there are none, all the members that it reached are closed: what they have is within one of the highest load, nothing leads from them to less, and chains of lower members into
// them would end there.
type chains struct {
	*mixed
	closed []bool  // of a member
	depth  []int32 // of a member: moves from a member with the highest load; -1 not reached
	via    []int32 // of a topic: depth of the members it was reached from; -1 not reached
	edge   []int32 // of a member: the next one to try to give along
	to     []int32 // of a topic: the next in byTopic to try to give to
	queue  []int32
	last   int32 // depth at which the chains end
	goal   int32 // load of who may get one more
}

func newChains(x *mixed) *chains {
	return &chains{
		mixed: x, closed: make([]bool, len(x.members)),
		depth: make([]int32, len(x.members)), via: make([]int32, len(x.topics)), edge: make([]int32, len(x.members)), to: make([]int32, len(x.topics)),
	}
}

func (c *chains) even() {
	for {
		least, most := int32(-1), int32(-1)
		for m, load := range c.load {
			if !c.closed[m] {
				most = max(most, load)
				if least < 0 || load < least {
					least = load
				}
			}
		}
		if most-least < 2 {
			return
		}
		c.goal = most - 2
		if !c.reach(most) {
			for _, m := range c.queue {
				c.closed[m] = true
			}
			continue
		}
		copy(c.edge, c.edges)
		copy(c.to, c.starts)
		for _, m := range c.queue {
			if c.depth[m] > 0 {
				break
			}
			if c.give(m) {
				c.load[m]--
			}
		}
	}
}

// reach finds how far members and topics are from the members with the given load, up to the nearest members that may get one more. It tells whether there are any.
func (c *chains) reach(load int32) bool {
	for i := range c.depth {
		c.depth[i] = -1
	}
	for i := range c.via {
		c.via[i] = -1
	}
	c.queue = c.queue[:0]
	for m, l := range c.load {
		if !c.closed[m] && l == load {
			c.depth[m] = 0
			c.queue = append(c.queue, int32(m))
		}
	}
	c.last = -1
	for i := 0; i < len(c.queue); i++ {
		m := c.queue[i]
		d := c.depth[m]
		if d == c.last {
			break
		}
		for e := c.edges[m]; e < c.edges[m+1]; e++ {
			t := c.topicOf[e]
			if c.count[e] == 0 || c.via[t] >= 0 {
				continue
			}
			c.via[t] = d
			for _, s := range c.subscribers(t) {
				if n := c.member[s]; !c.closed[n] && c.depth[n] < 0 {
					c.depth[n] = d + 1
					c.queue = append(c.queue, n)
					if c.load[n] <= c.goal {
						c.last = d + 1
					}
				}
			}
		}
	}
	return c.last >= 0
}

// give moves a partition from m along a chain to a member that may get one more, and tells whether there is one. It is as deep as the chain is long. What it tried in vain, it does not try again before
// the next reach.
func (c *chains) give(m int32) bool {
	for ; c.edge[m] < c.edges[m+1]; c.edge[m]++ {
		e := c.edge[m]
		t := c.topicOf[e]
		if c.count[e] == 0 || c.via[t] != c.depth[m] {
			continue
		}
		for ; c.to[t] < c.starts[t+1]; c.to[t]++ {
			s := c.byTopic[c.to[t]]
			n := c.member[s]
			switch {
			case c.closed[n] || c.depth[n] != c.depth[m]+1:
				continue
			case c.depth[n] < c.last:
				if !c.give(n) {
					continue
				}
			case c.load[n] <= c.goal:
				c.load[n]++
			default:
				continue
			}
			c.count[e]--
			c.count[s]++
			return true
		}
	}
	return false
}
