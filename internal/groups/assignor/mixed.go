package assignor

import (
	"cmp"
	"slices"

	"github.com/insynclog/insync/internal/groups/partition"
)

// mixed is Uniform where subscriptions differ. It reckons with numbers of partitions, and only in the end decides which they are: the partitions of a topic are alike to its subscribers, and decided in the
// end, a member gives up none that it could have kept.
//
//	member ──edge── topic     a subscription: the member has count[edge] partitions of the topic
//
// Edges are numbered member after member, and by topic inside.
type mixed struct {
	*plan
	edges   []int32 // of member m: from edges[m] to edges[m+1]
	topicOf []int32 // of an edge
	member  []int32 // of an edge
	byTopic []int32 // edges in order of topics, and by member inside
	starts  []int32 // of topic t: byTopic from starts[t] to starts[t+1]
	kept    []int32 // of an edge: partitions of its member's Target that are valid
	count   []int32 // of an edge
	load    []int32 // of a member: partitions in all
	free    []int32 // of a topic: partitions that nobody has yet
	ranking []uint64
	giving  []uint64
	turn    []uint32
}

func newMixed(members []Member, topics []Topic) *mixed {
	x := &mixed{
		plan:  newPlan(members, topics),
		edges: make([]int32, len(members)+1), load: make([]int32, len(members)),
		starts: make([]int32, len(topics)+1), free: make([]int32, len(topics)),
	}
	most := 0
	for m := range members {
		most += len(members[m].Topics)
	}
	x.topicOf, x.member = make([]int32, 0, most), make([]int32, 0, most)
	for m := range members {
		eachTopic(topics, members[m].Topics, func(t int) {
			x.topicOf = append(x.topicOf, int32(t))
			x.member = append(x.member, int32(m))
			x.starts[t+1]++
		})
		x.edges[m+1] = int32(len(x.topicOf))
	}
	for t := range topics {
		x.starts[t+1] += x.starts[t]
		x.free[t] = max(0, topics[t].Partitions)
	}
	x.byTopic = make([]int32, len(x.topicOf))
	next := slices.Clone(x.starts)
	for e, t := range x.topicOf {
		x.byTopic[next[t]] = int32(e)
		next[t]++
	}
	x.kept, x.count = make([]int32, len(x.topicOf)), make([]int32, len(x.topicOf))
	return x
}

// subscribers returns the edges of a topic.
func (x *mixed) subscribers(topic int32) []int32 { return x.byTopic[x.starts[topic]:x.starts[topic+1]] }

func (x *mixed) assign() []partition.Set {
	x.keep()
	order := x.narrowFirst()
	for _, t := range order {
		x.fill(t)
	}
	// Most groups are even after one round or two. What is left then is imbalance along chains, which rounds even out ever more slowly.
	for range 16 {
		moved := false
		for _, t := range order {
			moved = x.even(t) || moved
		}
		if !moved {
			break
		}
	}
	newChains(x).even()
	x.settle()
	return x.sets()
}

// keep lets members have what they had.
func (x *mixed) keep() {
	for m := range x.members {
		e, end := x.edges[m], x.edges[m+1]
		at := 0
		target := x.members[m].Target
		for i := range target {
			var found bool
			if at, found = seek(x.topics, at, &target[i].ID); found {
				for e < end && int(x.topicOf[e]) < at {
					e++
				}
			}
			if !found || e == end || int(x.topicOf[e]) != at {
				x.changed[m] = true
				continue
			}
			n := int32(x.claim(m, at, target[i].Numbers, len(target[i].Numbers)))
			x.kept[e] += n
			x.count[e] += n
			x.load[m] += n
			x.free[at] -= n
		}
	}
}

// narrowFirst returns the topics with subscribers in the order of being given away: those that fewer members can take more of come first, as the others can go round them.
func (x *mixed) narrowFirst() []int32 {
	order := make([]int32, 0, len(x.topics))
	for t := range x.topics {
		if len(x.subscribers(int32(t))) > 0 {
			order = append(order, int32(t))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		p, q := int64(x.topics[a].Partitions), int64(x.topics[b].Partitions)
		m, n := int64(len(x.subscribers(a))), int64(len(x.subscribers(b)))
		return cmp.Or(cmp.Compare(q*m, p*n), cmp.Compare(m, n), cmp.Compare(a, b)) // p/m descending
	})
	return order
}

// rising returns the subscribers of a topic in order of their loads: positions in subscribers(t) in the lower halves.
func (x *mixed) rising(t int32) []uint64 {
	x.ranking = x.ranking[:0]
	for i, e := range x.subscribers(t) {
		x.ranking = append(x.ranking, uint64(x.load[x.member[e]])<<32|uint64(i))
	}
	slices.Sort(x.ranking)
	return x.ranking
}

