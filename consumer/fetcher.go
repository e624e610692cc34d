package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetcher is the goroutine that fetches from one node. It ends when it has no partitions left.
type fetcher struct {
	node int32
	wake chan struct{} // capacity 1: space, a seek, a resume, a new partition
	turn int           // which partition comes first in the next request
}

// chunk is what one answer held for one partition.
type chunk struct {
	p          *partition
	generation int
	data       []byte // whole batches, perhaps a partial one at the end
	size       int    // len(data) when it was fetched
	aborted    []kmsg.FetchResponseTopicPartitionAbortedTransaction
	active     map[int64]bool // producers whose transaction at this place was aborted
	answer     *answer
}

// answer is the memory that the chunks of one response share.
type answer struct {
	refs atomic.Int32
	free func() // may be nil
}

func (c *chunk) release() {
	if c.answer != nil && c.answer.refs.Add(-1) == 0 && c.answer.free != nil {
		c.answer.free()
	}
	c.answer = nil
}

// wakeFetchersLocked makes every fetcher look again.
func (c *Consumer) wakeFetchersLocked() {
	for _, f := range c.mu.fetchers {
		signal(f.wake)
	}
}

// ensureFetcherLocked starts a fetcher for a node if there is none.
func (c *Consumer) ensureFetcherLocked(node int32) {
	if f := c.mu.fetchers[node]; f != nil {
		signal(f.wake)
		return
	}
	if c.mu.closed {
		return
	}
	f := &fetcher{node: node, wake: make(chan struct{}, 1)}
	c.mu.fetchers[node] = f
	c.wg.Go(func() { c.fetchLoop(f) })
}

func (c *Consumer) fetchLoop(f *fetcher) {
	for c.ctx.Err() == nil {
		req, asked, wait, live := c.plan(f)
		switch {
		case !live:
			return
		case req != nil:
			c.fetch(f, req, asked)
		default:
			c.idle(f, wait)
		}
	}
	c.mu.Lock()
	delete(c.mu.fetchers, f.node)
	c.mu.Unlock()
}

// idle waits until something changes, at most for wait if it is positive.
func (c *Consumer) idle(f *fetcher, wait time.Duration) {
	var timeout <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-c.ctx.Done():
	case <-f.wake:
	case <-timeout:
	}
}

// unsettledWait is how long a fetch may wait at a node while partitions exist that may soon be fetched from it: a fetch that waits holds up those that are not part of it.
const unsettledWait = 20 * time.Millisecond

// plan makes the next request of a fetcher. A nil request means to wait, at most for wait if that is positive; live is false, and the fetcher is gone, when no partition is read from its node.
//
// While one of its partitions has no room the fetcher asks for none: a request for the others alone might wait at the node for Config.MaxWait, while the application runs dry on the full one.
func (c *Consumer) plan(f *fetcher) (req *kmsg.FetchRequest, asked []ask, wait time.Duration, live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var can []*partition
	full := c.mu.buffered >= c.config.BufferBytes
	maxWait := c.config.MaxWait
	for _, p := range c.mu.partitions {
		if p.tenure == yielding {
			continue
		}
		if p.gated() || p.state == unplaced || p.state == validating || p.leader < 0 && p.state == fetching {
			// It may soon be read here, too.
			if maxWait = min(maxWait, c.config.RetryBackoff); p.err == nil && p.tenure != loading {
				maxWait = min(maxWait, unsettledWait)
			}
		}
		if p.node(now) != f.node {
			continue
		}
		live = true
		if p.paused || p.state != fetching || p.gated() {
			continue
		}
		if d := p.retryAt.Sub(now); d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			maxWait = min(maxWait, max(d, c.config.RetryBackoff))
			continue
		}
		full = full || p.buffered >= 2*c.config.PartitionMaxBytes
		can = append(can, p)
	}
	if !live {
		delete(c.mu.fetchers, f.node)
		return nil, nil, 0, false
	}
	if full || len(can) == 0 {
		return nil, nil, wait, true
	}
	slices.SortFunc(can, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.number, b.number))
	})
	f.turn++
	first := f.turn % len(can) // everybody is first in turn: the first one is sure to get data
	can = slices.Concat(can[first:], can[:first])
	req, asked = c.request(can)
	req.MaxWaitMillis = int32(maxWait.Milliseconds())
	return req, asked, 0, true
}

