package consumer

import (
	"cmp"
	"maps"
	"slices"
)

// stickyName is the name of the assignor in the classic protocol. Java's clients know it, too.
const stickyName = "cooperative-sticky"

// subscriber is a member as the one that shares out sees it.
type subscriber struct {
	id         string
	topics     []string
	owned      []key
	generation int32 // of owned; -1 unknown
}

// shareOut gives every partition of the subscribed topics to one subscriber (KIP-429): evenly, and of the even ways one that moves little. counts are the partitions by topic; topics without are left out.
//
// A partition that moves goes to nobody this time: its owner must give it up first. It does so when it sees that it has it no longer, joins again, and the next sharing out finds the partition free.
func shareOut(members []subscriber, counts map[string]int) map[string][]key {
	s := newSharer(members, counts)
	s.keep()
	s.fill()
	s.level()
	return s.withhold()
}

// sharer is one sharing out.
type sharer struct {
	members  []subscriber
	wants    []map[string]bool // by member
	all      []key             // partitions, in order
	eligible map[string][]int  // topic: members that want it
	owner    map[key]int       // partition: member
	loads    []int             // by member
	claims   map[key]int       // partition: the member that has it, as the members say
}

func newSharer(members []subscriber, counts map[string]int) *sharer {
	s := &sharer{members: slices.Clone(members), eligible: map[string][]int{}, owner: map[key]int{}, claims: map[key]int{}}
	slices.SortFunc(s.members, func(a, b subscriber) int { return cmp.Compare(a.id, b.id) })
	s.loads = make([]int, len(s.members))
	for i, m := range s.members {
		wants := map[string]bool{}
		for _, t := range m.topics {
			if !wants[t] {
				wants[t] = true
				s.eligible[t] = append(s.eligible[t], i)
			}
		}
		s.wants = append(s.wants, wants)
	}
	for _, t := range slices.Sorted(maps.Keys(s.eligible)) {
		for n := range counts[t] {
			s.all = append(s.all, key{t, int32(n)})
		}
	}
	return s
}

// keep leaves partitions where they are. Of two members that claim one, the later generation is right; with the same generation neither is, and the partition is withheld from both.
func (s *sharer) keep() {
	known := make(map[key]bool, len(s.all))
	for _, k := range s.all {
		known[k] = true
	}
	disputed := map[key]bool{}
	for i, m := range s.members {
		for _, k := range m.owned {
			j, claimed := s.claims[k]
			switch {
			case !known[k]:
			case !claimed || m.generation > s.members[j].generation:
				s.claims[k], disputed[k] = i, false
			case m.generation == s.members[j].generation && j != i:
				disputed[k] = true
			}
		}
	}
	for _, k := range s.all {
		i, claimed := s.claims[k]
		switch {
		case disputed[k]:
			s.claims[k] = -1
		case claimed && s.wants[i][k.topic]:
			s.give(k, i)
		}
	}
}

func (s *sharer) give(k key, member int) {
	if from, ok := s.owner[k]; ok {
		s.loads[from]--
	}
	s.owner[k] = member
	s.loads[member]++
}

// fill gives free partitions to whoever has least.
func (s *sharer) fill() {
	for _, k := range s.all {
		if _, ok := s.owner[k]; !ok {
			s.give(k, s.least(k.topic))
		}
	}
}

// least is the subscriber of a topic that has least.
func (s *sharer) least(topic string) int {
	return slices.MinFunc(s.eligible[topic], func(a, b int) int { return cmp.Compare(s.loads[a], s.loads[b]) })
}

// level moves partitions from who has more to who has less by two or more, until there are no such two. Each move makes the sum of the squared loads smaller, so it ends.
func (s *sharer) level() {
	for moved := true; moved; {
		moved = false
		for _, k := range slices.Backward(s.all) {
			from, to := s.owner[k], s.least(k.topic)
			if s.loads[from] < s.loads[to]+2 || s.loads[from] < s.most(k) {
				continue
			}
			s.give(k, to)
			moved = true
		}
	}
}

// most is the highest load among the subscribers of a partition's topic: that one gives first, so that no partition moves twice.
func (s *sharer) most(k key) (load int) {
	for _, i := range s.eligible[k.topic] {
		load = max(load, s.loads[i])
	}
	return load
}

// withhold returns what each member is to have, without the partitions that somebody else has still to give up.
func (s *sharer) withhold() map[string][]key {
	out := make(map[string][]key, len(s.members))
	for _, m := range s.members {
		out[m.id] = nil
	}
	for _, k := range s.all {
		to := s.owner[k]
		if has, claimed := s.claims[k]; claimed && has != to {
			continue
		}
		id := s.members[to].id
		out[id] = append(out[id], k)
	}
	return out
}