// fill gives each free partition of a topic to the subscriber that has least.
func (x *mixed) fill(t int32) {
	if x.free[t] == 0 {
		return
	}
	subs := x.subscribers(t)
	r := receivers{ranking: x.rising(t)}
	for ; x.free[t] > 0; x.free[t]-- {
		i, _ := r.next()
		x.count[subs[i]]++
		x.load[x.member[subs[i]]]++
	}
}

// even moves partitions of a topic from the subscriber that has most, among those that have one of this topic, to the one that has least, until they differ by one. It tells whether it moved any.
//
// Nobody is on both sides: the load of who gave stays above the least by one, and of who received below the most.
func (x *mixed) even(t int32) bool {
	subs := x.subscribers(t)
	least, most := x.load[x.member[subs[0]]], int32(-1)
	for _, e := range subs {
		l := x.load[x.member[e]]
		least = min(least, l)
		if x.count[e] > 0 {
			most = max(most, l)
		}
	}
	if most-least < 2 {
		return false
	}
	r := receivers{ranking: x.rising(t)}
	x.giving = x.giving[:0]
	for i := len(r.ranking) - 1; i >= 0; i-- {
		if p := r.ranking[i]; x.count[subs[uint32(p)]] > 0 {
			x.giving = append(x.giving, p)
		}
	}
	g := givers{ranking: x.giving, turn: x.turn[:0]}
	defer func() { x.turn = g.turn }()
	for {
		from, had, ok := g.next(func(i uint32) bool { return x.count[subs[i]] > 0 })
		if !ok {
			return true
		}
		to, has := r.next()
		if had-has < 2 {
			return true
		}
		x.count[subs[from]]--
		x.load[x.member[subs[from]]]--
		x.count[subs[to]]++
		x.load[x.member[subs[to]]]++
	}
}

// receivers hands out members in the order in which they get partitions: it fills up from the least loaded one.
//
//	load              #
//	          [..    ]#     one after the other gets one more;
//	          [######]#     when all of them have, the next in the ranking may join
//	          ranking
type receivers struct {
	ranking []uint64 // loads in the upper halves, ascending
	level   int32    // load of those that are next
	end     int      // how many are at it, or were before this turn
	turn    int
}

// next returns the next member's position and the load it has.
func (r *receivers) next() (position uint32, load int32) {
	if r.turn == r.end {
		if r.end == 0 {
			r.level = int32(r.ranking[0] >> 32)
		} else {
			r.level++
		}
		for r.end < len(r.ranking) && int32(r.ranking[r.end]>>32) == r.level {
			r.end++
		}
		r.turn = 0
	}
	position = uint32(r.ranking[r.turn])
	r.turn++
	return position, r.level
}

// givers is the reverse of receivers: it takes off the most loaded ones. Who has nothing more to give drops out.
type givers struct {
	ranking []uint64 // loads in the upper halves, descending: those who did not have their first turn yet
	level   int32    // load of those that are next
	turn    []uint32 // positions of those at that level
	done    int      // how many of them had their turn
	stay    int      // how many of those did not drop out
}

// next returns the next member's position and the load it has.
func (g *givers) next(gives func(position uint32) bool) (position uint32, load int32, ok bool) {
	for {
		for g.done < len(g.turn) {
			position = g.turn[g.done]
			g.done++
			if gives(position) {
				g.turn[g.stay] = position
				g.stay++
				return position, g.level, true
			}
		}
		g.turn = g.turn[:g.stay]
		g.done, g.stay = 0, 0
		if len(g.turn) > 0 {
			g.level--
		} else if len(g.ranking) > 0 {
			g.level = int32(g.ranking[0] >> 32)
		} else {
			return 0, 0, false
		}
		for len(g.ranking) > 0 && int32(g.ranking[0]>>32) == g.level {
			g.turn = append(g.turn, uint32(g.ranking[0]))
			g.ranking = g.ranking[1:]
		}
	}
}

// settle decides which partitions each member has: first of those it had, then of the others, in order of their numbers.
func (x *mixed) settle() {
	edge := make([]int32, len(x.members)) // to the topic at hand
	for t := range x.topics {
		subs := x.subscribers(int32(t))
		if len(subs) == 0 {
			continue
		}
		for _, e := range subs {
			edge[x.member[e]] = e
			if x.count[e] != x.kept[e] {
				x.changed[x.member[e]] = true
			}
		}
		owner := x.of(t)
		for i, m := range owner {
			if m == nobody {
				continue
			}
			if e := edge[m]; x.count[e] > 0 {
				x.count[e]--
			} else {
				owner[i] = nobody
			}
		}
		next := 0
		for _, e := range subs {
			for ; x.count[e] > 0; x.count[e]-- {
				for owner[next] != nobody {
					next++
				}
				owner[next] = x.member[e]
			}
		}
	}
}
