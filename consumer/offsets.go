package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupOffset is where a group goes on in a partition.
type groupOffset struct {
	offset int64
	epoch  int32 // leader epoch of the record before; -1 unknown
}

// atCoordinator sends a request to the group's coordinator once. A coordinator that cannot be reached, or says that it is none, is looked for by the next call.
func (c *Consumer) atCoordinator(ctx context.Context, req messageRequest) (resp messageResponse, node int32, err error) {
	node, err = c.client.Coordinator(ctx, transport.GroupCoordinator, c.config.Group)
	if err != nil {
		return nil, -1, err
	}
	resp, err = c.client.Request(ctx, node, req)
	if err != nil && ctx.Err() == nil {
		c.notCoordinator(node)
	}
	return resp, node, err
}

func (c *Consumer) notCoordinator(node int32) {
	c.client.ForgetCoordinator(transport.GroupCoordinator, c.config.Group, node)
	signal(c.group.wake)
}

// verdict is what an error of a request with offsets means.
type verdict int8

const (
	final verdict = iota
	later         // try again
	moved         // at another coordinator
	out           // the membership is over
)

// judge reads the error of a request that a member sent under a generation.
func (c *Consumer) judge(err error, generation int32) verdict {
	ke, ok := errors.AsType[*kerr.Error](err)
	switch {
	case !ok:
		return final
	case ke == kerr.NotCoordinator, ke == kerr.CoordinatorNotAvailable:
		return moved
	case ke == kerr.UnknownMemberID, ke == kerr.FencedMemberEpoch, ke == kerr.FencedInstanceID:
		return out
	case ke == kerr.StaleMemberEpoch, ke == kerr.IllegalGeneration:
		// The coordinator is ahead of the answer to a heartbeat or a join that is on its way; if none is, this member has been left behind.
		c.mu.Lock()
		defer c.mu.Unlock()
		m := c.group.machine
		if _, now := m.member(); ke == kerr.IllegalGeneration && m.settled() && now == generation {
			return out
		}
		m.hurry(time.Now())
		signal(c.group.wake)
		return later
	case ke == kerr.RebalanceInProgress:
		return later
	case ke == kerr.UnknownTopicOrPartition, ke == kerr.UnknownTopicID:
		return final
	case ke.Retriable:
		return later
	}
	return final
}

// fellOut ends the membership of a life, because an answer to another request than its own said so.
func (c *Consumer) fellOut(life int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.group
	if g.life != life {
		return
	}
	if errors.Is(err, kerr.FencedInstanceID) {
		c.endLocked(&InstanceError{Group: c.config.Group, InstanceID: c.config.InstanceID, Err: err})
		return
	}
	g.machine.reset(time.Now(), true, false)
	c.loseAllLocked(err)
}

// loadOffsets asks where partitions begin: the coordinator, or the application. Partitions without an offset are left out.
func (c *Consumer) loadOffsets(ctx context.Context, ps []*partition) (map[key]groupOffset, error) {
	if c.config.Commit == External {
		return c.loadExternal(ctx, ps)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = c.config.Group, true
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = c.config.Group
	names := map[[16]byte]string{}
	c.mu.Lock()
	life := c.group.life
	id, generation := c.group.machine.member()
	if c.group.machine.kind() == ProtocolConsumer {
		group.MemberID, group.MemberEpoch = &id, generation
	}
	for _, p := range ps {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.topic {
			req.Topics = append(req.Topics, kmsg.OffsetFetchRequestTopic{Topic: p.topic})
			group.Topics = append(group.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: p.topic, TopicID: c.topicID(p)})
			names[c.topicID(p)] = p.topic
		}
		t, gt := &req.Topics[len(req.Topics)-1], &group.Topics[len(group.Topics)-1]
		t.Partitions, gt.Partitions = append(t.Partitions, p.number), append(gt.Partitions, p.number)
	}
	c.mu.Unlock()
	req.Groups = append(req.Groups, group)
	resp, node, err := c.atCoordinator(ctx, req)
	if err != nil {
		return nil, err
	}
	r, ok := resp.(*kmsg.OffsetFetchResponse)
	if !ok {
		return nil, errAnswer
	}
	offsets, err := parseOffsets(r, names)
	switch c.judge(err, generation) {
	case moved:
		c.notCoordinator(node)
	case out:
		c.fellOut(life, err)
	}
	return offsets, err
}

