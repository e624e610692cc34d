package assignor

import (
	"slices"

	"github.com/insynclog/insync/internal/groups/partition"
)

// Uniform gives all members the same number of partitions as far as their subscriptions allow, and lets them keep what they have as far as that allows. KIP-848.
func Uniform(members []Member, topics []Topic) []partition.Set {
	if len(members) == 0 {
		return nil
	}
	for i := range members[1:] {
		if !slices.Equal(members[i].Topics, members[i+1].Topics) {
			return newMixed(members, topics).assign()
		}
	}
	return alike(members, subscribed(topics, members[0].Topics))
}

// subscribed returns those of the topics that are in ids.
func subscribed(topics []Topic, ids []partition.TopicID) []Topic {
	if len(ids) == len(topics) && slices.EqualFunc(topics, ids, func(t Topic, id partition.TopicID) bool { return t.ID == id }) {
		return topics
	}
	var out []Topic
	eachTopic(topics, ids, func(t int) { out = append(out, topics[t]) })
	return out
}

// alike is Uniform where all members subscribe to all topics. Each has least partitions or one more; extra members have one more.
//
// A member keeps what it has, up to its share. What else it gets comes from what nobody keeps, so that the most is kept that any balanced assignment could: a member that has more than least can be
// among the extra ones, and it does not matter which of them are, as each keeps one more by it.
func alike(members []Member, topics []Topic) []partition.Set {
	p := newPlan(members, topics)
	least, extra := len(p.owner)/len(members), len(p.owner)%len(members)
	has := make([]int, len(members))
	for m := range members {
		limit := least
		if extra > 0 {
			limit++
		}
		at := 0
		target := members[m].Target
		for i := range target {
			var found bool
			if at, found = seek(topics, at, &target[i].ID); !found {
				p.changed[m] = true
				continue
			}
			has[m] += p.claim(m, at, target[i].Numbers, limit-has[m])
		}
		if has[m] > least {
			extra--
		}
	}
	next := 0 // no partition before it is nobody's
	for m := range members {
		share := least
		if has[m] > least {
			share = has[m]
		} else if extra > 0 {
			share++
			extra--
		}
		for ; has[m] < share; has[m]++ {
			for p.owner[next] != nobody {
				next++
			}
			p.owner[next] = int32(m)
			p.changed[m] = true
		}
	}
	return p.sets()
}
