package assignor

import (
	"github.com/insynclog/insync/internal/groups/partition"
)

// nobody owns a partition that is still to be given away.
const nobody = -1

// plan is an assignment in the making. Partitions are numbered through, topic after topic: number n of topics[t] is base[t]+n.
type plan struct {
	members []Member
	topics  []Topic
	base    []int   // one more than topics: the last is the number of partitions
	owner   []int32 // index of the member that has the partition, or nobody
	changed []bool  // members that do not end with exactly their Target
}

func newPlan(members []Member, topics []Topic) *plan {
	p := &plan{members: members, topics: topics, base: make([]int, len(topics)+1), changed: make([]bool, len(members))}
	n := 0
	for i := range topics {
		p.base[i] = n
		n += int(max(0, topics[i].Partitions))
	}
	p.base[len(topics)] = n
	p.owner = make([]int32, n)
	for i := range p.owner {
		p.owner[i] = nobody
	}
	return p
}

// of returns the owners of the partitions of a topic.
func (p *plan) of(topic int) []int32 { return p.owner[p.base[topic]:p.base[topic+1]] }

// claim lets a member keep up to limit of the given partitions of a topic: those that exist and that no member before it kept. It returns how many it kept.
func (p *plan) claim(member, topic int, numbers []int32, limit int) int {
	owner := p.of(topic)
	n := 0
	for _, number := range numbers {
		if n == limit {
			break
		}
		if number < 0 || int(number) >= len(owner) || owner[number] != nobody {
			continue
		}
		owner[number] = int32(member)
		n++
	}
	if n != len(numbers) {
		p.changed[member] = true
	}
	return n
}

// sets returns what each member has.
func (p *plan) sets() []partition.Set {
	type tally struct {
		topics, numbers int     // how many
		last            int     // topic seen last
		room            []int32 // for the numbers of that topic and the following ones
		used            int     // of room, by that topic
	}
	tallies := make([]tally, len(p.members))
	for i := range tallies {
		tallies[i].last = -1
	}
	var numbers slab[int32]
	var topics slab[partition.Topic]
	for t := range p.topics {
		for _, m := range p.of(t) {
			if m == nobody || !p.changed[m] {
				continue
			}
			c := &tallies[m]
			c.numbers++
			numbers.left++
			if c.last != t {
				c.last = t
				c.topics++
				topics.left++
			}
		}
	}
	out := make([]partition.Set, len(p.members))
	for m := range tallies {
		c := &tallies[m]
		switch {
		case !p.changed[m]:
			out[m] = p.members[m].Target
		case c.numbers > 0:
			out[m] = topics.take(c.topics)[:0]
			c.room = numbers.take(c.numbers)
		}
		c.last = -1
	}
	for t := range p.topics {
		for number, m := range p.of(t) {
			if m == nobody || !p.changed[m] {
				continue
			}
			c := &tallies[m]
			if c.last != t {
				c.last = t
				c.room = c.room[c.used:]
				c.used = 0
				out[m] = append(out[m], partition.Topic{ID: p.topics[t].ID})
			}
			c.room[c.used] = int32(number)
			c.used++
			out[m][len(out[m])-1].Numbers = c.room[:c.used:c.used]
		}
	}
	return out
}

// chunk is how many elements a slab allocates at a time. Sets outlive the assignments next to theirs: with slabs of any size a single one could keep the memory of a whole earlier assignment.
const chunk = 1024

// slab cuts slices off larger ones.
type slab[T any] struct {
	left int // still to be taken
	free []T
}

func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, min(s.left, chunk)))
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	s.left -= n
	return out
}