// topicID is the id of a partition's topic, as it was assigned or as metadata has it.
func (c *Consumer) topicID(p *partition) [16]byte {
	if p.assignedID != [16]byte{} {
		return p.assignedID
	}
	if t := c.client.CachedTopic(p.topic); t != nil {
		return t.ID
	}
	return p.id
}

// parseOffsets reads offsets out of an answer of any version; names are the topics' by id.
func parseOffsets(r *kmsg.OffsetFetchResponse, names map[[16]byte]string) (map[key]groupOffset, error) {
	offsets := map[key]groupOffset{}
	add := func(topic string, n int32, offset int64, epoch int32, code int16) error {
		if err := kerr.ErrorForCode(code); err != nil {
			return fmt.Errorf("offset of %s-%d: %w", topic, n, err)
		}
		if offset >= 0 {
			offsets[key{topic, n}] = groupOffset{offset, epoch}
		}
		return nil
	}
	if r.Version < 8 {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return nil, err
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				epoch := p.LeaderEpoch
				if r.Version < 5 {
					epoch = -1
				}
				if err := add(t.Topic, p.Partition, p.Offset, epoch, p.ErrorCode); err != nil {
					return nil, err
				}
			}
		}
		return offsets, nil
	}
	if len(r.Groups) != 1 {
		return nil, errAnswer
	}
	if err := kerr.ErrorForCode(r.Groups[0].ErrorCode); err != nil {
		return nil, err
	}
	for _, t := range r.Groups[0].Topics {
		name := t.Topic
		if r.Version >= 10 {
			name = names[t.TopicID]
		}
		for _, p := range t.Partitions {
			if err := add(name, p.Partition, p.Offset, p.LeaderEpoch, p.ErrorCode); err != nil {
				return nil, err
			}
		}
	}
	return offsets, nil
}

// loadExternal asks the application, once for each assignment.
func (c *Consumer) loadExternal(ctx context.Context, ps []*partition) (map[key]groupOffset, error) {
	offsets := map[key]groupOffset{}
	for len(ps) > 0 {
		claim := Claim{}
		var rest []*partition
		c.mu.Lock()
		for i, p := range ps {
			fence, confirmed := c.fenceLocked(p), c.confirmedLocked(p)
			if i == 0 {
				claim.Fence, claim.Confirmed = fence, confirmed
			}
			if fence == claim.Fence && confirmed == claim.Confirmed {
				claim.Partitions = append(claim.Partitions, p.public())
			} else {
				rest = append(rest, p)
			}
		}
		c.mu.Unlock()
		ps = rest
		list := slices.Clone(claim.Partitions)
		loaded, err := c.config.LoadOffsets(ctx, claim)
		if err != nil {
			return nil, fmt.Errorf("load offsets of %v: %w", list, err)
		}
		for _, tp := range list {
			if o, ok := loaded[tp]; ok && o >= 0 {
				offsets[key{tp.Topic, tp.Partition}] = groupOffset{o, -1}
			}
		}
	}
	return offsets, nil
}

// confirmedLocked tells whether a heartbeat that was sent after the store had refused a partition was answered, and the partition is still this member's by that answer.
func (c *Consumer) confirmedLocked(p *partition) bool {
	g := c.group
	if p.refusedAt.IsZero() || p.tenure == gone || g.assignment == nil || !g.machine.confirmed().After(p.refusedAt) {
		return false
	}
	id, ok := c.wantedLocked()[p.key]
	return ok && id == p.assignedID
}

// commitItem is one partition of a commit.
type commitItem struct {
	p      *partition
	offset int64
	run    int
	paused bool
}

// picker says what is to be committed of a partition. It is called with the consumer's lock held.
type picker func(*partition) (offset int64, epoch int32, ok bool)

