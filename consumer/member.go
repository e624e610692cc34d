package consumer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// newMemberID makes a member id in the form of Kafka's: 16 random bytes in base64.
func newMemberID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func (c *Consumer) memberConfig() memberConfig {
	return memberConfig{
		group: c.config.Group, instance: c.config.InstanceID, rack: c.config.Rack, topics: c.config.Topics, regex: c.config.TopicsRegex,
		assignor: c.config.Assignor, session: c.config.SessionTimeout, rebalance: c.config.RebalanceTimeout,
	}
}

// startGroupLocked starts the goroutines of the group: the member loop, the reconciler, the committer.
func (c *Consumer) startGroupLocked() {
	g := c.group
	if c.config.Protocol == ProtocolClassic {
		g.machine, g.protocol = newClassic(c.memberConfig()), ProtocolClassic
	} else {
		g.machine, g.protocol = newHeartbeats(c.memberConfig(), newMemberID()), c.config.Protocol
	}
	c.newLifeLocked()
	c.wg.Go(c.memberLoop)
	c.wg.Go(c.reconcileLoop)
	c.wg.Go(c.commitLoop)
}

// memberLoop keeps the membership: it sends what the machine says and tells it what came of it. It waits for nothing but time and signals, so that heartbeats go on whatever the application, the callbacks
// and other requests do. It ends when the member has left, or with the consumer's context.
func (c *Consumer) memberLoop() {
	g := c.group
	defer close(g.left)
	for c.ctx.Err() == nil {
		wait, done := c.memberStep()
		if done {
			return
		}
		var timeout <-chan time.Time
		var t *time.Timer
		if wait > 0 {
			t = time.NewTimer(wait)
			timeout = t.C
		}
		select {
		case <-c.ctx.Done():
		case <-g.wake:
		case <-timeout:
		}
		if t != nil {
			t.Stop()
		}
	}
}

