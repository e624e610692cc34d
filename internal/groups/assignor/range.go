package assignor

import (
	"cmp"
	"slices"

	"github.com/insynclog/insync/internal/groups/partition"
)

// Range gives each member a contiguous range of the partitions of every topic it subscribes to. Where the numbers do not come out even, the first members have one more. KIP-848.
func Range(members []Member, topics []Topic) []partition.Set {
	if len(members) == 0 {
		return nil
	}
	subscribers := make([]int32, len(topics)) // that are still without their range
	most, entries := int32(0), slab[partition.Topic]{}
	for m := range members {
		eachTopic(topics, members[m].Topics, func(t int) {
			subscribers[t]++
			most = max(most, topics[t].Partitions)
			entries.left++
		})
	}
	// All ranges are cut from the same numbers: the sets are never written to.
	numbers := make([]int32, most)
	for i := range numbers {
		numbers[i] = int32(i)
	}
	next := make([]int32, len(topics)) // partitions given away
	out := make([]partition.Set, len(members))
	for _, m := range inOrder(members) {
		set := entries.take(len(members[m].Topics))[:0]
		eachTopic(topics, members[m].Topics, func(t int) {
			from := next[t]
			left := max(0, topics[t].Partitions) - from
			// Rounding up what is left gives the larger shares to the first ones.
			n := (left + subscribers[t] - 1) / subscribers[t]
			subscribers[t]--
			if n > 0 {
				next[t] = from + n
				set = append(set, partition.Topic{ID: topics[t].ID, Numbers: numbers[from : from+n : from+n]})
			}
		})
		if len(set) > 0 {
			out[m] = slices.Clip(set)
		}
	}
	return out
}

// eachTopic calls f with the index of each of the topics that is in ids.
func eachTopic(topics []Topic, ids []partition.TopicID, f func(t int)) {
	at := 0
	for i := range ids {
		var found bool
		if at, found = seek(topics, at, &ids[i]); found {
			f(at)
		}
	}
}

// inOrder returns the indexes of the members in the order of their ranges.
func inOrder(members []Member) []int {
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	// A member with an instance id keeps its place when it restarts under another member id. Those without come after it, so that their coming and going moves less.
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &members[a], &members[b]
		switch {
		case x.InstanceID == "" && y.InstanceID == "":
			return cmp.Compare(x.ID, y.ID)
		case x.InstanceID == "":
			return 1
		case y.InstanceID == "":
			return -1
		}
		return cmp.Compare(x.InstanceID, y.InstanceID)
	})
	return order
}