// commit commits what pick says, and waits; one at a time, so that one that is tried again does not undo a later one. pick is asked anew for each attempt: what was lost drops out, and later marks come in.
func (c *Consumer) commit(ctx context.Context, pick picker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	select {
	case c.group.turn <- struct{}{}:
	case <-ctx.Done():
		return c.commitEnded(ctx)
	}
	defer func() { <-c.group.turn }()
	for wait := coordinatorBackoffMin; ; wait = min(2*wait, coordinatorBackoffMax) {
		req, items, life, lifeCtx := c.commitRequest(pick)
		if len(items) == 0 {
			return nil
		}
		// An answer that comes after the membership counts for nothing, and whoever waits for it may have to tell of the loss.
		once, done := context.WithCancel(ctx)
		over := context.AfterFunc(lifeCtx, done)
		again, err := c.commitOnce(once, req, items, life)
		over()
		done()
		if !again {
			return err
		}
		if lifeCtx.Err() != nil && ctx.Err() == nil {
			continue // with what is left
		}
		if pause(ctx, wait) != nil {
			return errors.Join(c.commitEnded(ctx), err)
		}
	}
}

func (c *Consumer) commitEnded(ctx context.Context) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

func (c *Consumer) commitRequest(pick picker) (req *kmsg.OffsetCommitRequest, items []commitItem, life int, lifeCtx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	req = kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.InstanceID = c.config.Group, optional(c.config.InstanceID)
	req.MemberID, req.Generation = c.group.machine.member()
	for _, p := range c.inOrderLocked() {
		if p.number < 0 {
			continue
		}
		offset, epoch, ok := pick(p)
		if !ok {
			continue
		}
		items = append(items, commitItem{p, offset, p.run, p.paused})
		i := slices.IndexFunc(req.Topics, func(t kmsg.OffsetCommitRequestTopic) bool { return t.Topic == p.topic })
		if i < 0 {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = p.topic, c.topicID(p)
			i, req.Topics = len(req.Topics), append(req.Topics, t)
		}
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch = p.number, offset, epoch
		if p.paused {
			note := pausedNote(req.MemberID)
			rp.Metadata = &note
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	return req, items, c.group.life, c.group.lifeCtx
}

// commitOnce sends a commit and takes its answer in; again says that it should be tried once more.
func (c *Consumer) commitOnce(ctx context.Context, req *kmsg.OffsetCommitRequest, items []commitItem, life int) (again bool, err error) {
	ids := map[[16]byte]string{}
	for _, t := range req.Topics {
		ids[t.TopicID] = t.Topic
	}
	resp, node, err := c.atCoordinator(ctx, req)
	if err != nil {
		ke, ok := errors.AsType[*kerr.Error](err)
		return !errors.Is(err, transport.ErrClosed) && !isUnsupported(err) && (!ok || ke.Retriable), fmt.Errorf("commit of group %s: %w", c.config.Group, err)
	}
	r, ok := resp.(*kmsg.OffsetCommitResponse)
	if !ok {
		return false, errAnswer
	}
	var errs []error
	for _, t := range r.Topics {
		name := t.Topic
		if r.Version >= 10 {
			name = ids[t.TopicID]
		}
		for _, rp := range t.Partitions {
			err := kerr.ErrorForCode(rp.ErrorCode)
			i := slices.IndexFunc(items, func(it commitItem) bool { return it.p.key == key{name, rp.Partition} })
			if i < 0 {
				continue
			}
			if err == nil {
				c.committed(items[i])
				continue
			}
			err = &PartitionError{Topic: name, Partition: rp.Partition, Offset: items[i].offset, Err: fmt.Errorf("commit: %w", err)}
			switch c.judge(err, req.Generation) {
			case later:
				again = true
			case moved:
				again = true
				c.notCoordinator(node)
			case out:
				again = true // of what is left
				c.fellOut(life, err)
			default:
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		return false, errors.Join(errs...)
	}
	return again, nil
}

// committed notes what the coordinator has.
func (c *Consumer) committed(it commitItem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.p.committed, it.p.committedRun, it.p.pausedTold = it.offset, it.run, it.paused
	if it.p.baseline && it.p.position == it.offset {
		it.p.baseline = false
		c.wakeFetchersLocked()
		signal(c.resolve)
	}
}
