package controller

import (
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// contact is what a leader remembers of a follower's answers in its term. An answer to entries or to a heartbeat is what a fetch is in Kafka's quorum.
type contact struct {
	fetched  time.Time // of the last answer; zero without one
	caughtUp time.Time // when it had last confirmed all that this node had; zero never
	end      uint64    // of this node's log when the last answer came
	number   uint64    // of the newest question that it has answered, see inquiry
}

// answered notes an answer after raft has taken it: a follower is caught up now, if it has confirmed all there is; as of the answer before, if it has confirmed all there was then.
func (c *contact) answered(match, end uint64, now time.Time) {
	switch {
	case match >= end:
		c.caughtUp = now
	case !c.fetched.IsZero() && match >= c.end && c.fetched.After(c.caughtUp):
		c.caughtUp = c.fetched
	}
	c.fetched, c.end = now, end
}

// contacted notes a message from a member while this node leads.
func (d *driver) contacted(m *pb.Message, now time.Time) {
	if t := m.GetType(); m.GetTerm() != d.term || t != pb.MsgAppResp && t != pb.MsgHeartbeatResp {
		return
	}
	d.node.WithProgress(func(id uint64, _ raft.ProgressType, p progress) {
		if id == m.GetFrom() {
			c := d.contacts[id]
			c.answered(p.Match, d.lastIndex, now)
			c.number = max(c.number, inquiryNumber(m))
			d.contacts[id] = c
		}
	})
}