// memberStep does what is to be done now; it returns when to look again at the latest (zero: at a signal), and whether the member is gone.
func (c *Consumer) memberStep() (wait time.Duration, done bool) {
	g := c.group
	node, located := c.client.CachedCoordinator(transport.GroupCoordinator, c.config.Group)
	var wrong []int32
	defer func() {
		for _, n := range wrong {
			c.client.ForgetCoordinator(transport.GroupCoordinator, c.config.Group, n)
		}
		if len(wrong) > 0 {
			signal(g.wake)
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, r := range g.results {
		if r.life == g.life && c.absorbLocked(now, r) {
			wrong = append(wrong, r.node)
		}
	}
	g.results = nil
	c.expireLocked(now)
	c.stuckLocked(now)
	if g.givenUp {
		c.newLifeLocked()
		g.machine.quit(now)
		g.givenUp = false
	}
	if g.machine.gone() || g.closing && c.mu.ended != nil {
		return 0, true
	}
	if c.mu.ended != nil {
		return 0, false
	}
	c.watchLocked(now)
	if !located || len(wrong) > 0 {
		if len(wrong) == 0 { // else when it is forgotten
			c.locateLocked()
		}
		return c.untilLocked(now, time.Time{}), false
	}
	for {
		req, at := g.machine.next(now, c.viewLocked())
		if req == nil {
			return c.untilLocked(now, at), false
		}
		c.sendLocked(now, node, req)
	}
}

// untilLocked is how long the member loop may wait: until at, the end of the session, or the end of the application's patience, whatever comes first.
func (c *Consumer) untilLocked(now, at time.Time) time.Duration {
	g := c.group
	for _, t := range []time.Time{g.lease, c.stuckAtLocked()} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if at.IsZero() {
		return 0
	}
	return max(at.Sub(now), time.Nanosecond)
}

// absorbLocked takes what came of a request; true if the node is not the coordinator.
func (c *Consumer) absorbLocked(now time.Time, r result) (wrong bool) {
	g := c.group
	if errors.Is(r.err, transport.ErrClosed) {
		c.clientErrorLocked(r.err)
		return false
	}
	o := g.machine.answer(now, r.sent, r.req, r.resp, r.err)
	if _, generation := g.machine.member(); generation > 0 {
		g.protocol = g.machine.kind()
	}
	g.trouble = o.trouble
	if o.unsupported {
		c.fallBackLocked(o.lost)
	}
	switch {
	case o.end != nil:
		c.endLocked(o.end)
	case o.lost != nil:
		c.loseAllLocked(o.lost)
	}
	if o.lead != nil {
		life, ctx := g.life, g.lifeCtx
		c.wg.Go(func() { c.lead(ctx, life, o.lead) })
	}
	if o.assigned != nil {
		g.assignment, g.err = o.assigned, nil
		signal(g.work)
	}
	c.renewLocked()
	return o.relocate
}

// fallBackLocked goes on with the classic protocol, if Config leaves the choice.
func (c *Consumer) fallBackLocked(err error) {
	g := c.group
	if c.config.Protocol == ProtocolAuto && c.config.TopicsRegex == "" {
		g.machine, g.protocol = newClassic(c.memberConfig()), ProtocolClassic
		return
	}
	what := "the coordinator does not speak KIP-848"
	if c.config.TopicsRegex != "" {
		what += ", which TopicsRegex needs"
	}
	c.endLocked(&GroupError{Group: c.config.Group, Err: &unsupportedError{what, err}})
}

// unsupportedError is errors.ErrUnsupported with its reason.
type unsupportedError struct {
	what string
	err  error
}

func (e *unsupportedError) Error() string   { return e.what + ": " + e.err.Error() }
func (e *unsupportedError) Unwrap() []error { return []error{errors.ErrUnsupported, e.err} }

// lossMargin is how long before the end of its session a member that hears nothing gives up: so that the application has been told of the loss, and has done what it does then, before the coordinator gives its partitions to others.
func lossMargin(session time.Duration) time.Duration { return min(session/10, time.Second) }

// renewLocked notes until when the partitions are this member's, whatever the coordinator does: it counts the session from the arrival of a request, which is after the sending of it.
func (c *Consumer) renewLocked() {
	g := c.group
	g.lease = time.Time{}
	if at := g.machine.confirmed(); !at.IsZero() && c.ownsLocked() {
		g.lease = at.Add(c.config.SessionTimeout - lossMargin(c.config.SessionTimeout))
	}
}

func (c *Consumer) ownsLocked() bool {
	for k := range c.mu.partitions {
		if k.number >= 0 {
			return true
		}
	}
	return false
}

// expireLocked ends the session on this side. The iteration asks, too: after a pause of the whole process it may run before the member loop does.
func (c *Consumer) expireLocked(now time.Time) bool {
	g := c.group
	if g.lease.IsZero() || now.Before(g.lease) {
		return false
	}
	g.machine.reset(now, true, false)
	c.loseAllLocked(ErrSessionExpired)
	return true
}

// stuckAtLocked is when the application will have held its record for too long.
func (c *Consumer) stuckAtLocked() time.Time {
	g := c.group
	if c.config.MaxProcessing == 0 || g.held == nil || g.held.tenure == gone {
		return time.Time{}
	}
	return c.born.Add(time.Duration(g.heldAt.Load()) + c.config.MaxProcessing)
}

// stuckLocked leaves the group when the application is stuck, until it comes back.
func (c *Consumer) stuckLocked(now time.Time) {
	g := c.group
	at := c.stuckAtLocked()
	if at.IsZero() || now.Before(at) {
		return
	}
	g.parked = true
	g.machine.reset(now, true, true)
	c.loseAllLocked(ErrStuck)
}

// loseAllLocked ends the membership: partitions are another's, or may be. Nothing of them is handed out, marked or committed from here on.
func (c *Consumer) loseAllLocked(err error) {
	g := c.group
	c.newLifeLocked()
	g.assignment, g.err, g.lease = nil, err, time.Time{}
	g.version++
	var lost []TopicPartition
	for k, p := range c.mu.partitions {
		if k.number < 0 {
			continue
		}
		if p.announced {
			lost = append(lost, k.public())
		}
		c.dropLocked(p, err)
	}
	if len(lost) > 0 {
		sortPartitions(lost)
		g.lostQueue = append(g.lostQueue, lost)
	}
	if c.config.Logger != nil {
		c.config.Logger.Warn("membership lost", "group", c.config.Group, "partitions", lost, "error", err)
	}
	signal(g.work)
	signal(g.wake)
	signal(g.released)
	signal(c.ready)
	c.wakeFetchersLocked()
}

// dropLocked takes a partition away: what is buffered of it is dropped, and what is marked and not committed is remembered for CommitMarked.
func (c *Consumer) dropLocked(p *partition, err error) {
	g := c.group
	p.tenure, p.announced = gone, false
	p.stopped.Store(true)
	p.generation++
	delete(c.mu.partitions, p.key)
	if _, _, dirty := p.uncommitted(); dirty && c.config.Commit == AtLeastOnce {
		g.lostMarks[p.key] = err
	}
	if g.held == p && g.heldCancel != nil {
		g.heldCancel(&LostError{Partitions: []TopicPartition{p.public()}, Err: err})
	}
}

// newLifeLocked ends what is under way for the membership; its answers will be dropped.
func (c *Consumer) newLifeLocked() {
	g := c.group
	if g.endLife != nil {
		g.endLife()
	}
	g.life++
	g.results = nil
	g.lifeCtx, g.endLife = context.WithCancel(c.ctx)
}

// endLocked ends iterations with an error, for good.
func (c *Consumer) endLocked(err error) {
	if c.mu.ended != nil {
		return
	}
	c.mu.ended = err
	c.loseAllLocked(err)
}

// viewLocked lists what the member has, in order.
func (c *Consumer) viewLocked() view {
	v := view{version: c.group.version}
	for k, p := range c.mu.partitions {
		if k.number >= 0 {
			v.owned = append(v.owned, ownedPartition{k, p.assignedID})
		}
	}
	slices.SortFunc(v.owned, func(a, b ownedPartition) int { return compareKeys(a.key, b.key) })
	return v
}

// sendLocked sends a request of the membership. A heartbeat is given up early enough for others to follow within the session.
func (c *Consumer) sendLocked(now time.Time, node int32, req messageRequest) {
	g := c.group
	r := result{life: g.life, sent: now, node: node, req: req}
	ctx, cancel := g.lifeCtx, context.CancelFunc(func() {})
	switch req.(type) {
	case *kmsg.JoinGroupRequest, *kmsg.SyncGroupRequest:
	default:
		ctx, cancel = context.WithTimeout(g.lifeCtx, c.config.SessionTimeout/4)
	}
	c.wg.Go(func() {
		defer cancel()
		r.resp, r.err = c.client.Request(ctx, node, req)
		c.mu.Lock()
		g.results = append(g.results, r)
		c.mu.Unlock()
		signal(g.wake)
	})
}

// locateLocked looks for the coordinator.
func (c *Consumer) locateLocked() {
	g := c.group
	if g.locating {
		return
	}
	g.locating = true
	c.wg.Go(func() {
		_, err := c.client.Coordinator(c.ctx, transport.GroupCoordinator, c.config.Group)
		c.mu.Lock()
		g.locating = false
		switch ke, ok := errors.AsType[*kerr.Error](err); {
		case err == nil || c.ctx.Err() != nil:
		case errors.Is(err, transport.ErrClosed):
			c.clientErrorLocked(err)
		case ok && !ke.Retriable || isUnsupported(err):
			c.endLocked(&GroupError{Group: c.config.Group, Err: err})
		default:
			g.trouble = err
		}
		c.mu.Unlock()
		signal(g.wake)
	})
}

// watchLocked makes a leader share out anew when there are more partitions, or fewer.
func (c *Consumer) watchLocked(now time.Time) {
	for topic, n := range c.group.machine.watched() {
		t := c.client.CachedTopic(topic)
		if t == nil || t.Err != nil && !errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if t.Err != nil && n > 0 || t.Err == nil && len(t.Partitions) != n {
			c.group.machine.gaveUp(now)
			return
		}
	}
}

// lead shares out partitions for the group, as soon as it knows how many there are.
func (c *Consumer) lead(ctx context.Context, life int, members []subscriber) {
	s := sharing{counts: map[string]int{}}
	for _, m := range members {
		for _, t := range m.topics {
			s.counts[t] = 0
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		n, err := c.partitionCount(ctx, name)
		if err != nil {
			return // the membership is over
		}
		s.counts[name] = n
	}
	s.shares = shareOut(members, s.counts)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group.life == life {
		c.group.machine.shared(time.Now(), s)
		signal(c.group.wake)
	}
}

// partitionCount is how many partitions a topic has, 0 if it cannot be read. It asks until somebody knows; errors: ctx's.
func (c *Consumer) partitionCount(ctx context.Context, name string) (int, error) {
	for {
		t, err := c.client.Topic(ctx, name, false)
		if err == nil && t.Err == nil {
			return len(t.Partitions), nil
		}
		ke, ok := errors.AsType[*kerr.Error](err)
		if ok && (!ke.Retriable || ke == kerr.UnknownTopicOrPartition) {
			return 0, nil
		}
		if errors.Is(err, transport.ErrClosed) {
			return 0, err
		}
		if err := pause(ctx, coordinatorBackoffMax); err != nil {
			return 0, err
		}
	}
}

// pause waits, and returns ctx's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (k key) public() TopicPartition { return TopicPartition{Topic: k.topic, Partition: k.number} }

func sortPartitions(list []TopicPartition) {
	slices.SortFunc(list, func(a, b TopicPartition) int {
		return compareKeys(key{a.Topic, a.Partition}, key{b.Topic, b.Partition})
	})
}
