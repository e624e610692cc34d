package broker

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// source is how a Fetcher fetches from one other node: Fetch requests as a replica, in an incremental session (KIP-227), so that partitions without news are in neither request nor answer.
// It is used by one goroutine, the fetcher's.
type source struct {
	b       *Broker
	leader  int32
	session clientSession
	req     *kmsg.FetchRequest // used again unless it may still be under way
	done    chan fetched
}

type fetched struct {
	resp transport.Response
	err  error
}

func newSource(b *Broker, leader int32) *source { return &source{b: b, leader: leader} }

var _ replication.Source = (*source)(nil)

// Fetch implements replication.Source.
func (s *source) Fetch(ctx context.Context, want *replication.FetchRequest, out *replication.FetchResponse) error {
	want, catchesUp := s.unthrottled(want)
	if len(want.Partitions) == 0 && catchesUp {
		out.Partitions, out.Release = out.Partitions[:0], nil
		sleep(ctx, throttleWait)
		return ctx.Err()
	}
	for attempt := 0; ; attempt++ {
		req := s.build(want)
		r, err := s.send(ctx, req)
		if err != nil {
			s.session.lost()
			return err
		}
		resp := r.Message.(*kmsg.FetchResponse)
		if code := resp.ErrorCode; code != 0 {
			release(r)
			s.session.lost()
			if attempt == 0 && sessionCode(code) {
				continue // the leader forgot the session: a full fetch is always right
			}
			return errorOf(code)
		}
		s.session.answered(resp.SessionID)
		s.translate(resp, out)
		s.b.space.holdBack(out)
		if catchesUp {
			s.noteCaughtUp(out)
		}
		out.Release = r.Release
		return nil
	}
}

// throttleWait is how long a fetcher waits that has nothing to ask for because all its partitions are throttled.
const throttleWait = 100 * time.Millisecond

// unthrottled leaves out the partitions that are throttled, not in sync, and have had their share. some tells whether any is throttled and not in sync.
func (s *source) unthrottled(want *replication.FetchRequest) (_ *replication.FetchRequest, some bool) {
	b := s.b
	if !b.catching.limited.Load() {
		return want, false
	}
	share := b.catching.available(time.Now())
	fewer := *want
	fewer.Partitions = nil
	for i := range want.Partitions {
		p := &want.Partitions[i]
		if b.catchesUp(p.TopicID, p.Partition) {
			if some = true; share <= 0 {
				continue
			}
			q := *p
			q.MaxBytes = min(q.MaxBytes, share)
			fewer.Partitions = append(fewer.Partitions, q)
			continue
		}
		fewer.Partitions = append(fewer.Partitions, *p)
	}
	return &fewer, some
}

// catchesUp tells whether this node's replica fetches slowly because it is not in sync.
func (b *Broker) catchesUp(id log.TopicID, index int32) bool {
	part := b.replicas.getByID(id, index)
	if part == nil {
		return false
	}
	t := part.throttled.Load()
	if t == nil || !t.here {
		return false
	}
	p := partitionOf(b.metadataImage(), part.topic, index)
	return p != nil && !slices.Contains(p.ISR, b.c.NodeID)
}

// noteCaughtUp counts what throttled partitions were sent.
func (s *source) noteCaughtUp(out *replication.FetchResponse) {
	now := time.Now()
	for i := range out.Partitions {
		if p := &out.Partitions[i]; s.b.catchesUp(p.TopicID, p.Partition) {
			s.b.catching.take(len(p.Records), now)
		}
	}
}

func sessionCode(code int16) bool {
	return code == kerr.FetchSessionIDNotFound.Code || code == kerr.InvalidFetchSessionEpoch.Code || code == kerr.FetchSessionTopicIDError.Code
}

func release(r transport.Response) {
	if r.Release != nil {
		r.Release()
	}
}

// build makes the request: what changed since the last one, in a session.
func (s *source) build(want *replication.FetchRequest) *kmsg.FetchRequest {
	req := s.req
	s.req = nil
	if req == nil {
		req = kmsg.NewPtrFetchRequest()
	}
	req.ReplicaID = -1
	req.ReplicaState.ID, req.ReplicaState.Epoch = s.b.c.NodeID, s.b.BrokerEpoch()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = clampInt32(want.MaxWait.Milliseconds()), clampInt32(int64(want.MinBytes)), clampInt32(int64(want.MaxBytes))
	s.session.fill(req, want.Partitions)
	return req
}

func clampInt32(n int64) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// send sends and waits. The answer's memory is the caller's to release.
func (s *source) send(ctx context.Context, req *kmsg.FetchRequest) (transport.Response, error) {
	done := s.done
	s.done = nil
	if done == nil {
		done = make(chan fetched, 1)
	}
	s.b.peers.Send(ctx, s.leader, req, func(r transport.Response, err error) { done <- fetched{r, err} })
	f := <-done // a context that ends is an answer, too
	s.done = done
	if f.err == nil {
		s.req = req
	}
	return f.resp, f.err
}

// translate hands the answer on in replication's words.
func (s *source) translate(resp *kmsg.FetchResponse, out *replication.FetchResponse) {
	out.Partitions = out.Partitions[:0]
	news := false
	for t := range resp.Topics {
		topic := &resp.Topics[t]
		for i := range topic.Partitions {
			p := &topic.Partitions[i]
			f := replication.FetchedPartition{
				TopicID: topic.TopicID, Partition: p.Partition, HighWatermark: p.HighWatermark, LogStartOffset: p.LogStartOffset, Records: p.RecordBatches,
			}
			if p.ErrorCode != 0 {
				f.Err = errorOf(p.ErrorCode)
			}
			if p.DivergingEpoch.Epoch >= 0 || p.DivergingEpoch.EndOffset >= 0 {
				f.Diverging, f.DivergingEpoch, f.DivergingEnd = true, p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset
			}
			out.Partitions = append(out.Partitions, f)
			news = true
		}
	}
	if news {
		s.b.noteChange()
	}
}