// ask is what a request asked for one partition.
type ask struct {
	p          *partition
	generation int
	offset     int64
}

func (c *Consumer) request(can []*partition) (*kmsg.FetchRequest, []ask) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MinBytes = int32(c.config.MinBytes)
	req.MaxBytes = int32(c.config.MaxBytes)
	if c.config.Isolation == ReadCommitted {
		req.IsolationLevel = 1
	}
	req.SessionEpoch = -1 // no session (KIP-227)
	req.Rack = c.config.Rack
	asked := make([]ask, 0, len(can))
	for _, p := range can {
		// Partitions are grouped by topic only where neighbours share one: the order is what counts.
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.topic {
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic, rt.TopicID = p.topic, p.id
			req.Topics = append(req.Topics, rt)
		}
		rt := &req.Topics[len(req.Topics)-1]
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.CurrentLeaderEpoch = p.number, p.fetchAt, p.leaderEpoch
		rp.LastFetchedEpoch, rp.LogStartOffset = -1, -1
		rp.PartitionMaxBytes = int32(c.config.PartitionMaxBytes)
		rt.Partitions = append(rt.Partitions, rp)
		p.asked = true
		asked = append(asked, ask{p, p.generation, p.fetchAt})
	}
	return req, asked
}

// fetch sends a request and takes in the answer.
func (c *Consumer) fetch(f *fetcher, req *kmsg.FetchRequest, asked []ask) {
	type result struct {
		r   transport.Response
		err error
	}
	done := make(chan result, 1)
	c.client.Send(c.ctx, f.node, req, func(r transport.Response, err error) { done <- result{r, err} })
	res := <-done // bounded by the client's request timeout and by c.ctx
	if res.err != nil {
		c.fetchFailed(asked, res.err)
		return
	}
	resp, ok := res.r.Message.(*kmsg.FetchResponse)
	if err := c.topLevel(resp, ok); err != nil {
		if res.r.Release != nil {
			res.r.Release()
		}
		c.fetchFailed(asked, err)
		return
	}
	c.takeIn(f, resp, asked, res.r.Release)
}

