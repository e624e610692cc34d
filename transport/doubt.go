package transport

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrMoved is in the ConnError of Produce and Fetch requests that a node had not answered when metadata said that it could not answer them well any more: another one leads a partition of theirs. The
// node may be cut off, or its disk may hang, and its answer might take RequestTimeout to fail to come. Such a request may have had its effect.
var ErrMoved = errors.New("another node leads the partition")

// Doubt begins when a leader has not answered for a little longer than a healthy one takes: then other nodes are asked whether it still leads, again and again until the answer comes, the leader has moved
// (ErrMoved), or the time is over.
//
//	call ──doubtAfter──▶ in doubt ──▶ metadata ──▶ leads as before: in doubt again after doubtAfter
//	                                          └──▶ another leads: done with ErrMoved

// doubtAfter is how long an answer is waited for without a question; on top of it comes what a fetch lets the node wait.
func (c *Client) doubtAfter() time.Duration { return 2 * c.cfg.BackoffMin }

// doubtAt is when a call that begins comes into doubt; zero for never.
func (c *Client) doubtAt(req kmsg.Request, now time.Time) time.Time {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		return now.Add(c.doubtAfter())
	case *kmsg.FetchRequest:
		if r.ReplicaID < 0 { // followers are told their leaders
			return now.Add(c.doubtAfter() + time.Duration(max(r.MaxWaitMillis, 0))*time.Millisecond)
		}
	}
	return time.Time{}
}

// moved tells whether a node cannot answer a request well any more by what is cached: a Produce because it does not lead, a Fetch because the leader epoch that it names is over. A follower may answer a fetch.
func (s *snapshot) moved(node int32, req kmsg.Request) bool {
	led := func(topic string, partition int32) (leader, epoch int32) {
		t := s.topics[topic]
		if t == nil || partition < 0 || int(partition) >= len(t.Partitions) {
			return -1, -1
		}
		return t.Partitions[partition].Leader, t.Partitions[partition].LeaderEpoch
	}
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				if leader, _ := led(r.Topics[i].Topic, r.Topics[i].Partitions[j].Partition); leader >= 0 && leader != node {
					return true
				}
			}
		}
	case *kmsg.FetchRequest:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				if leader, epoch := led(r.Topics[i].Topic, p.Partition); leader >= 0 && p.CurrentLeaderEpoch >= 0 && epoch > p.CurrentLeaderEpoch {
					return true
				}
			}
		}
	}
	return false
}

// topicsOf names the topics of a request.
func topicsOf(req kmsg.Request) (names []string) {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		for i := range r.Topics {
			names = append(names, r.Topics[i].Topic)
		}
	case *kmsg.FetchRequest:
		for i := range r.Topics {
			names = append(names, r.Topics[i].Topic)
		}
	}
	return names
}

// doubts collects what a look at the calls of one node finds.
type doubts struct {
	c      *Client
	node   int32
	now    time.Time
	topics []string
	any    bool // a call is in doubt
}

// look judges a call that is not done, whose owner's lock is held: what it is about may change as soon as it is done. It returns true if the leader has moved.
func (d *doubts) look(cl *call) bool {
	if cl.doubt.IsZero() || cl.doubt.After(d.now) && !cl.doubted {
		return false
	}
	if d.c.meta.snapshot.Load().moved(d.node, cl.req) {
		return true
	}
	if !cl.doubt.After(d.now) {
		d.topics = append(d.topics, topicsOf(cl.req)...)
		cl.doubt, cl.doubted, d.any = d.now.Add(d.c.doubtAfter()), true, true
	}
	return false
}

// ask asks other nodes about the topics of calls in doubt. No lock is held.
func (d *doubts) ask() {
	if d.any && len(d.c.candidates()) > 1 {
		d.c.meta.suspect(d.node)
		d.c.meta.join(d.topics, false, false)
	}
}

// reconsider looks at all calls in doubt once more: there is news.
func (c *Client) reconsider() {
	if c.direct != nil {
		c.direct.tick()
	}
	var lanes []*lane
	c.mu.Lock()
	for _, p := range c.mu.peers { // in any order: each for itself
		for _, l := range p.lanes {
			if l != nil && (l.kind == laneProduce || l.kind == laneFetch || l.kind >= laneMoreFetches && l.kind < laneJoin) {
				lanes = append(lanes, l)
			}
		}
	}
	c.mu.Unlock()
	for _, l := range lanes {
		l.tick()
	}
}
