package machine

import (
	"time"
)

// group is one group: its committed offsets, and its members if it has any.
type group struct {
	id       string
	offsets  map[TopicPartition]*offset
	classic  *classicGroup  // at most one of the two is set;
	consumer *consumerGroup // a group that only commits has neither

	changes int                                // decided and not written yet
	writing bool                               // a change of the group as a whole is being written
	later   []func(now time.Time, fx *Effects) // what waits for that
}

// subscribed tells whether a member may read a topic.
func (g *group) subscribed(topic string) bool {
	switch {
	case g.classic != nil:
		return g.classic.subscribed(topic)
	case g.consumer != nil:
		return g.consumer.subscribed(topic)
	}
	return false
}

// hasMembers tells whether somebody is in the group.
func (g *group) hasMembers() bool {
	return g.classic != nil && !g.classic.empty() || g.consumer != nil && !g.consumer.empty()
}

// drafting tells whether a request has to wait until what is being decided about the group's members is written. Heartbeats are decided together, and commits do not change members.
func (g *group) drafting(r Request) bool {
	if g.consumer == nil || g.consumer.draft == nil {
		return false
	}
	switch r.(type) {
	case *ConsumerHeartbeat, *Commit:
		return false
	}
	return true
}

// born tells whether the group is a consumer group by what is written.
func (g *group) born() bool { return g.consumer != nil && g.consumer.epoch > 0 }
