package assignor

import (
	"bytes"

	"github.com/insynclog/insync/internal/groups/partition"
)

// Member is a member of a group as an assignor sees it.
type Member struct {
	ID         string
	InstanceID string              // "" for a dynamic member
	Rack       string              // "" unknown
	Topics     []partition.TopicID // subscribed to and existing; sorted, no repeats
	Target     partition.Set       // what it had in the last target assignment, perhaps of topics that it no longer subscribes to or that are gone
}

// Topic is a topic that members subscribe to.
type Topic struct {
	ID         partition.TopicID
	Partitions int32
}

// Assignor spreads the partitions of topics over members: result[i] is for members[i]. The members are in order of their ids, and so are the topics. Subscriptions to other topics do not count.
type Assignor func(members []Member, topics []Topic) []partition.Set

// ByName returns the assignor that clients and configurations call so.
func ByName(name string) (Assignor, bool) {
	switch name {
	case "uniform":
		return Uniform, true
	case "range":
		return Range, true
	}
	return nil, false
}

// seek returns the index at or after from of the first topic that is not before id. It gallops: who asks for ascending ids mostly asks for the next one.
func seek(topics []Topic, from int, id *partition.TopicID) (at int, found bool) {
	lo, hi, step := from, from, 1 // topics before lo are before id; hi is the first not known to be
	for hi < len(topics) {
		c := bytes.Compare(topics[hi].ID[:], id[:])
		if c == 0 {
			return hi, true
		}
		if c > 0 {
			break
		}
		lo = hi + 1
		hi += step
		step *= 2
	}
	hi = min(hi, len(topics))
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch c := bytes.Compare(topics[mid].ID[:], id[:]); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}