func (c *Consumer) topLevel(resp *kmsg.FetchResponse, ok bool) error {
	if !ok {
		return errors.New("the answer to a fetch is of another kind")
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// fetchFailed makes the partitions of a request wait, and look for their leaders anew.
func (c *Consumer) fetchFailed(asked []ask, err error) {
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	moved := errors.Is(err, transport.ErrMoved) // metadata knows already where to
	for _, a := range asked {
		a.p.asked = false
		if a.p.generation != a.generation {
			continue
		}
		if moved {
			a.p.leader, a.p.replica, a.p.err = -1, -1, err
			continue
		}
		a.p.backOff(now, c.config.RetryBackoff, err)
		c.lostLocked(a.p)
	}
	c.clientErrorLocked(err)
	signal(c.resolve)
}

// clientErrorLocked ends the iteration if the error says that the client, which others own, is closed. Without this it would wait for ever.
func (c *Consumer) clientErrorLocked(err error) {
	if errors.Is(err, transport.ErrClosed) && c.mu.ended == nil {
		c.mu.ended = fmt.Errorf("consumer: %w", err)
		signal(c.ready)
	}
}

// lostLocked makes the resolver find the partition's leader again.
func (c *Consumer) lostLocked(p *partition) { p.leader, p.replica, p.stale = -1, -1, true }

// takeIn distributes an answer over the partitions.
func (c *Consumer) takeIn(f *fetcher, resp *kmsg.FetchResponse, asked []ask, free func()) {
	c.hint(resp)
	ans := &answer{free: free}
	ans.refs.Store(1) // held until everything is queued
	c.mu.Lock()
	byKey := make(map[key]ask, len(asked))
	names := map[[16]byte]string{}
	for _, a := range asked {
		a.p.asked = false
		byKey[a.p.key] = a
		names[a.p.id] = a.p.topic
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		name := t.Topic
		if name == "" {
			name = names[t.TopicID]
		}
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			if a, ok := byKey[key{name, rp.Partition}]; ok && a.generation == a.p.generation && a.p.state == fetching && !a.p.gated() {
				c.takePartitionLocked(f, a, rp, ans)
			}
		}
	}
	c.mu.Unlock()
	(&chunk{answer: ans}).release()
	signal(c.ready)
}

func (c *Consumer) takePartitionLocked(f *fetcher, a ask, rp *kmsg.FetchResponseTopicPartition, ans *answer) {
	p := a.p
	if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
		c.partitionErrorLocked(f, p, err)
		return
	}
	if rp.PreferredReadReplica >= 0 && rp.PreferredReadReplica != f.node {
		p.replica, p.replicaEnds = rp.PreferredReadReplica, time.Now().Add(5*time.Minute)
		c.ensureFetcherLocked(p.replica)
	}
	p.err, p.retryAt = nil, time.Time{}
	p.highWatermark, p.visible = rp.HighWatermark, rp.HighWatermark
	if c.config.Isolation == ReadCommitted && rp.LastStableOffset >= 0 {
		p.visible = rp.LastStableOffset
	}
	data, end, epoch, err := wholeBatches(rp.RecordBatches)
	if err != nil { // what came before the damage is handed out first
		p.fail(&PartitionError{Topic: p.topic, Partition: p.number, Offset: max(end, p.fetchAt), Err: err})
	}
	if end <= p.fetchAt {
		return // nothing, or a part of a batch only
	}
	p.fetchAt, p.lastEpoch = end, epoch
	ch := &chunk{p: p, generation: p.generation, data: data, size: len(data), aborted: rp.AbortedTransactions, answer: ans}
	slices.SortFunc(ch.aborted, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	ans.refs.Add(1)
	p.buffered += ch.size
	c.mu.buffered += ch.size
	c.mu.queue = append(c.mu.queue, ch)
}

// wholeBatches returns the whole batches at the start of data, the end offset and leader epoch of the last one (-1 without one), and what is wrong with what follows.
func wholeBatches(data []byte) (whole []byte, end int64, epoch int32, err error) {
	end, epoch = -1, -1
	size := 0
	for b, err := range record.Batches(data) {
		if err != nil {
			return data[:size], end, epoch, err
		}
		size += b.Size()
		end, epoch = b.NextOffset(), b.LeaderEpoch()
	}
	return data[:size], end, epoch, nil
}

// partitionErrorLocked decides what an error of one partition means.
func (c *Consumer) partitionErrorLocked(f *fetcher, p *partition, err error) {
	now := time.Now()
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange) && p.replica >= 0:
		p.replica = -1 // a follower may lag: ask the leader before believing it (KIP-392)
		c.ensureFetcherLocked(p.leader)
	case errors.Is(err, kerr.OffsetOutOfRange):
		c.outOfRangeLocked(p)
	case errors.Is(err, kerr.OffsetNotAvailable):
		p.backOff(now, c.config.RetryBackoff, err)
	case kerr.IsRetriable(err):
		// The leader has moved, or is about to: find it, and check on the way that the log still has what was read.
		p.backOff(now, c.config.RetryBackoff, err)
		c.lostLocked(p)
		signal(c.resolve)
	default:
		p.fail(&PartitionError{Topic: p.topic, Partition: p.number, Offset: p.fetchAt, Err: err})
	}
}

func (c *Consumer) outOfRangeLocked(p *partition) {
	switch c.config.OutOfRange {
	case ResumeFirst:
		p.seek(Earliest())
	case ResumeLast:
		p.seek(Latest())
	default:
		p.fail(&OffsetOutOfRangeError{Topic: p.topic, Partition: p.number, Offset: p.fetchAt})
		return
	}
	signal(c.resolve)
}

// hint passes on what the answer says of new leaders (KIP-951).
func (c *Consumer) hint(resp *kmsg.FetchResponse) {
	var nodes []transport.Node
	for _, b := range resp.Brokers {
		n := transport.Node{ID: b.NodeID, Addr: joinHostPort(b.Host, b.Port)}
		if b.Rack != nil {
			n.Rack = *b.Rack
		}
		nodes = append(nodes, n)
	}
	for _, t := range resp.Topics {
		if t.Topic == "" {
			continue // newer versions name topics by id: the refresh finds the leader
		}
		for _, p := range t.Partitions {
			if p.CurrentLeader.LeaderEpoch >= 0 && p.CurrentLeader.LeaderID >= 0 {
				c.client.LeaderHint(t.Topic, p.Partition, p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch, nodes)
			}
		}
	}
}
