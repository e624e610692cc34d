package consumer

import (
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadataAge is how often the resolver looks for new partitions of Config.Topics and for leaders that moved without an error telling it.
const metadataAge = 5 * time.Minute

// resolveLoop finds out what fetchers need to know: partitions of the topics, their leaders, where to start, and after a change of leader whether the log has lost what was read.
func (c *Consumer) resolveLoop() {
	for {
		wait := c.resolveOnce()
		t := time.NewTimer(wait)
		select {
		case <-c.ctx.Done():
			t.Stop()
			return
		case <-c.resolve:
		case <-t.C:
		}
		t.Stop()
	}
}

// resolveOnce does what can be done now and returns when to look again at the latest.
func (c *Consumer) resolveOnce() time.Duration {
	wait := metadataAge
	c.mu.Lock()
	lost := c.mu.ended != nil
	c.mu.Unlock()
	if lost {
		return wait
	}
	if topics := c.stale(); len(topics) > 0 {
		select { // what the client has cached was not good enough
		case <-c.client.Refresh(topics...):
		case <-c.ctx.Done():
			return wait
		}
	}
	for _, topic := range c.topics() {
		if !c.learn(topic) {
			wait = c.config.RetryBackoff
		}
	}
	now := time.Now()
	var work []*partition
	c.mu.Lock()
	for _, p := range c.mu.partitions {
		needs := p.leader < 0 && p.state != failed || p.state == unplaced || p.state == validating
		if p.tenure == loading || p.tenure == yielding { // placed soon, or never again
			continue
		}
		if d := p.retryAt.Sub(now); needs && d > 0 {
			wait = min(wait, d)
			continue
		}
		if needs && p.leader < 0 {
			wait = min(wait, c.config.RetryBackoff) // newer metadata may name one
		} else if needs && !p.resolving {
			p.resolving = true
			work = append(work, p)
		}
	}
	c.mu.Unlock()
	sortTenants(work)
	for _, p := range work {
		c.wg.Go(func() { c.settle(p) }) // each bounded by the client's request timeout; they end with c.ctx
	}
	return wait
}

// topics are the names of all topics that are read.
func (c *Consumer) topics() (names []string) {
	names = append(names, c.config.Topics...)
	seen := map[string]bool{}
	for _, n := range names {
		seen[n] = true
	}
	for n := range c.config.Partitions {
		if !seen[n] {
			names = append(names, n)
			seen[n] = true
		}
	}
	defer func() { slices.Sort(names) }()
	if c.group == nil {
		return names
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.mu.partitions { // what the group gave
		if !seen[k.topic] {
			names = append(names, k.topic)
			seen[k.topic] = true
		}
	}
	return names
}

// learn takes the leaders of a topic's partitions from the client's metadata, and adds partitions that are new; false if it is not complete.
func (c *Consumer) learn(name string) bool {
	t, err := c.client.Topic(c.ctx, name, false)
	if err == nil {
		err = t.Err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.clientErrorLocked(err)
		c.unknownTopicLocked(name, err)
		return false
	}
	for _, topic := range c.config.Topics {
		if topic != name || c.group != nil {
			continue
		}
		for n := range t.Partitions {
			if k := (key{name, int32(n)}); c.mu.partitions[k] == nil {
				c.mu.partitions[k] = newPartition(k, c.config.Start)
			}
		}
	}
	complete := true
	for _, p := range c.inOrderLocked() {
		if p.topic == name && !c.leadLocked(p, t) {
			complete = false
		}
	}
	return complete
}

// inOrderLocked lists the partitions, so that what follows from them does not depend on the order of a map.
func (c *Consumer) inOrderLocked() []*partition {
	all := slices.Collect(maps.Values(c.mu.partitions))
	sortTenants(all)
	return all
}

// stale lists the topics with a partition whose leader is not what it was thought to be.
func (c *Consumer) stale() (topics []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.mu.partitions {
		if p.stale {
			p.stale = false
			if !slices.Contains(topics, p.topic) {
				topics = append(topics, p.topic)
			}
		}
	}
	return topics
}

// unknownTopicLocked reports a topic that cannot be read: for good to the application, for now in Status.
func (c *Consumer) unknownTopicLocked(name string, err error) {
	var ke *kerr.Error
	final := errors.As(err, &ke) && !ke.Retriable
	found := false
	for _, p := range c.mu.partitions {
		if p.topic != name {
			continue
		}
		found = true
		if p.err = err; final && p.state != failed {
			p.fail(&PartitionError{Topic: name, Partition: p.number, Offset: p.position, Err: err})
		}
	}
	if final && !found {
		k := key{name, -1} // a place for the error: no partition is known
		p := newPartition(k, c.config.Start)
		p.fail(&PartitionError{Topic: name, Partition: -1, Offset: -1, Err: err})
		c.mu.partitions[k] = p
	}
	if final {
		signal(c.ready)
	}
}

// leadLocked gives a partition its leader; false if there is none.
func (c *Consumer) leadLocked(p *partition, t *transport.Topic) bool {
	if p.state == failed || p.number < 0 {
		return true
	}
	if int(p.number) >= len(t.Partitions) {
		p.err = kerr.UnknownTopicOrPartition
		return false
	}
	tp := &t.Partitions[p.number]
	if p.assignedID != [16]byte{} && p.assignedID != t.ID {
		p.stale = true // of an earlier topic of this name, or of one that the group will give out next
		return false
	}
	if p.id != [16]byte{} && p.id != t.ID && t.ID != [16]byte{} {
		// Deleted and created again: offsets of the old topic mean nothing in the new one.
		p.fail(&PartitionError{Topic: p.topic, Partition: p.number, Offset: p.position, Err: kerr.InconsistentTopicID})
		signal(c.ready)
		return true
	}
	p.id = t.ID
	if tp.Leader < 0 || tp.LeaderEpoch < p.leaderEpoch {
		if p.leader < 0 {
			p.err, p.stale = kerr.LeaderNotAvailable, true
		}
		return p.leader >= 0
	}
	moved := tp.LeaderEpoch != p.leaderEpoch
	if moved && p.state == fetching && p.lastEpoch >= 0 && p.leaderEpoch >= 0 {
		p.state = validating
	}
	p.leader, p.leaderEpoch = tp.Leader, tp.LeaderEpoch
	if p.state == fetching {
		c.ensureFetcherLocked(p.node(time.Now()))
	}
	return true
}

// settle places a partition, or checks its place after a change of leader.
func (c *Consumer) settle(p *partition) {
	c.mu.Lock()
	st, gen, start, node, epoch := p.state, p.generation, p.start, p.leader, p.leaderEpoch
	at, lastEpoch := p.fetchAt, p.lastEpoch
	c.mu.Unlock()
	var err error
	var offset int64
	switch {
	case st == validating:
		offset, err = c.epochEnd(node, p.key, epoch, lastEpoch)
	case start.kind == atOffset:
		offset = start.value
	default:
		offset, err = c.listOffset(node, p.key, epoch, start)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.resolving = false
	if p.generation != gen || c.mu.closed {
		signal(c.resolve)
		return
	}
	var ke *kerr.Error
	switch {
	case errors.As(err, &ke) && !ke.Retriable:
		p.fail(&PartitionError{Topic: p.topic, Partition: p.number, Offset: at, Err: err})
		signal(c.ready)
	case err != nil:
		p.backOff(time.Now(), c.config.RetryBackoff, err)
		c.lostLocked(p)
		c.clientErrorLocked(err)
		signal(c.resolve)
	case st == validating && offset >= 0 && offset < at:
		p.fail(&LogTruncatedError{Topic: p.topic, Partition: p.number, Position: at, DivergentOffset: offset})
		signal(c.ready)
	case st == validating:
		p.state, p.err = fetching, nil
		c.ensureFetcherLocked(p.node(time.Now()))
	default:
		p.place(offset)
		c.ensureFetcherLocked(p.node(time.Now()))
		if p.baseline {
			signal(c.group.dirty)
		}
	}
}

// listOffset asks a leader for the offset of a position (ListOffsets).
func (c *Consumer) listOffset(node int32, k key, epoch int32, start Position) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if c.config.Isolation == ReadCommitted {
		req.IsolationLevel = 1
	}
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = k.topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.CurrentLeaderEpoch = k.number, epoch
	switch start.kind {
	case latest:
		rp.Timestamp = -1
	case atTime:
		rp.Timestamp = start.value
	default:
		rp.Timestamp = -2
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.client.Request(c.ctx, node, req)
	if err != nil {
		return 0, err
	}
	r, ok := resp.(*kmsg.ListOffsetsResponse)
	if !ok || len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return 0, errors.New("the answer to a look-up of an offset is not about the partition")
	}
	p := r.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return 0, err
	}
	if start.kind == atTime && p.Offset < 0 { // no record at or after that time
		return c.listOffset(node, k, epoch, Latest())
	}
	return p.Offset, nil
}

// epochEnd asks a leader where the epoch of the last record read ends in its log (OffsetForLeaderEpoch, KIP-320); -1 if it does not know.
func (c *Consumer) epochEnd(node int32, k key, currentEpoch, epoch int32) (int64, error) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = k.topic
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.Partition, rp.CurrentLeaderEpoch, rp.LeaderEpoch = k.number, currentEpoch, epoch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.client.Request(c.ctx, node, req)
	if err != nil {
		return 0, err
	}
	r, ok := resp.(*kmsg.OffsetForLeaderEpochResponse)
	if !ok || len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return 0, errors.New("the answer to a look-up of an epoch is not about the partition")
	}
	p := r.Topics[0].Partitions[0]
	return p.EndOffset, kerr.ErrorForCode(p.ErrorCode)
}

func joinHostPort(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