// Offsets implements replication.Source: two ListOffsets requests as a replica, for one request may name a partition once only.
func (s *source) Offsets(ctx context.Context, topic string, partition, currentLeaderEpoch int32) (start, end int64, err error) {
	if start, err = s.offset(ctx, topic, partition, currentLeaderEpoch, timestampEarliest); err != nil {
		return -1, -1, err
	}
	end, err = s.offset(ctx, topic, partition, currentLeaderEpoch, timestampLatest)
	return start, end, err
}

func (s *source) offset(ctx context.Context, topic string, partition, epoch int32, timestamp int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = s.b.c.NodeID
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.Timestamp = partition, epoch, timestamp
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := s.b.peers.Request(ctx, s.leader, req)
	if err != nil {
		return -1, err
	}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if t.Topic == topic && p.Partition == partition {
				return p.Offset, errorOf(p.ErrorCode)
			}
		}
	}
	return -1, kerr.UnknownServerError
}

// clientSession is the asking side of a fetch session (KIP-227): a state machine without I/O.
//
//	epoch 0 (full) ──answer with an id──▶ 1, 2, … (what changed) ──error──▶ 0 with the old id (closes it)
type clientSession struct {
	id, epoch int32
	sent      map[sessionKey]*sentPartition
	round     uint64 // of the request being made: partitions not seen in it are forgotten
	order     []*sentPartition
}

type sessionKey struct {
	id        log.TopicID
	partition int32
}

type sentPartition struct {
	key   sessionKey
	want  replication.FetchPartition
	round uint64
}

// fill writes what the session has to say about the partitions wanted. A full request names all of them, an incremental one those that are new or changed, and those to forget.
func (c *clientSession) fill(req *kmsg.FetchRequest, want []replication.FetchPartition) {
	full := c.epoch == 0
	req.SessionID, req.SessionEpoch = c.id, c.epoch
	req.Topics, req.ForgottenTopics = req.Topics[:0], req.ForgottenTopics[:0]
	if full {
		clear(c.sent)
		c.order = c.order[:0]
	}
	if c.sent == nil {
		c.sent = make(map[sessionKey]*sentPartition)
	}
	c.round++
	seen := 0
	for i := range want {
		w := &want[i]
		// In a quiet session the partitions come in the order in which they were first sent: no look-up then.
		var s *sentPartition
		if i < len(c.order) && c.order[i].key.id == w.TopicID && c.order[i].key.partition == w.Partition {
			s = c.order[i]
		} else {
			s = c.sent[sessionKey{w.TopicID, w.Partition}]
		}
		if s != nil {
			if s.round != c.round {
				s.round = c.round
				seen++
			}
			if s.want == *w {
				continue
			}
			s.want = *w
		} else {
			s = &sentPartition{key: sessionKey{w.TopicID, w.Partition}, want: *w, round: c.round}
			c.sent[s.key] = s
			c.order = append(c.order, s)
			seen++
		}
		addFetchPartition(req, w)
	}
	if seen < len(c.order) {
		c.forget(req)
	}
}

// forget drops what was not wanted in this round.
func (c *clientSession) forget(req *kmsg.FetchRequest) {
	keep := c.order[:0]
	for _, s := range c.order {
		if s.round == c.round {
			keep = append(keep, s)
			continue
		}
		delete(c.sent, s.key)
		n := len(req.ForgottenTopics)
		if n == 0 || req.ForgottenTopics[n-1].TopicID != s.key.id {
			t := kmsg.NewFetchRequestForgottenTopic()
			t.Topic, t.TopicID = s.want.Topic, s.key.id
			req.ForgottenTopics = append(req.ForgottenTopics, t)
			n++
		}
		t := &req.ForgottenTopics[n-1]
		t.Partitions = append(t.Partitions, s.key.partition)
	}
	clear(c.order[len(keep):])
	c.order = keep
}

// addFetchPartition adds a partition to the request, using memory of earlier ones.
func addFetchPartition(req *kmsg.FetchRequest, w *replication.FetchPartition) {
	n := len(req.Topics)
	if n == 0 || req.Topics[n-1].TopicID != w.TopicID {
		if n < cap(req.Topics) {
			req.Topics = req.Topics[:n+1]
			req.Topics[n].Partitions = req.Topics[n].Partitions[:0]
		} else {
			req.Topics = append(req.Topics, kmsg.FetchRequestTopic{})
		}
		req.Topics[n].Topic, req.Topics[n].TopicID = w.Topic, w.TopicID
		n++
	}
	t := &req.Topics[n-1]
	p := kmsg.FetchRequestTopicPartition{
		Partition: w.Partition, CurrentLeaderEpoch: w.CurrentLeaderEpoch, FetchOffset: w.FetchOffset, LastFetchedEpoch: w.LastFetchedEpoch, LogStartOffset: w.LogStartOffset,
		PartitionMaxBytes: clampInt32(int64(w.MaxBytes)), HighWatermark: math.MaxInt64,
	}
	t.Partitions = append(t.Partitions, p)
}

// answered takes the id in an answer without an error: 0 means that there is no session.
func (c *clientSession) answered(id int32) {
	if id == 0 {
		c.id, c.epoch = 0, 0
		return
	}
	c.id, c.epoch = id, nextSessionEpoch(c.epoch)
}

// lost starts anew with a full request, which closes the old session if there still is one.
func (c *clientSession) lost() { c.epoch = 0 }
