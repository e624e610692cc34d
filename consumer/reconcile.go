package consumer

import (
	"context"
	"errors"
	"slices"
	"time"
)

// work is what the reconciler is to do next; one of its fields is set.
type work struct {
	lost     []TopicPartition // tell OnLost
	giveUp   []*partition
	takeOver []*partition
	wait     time.Duration // nothing now; look again then (zero: at a signal)
	over     bool          // everything is given up, for good
}

// reconcileLoop makes what the member has what the group gave it: first it gives up, then it takes over. It is the one goroutine that calls Config's functions.
func (c *Consumer) reconcileLoop() {
	for c.ctx.Err() == nil {
		switch w := c.nextWork(); {
		case w.over:
			return
		case w.lost != nil:
			if f := c.config.OnLost; f != nil {
				f(c.ctx, w.lost)
			}
		case w.giveUp != nil:
			c.giveUp(w.giveUp)
		case w.takeOver != nil:
			c.takeOver(w.takeOver)
		default:
			c.awaitWork(w.wait)
		}
	}
}

func (c *Consumer) awaitWork(wait time.Duration) {
	var timeout <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-c.ctx.Done():
	case <-c.group.work:
	case <-timeout:
	}
}

func (c *Consumer) nextWork() (w work) {
	g := c.group
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(g.lostQueue) > 0 {
		w.lost = g.lostQueue[0]
		g.lostQueue = g.lostQueue[1:]
		return w
	}
	want := map[key][16]byte{}
	switch {
	case g.closing:
	case g.assignment == nil:
		return w
	default:
		want = c.wantedLocked()
	}
	for k, p := range c.mu.partitions {
		if id, ok := want[k]; k.number >= 0 && (!ok || id != p.assignedID) {
			w.giveUp = append(w.giveUp, p)
		}
	}
	sortTenants(w.giveUp)
	if g.closing && w.giveUp == nil {
		w.over, g.givenUp = true, true
		signal(g.wake)
	}
	now := time.Now()
	if g.closing || w.giveUp != nil || c.expireLocked(now) { // the loss is next
		return w
	}
	for k, id := range want {
		p := c.mu.partitions[k]
		if p == nil {
			p = newPartition(k, c.config.Start)
			p.tenure, p.assignedID = loading, id
			p.memberID, p.memberGeneration = g.assignment.memberID, g.assignment.generation
			c.mu.partitions[k] = p
			c.renewLocked()
		}
		if p.tenure != loading {
			continue
		}
		if d := p.loadFailures.at.Sub(now); d > 0 {
			if w.wait == 0 || d < w.wait {
				w.wait = d
			}
			continue
		}
		w.takeOver = append(w.takeOver, p)
	}
	sortTenants(w.takeOver)
	if w.takeOver != nil {
		signal(g.wake) // there is a lease now
		signal(c.resolve)
	}
	return w
}

func sortTenants(ps []*partition) {
	slices.SortFunc(ps, func(a, b *partition) int { return compareKeys(a.key, b.key) })
}

// busyLocked tells whether the reconciler has work.
func (c *Consumer) busyLocked() bool {
	if c.group.assignment == nil {
		return true
	}
	n := 0
	for k, p := range c.mu.partitions {
		if k.number < 0 {
			continue
		}
		n++
		if p.tenure != reading {
			return true
		}
	}
	return n != len(c.wantedLocked())
}

// giveUp gives partitions up in good order: nothing more is handed out, the application finishes what it has in its hands, OnRevoked, marks are committed, and only then the coordinator is told, so that
// whoever gets them begins where this member ended.
func (c *Consumer) giveUp(ps []*partition) {
	g := c.group
	deadline := time.Now().Add(c.config.RebalanceTimeout / 10 * 9) // time is left to commit and to say so
	c.mu.Lock()
	if g.closing {
		deadline = time.Now().Add(closePatience)
	}
	for _, p := range ps {
		if p.tenure != gone {
			p.tenure = yielding
			p.stopped.Store(true)
		}
	}
	c.mu.Unlock()
	signal(c.ready)
	ctx, cancel := context.WithDeadline(c.ctx, deadline)
	defer cancel()
	c.awaitRelease(ctx, ps)

	var told []TopicPartition
	c.mu.Lock()
	life := g.lifeCtx
	for _, p := range ps {
		if p.tenure == yielding && p.announced {
			p.announced = false
			told = append(told, p.public())
		}
	}
	c.mu.Unlock()
	if f := c.config.OnRevoked; f != nil && len(told) > 0 {
		f(life, told)
	}
	if len(told) > 0 {
		patience, cancel := context.WithTimeout(c.ctx, max(time.Until(deadline), closePatience/2))
		err := c.commit(patience, func(p *partition) (int64, int32, bool) {
			if !slices.Contains(ps, p) {
				return 0, 0, false
			}
			return c.lastCommit(p)
		})
		cancel()
		if err != nil && c.config.Logger != nil {
			c.config.Logger.Warn("commit of partitions that are given up failed", "group", c.config.Group, "partitions", told, "error", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(ps, func(p *partition) bool { return p.tenure == yielding }) {
		return // lost meanwhile
	}
	for _, p := range ps {
		if p.tenure == yielding {
			c.dropLocked(p, nil)
		}
	}
	g.version++
	if !g.closing {
		g.machine.gaveUp(time.Now())
	}
	c.renewLocked()
	signal(g.wake)
	signal(c.ready)
	c.wakeFetchersLocked()
}

// awaitRelease waits until the application is done with what it has of the partitions, or ctx ends. Close does not wait: it may be the application's own next step.
func (c *Consumer) awaitRelease(ctx context.Context, ps []*partition) {
	g := c.group
	for {
		c.mu.Lock()
		busy := g.held != nil && g.held.tenure == yielding && slices.Contains(ps, g.held) && !g.closing
		c.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-g.released:
		}
	}
}

// takeOver makes partitions ready to be read: from the offsets that the group, or the application, has for them.
func (c *Consumer) takeOver(ps []*partition) {
	g := c.group
	c.mu.Lock()
	ctx := g.lifeCtx
	c.mu.Unlock()
	if err := c.takeCensus(ctx); err != nil {
		c.putOff(ps, err)
		return
	}
	offsets, err := c.loadOffsets(ctx, ps)
	if err != nil {
		c.putOff(ps, err)
		return
	}
	var told []TopicPartition
	c.mu.Lock()
	c.expireLocked(time.Now()) // the process may have been stopped for a while
	for _, p := range ps {
		if p.tenure != loading {
			continue // lost meanwhile
		}
		o, known := offsets[p.key]
		p.err, p.loadFailures, p.refusedAt = nil, retrying{}, time.Time{}
		p.committed, p.committedRun, p.expected = -1, p.run, -1
		if known {
			p.expected = o.offset
			if c.config.Commit != External {
				p.committed = o.offset
			}
		}
		if p.generation == p.loadsAt {
			c.beginLocked(p, o, known)
		} else { // the application has said where by a Seek
			p.committedRun = -1
		}
		if p.tenure = reading; !p.announced {
			p.announced, p.tenure = true, announcing
			told = append(told, p.public())
		}
	}
	c.mu.Unlock()
	if f := c.config.OnAssigned; f != nil && len(told) > 0 {
		f(ctx, told)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range ps {
		if p.tenure == announcing {
			p.tenure = reading
		}
	}
	g.version++
	signal(c.resolve)
	signal(g.wake)
	c.wakeFetchersLocked()
}

// beginLocked puts a partition at its offset, or where Config.Start says.
func (c *Consumer) beginLocked(p *partition, o groupOffset, known bool) {
	if known {
		p.place(o.offset)
		if o.epoch >= 0 { // has the log lost what the offset stands for? (KIP-320)
			p.lastEpoch, p.state = o.epoch, validating
		}
		return
	}
	p.state, p.start = unplaced, c.startFor(p.key)
	// Where this begins depends on the moment. If the member crashed before its first commit, the next owner would begin at a later moment, and skip what came between.
	p.baseline = c.config.Commit != External && (p.start.kind == latest || p.start.kind == atTime)
}

// startFor is Config.Start, except that with Latest a partition that is newer than this member's first assignment is read whole: what was written before it was noticed would be skipped.
func (c *Consumer) startFor(k key) Position {
	if c.config.Start.kind == latest {
		if n, ok := c.group.census[k.topic]; !ok || int(k.number) >= n {
			return Earliest()
		}
	}
	return c.config.Start
}

// putOff tries partitions again later.
func (c *Consumer) putOff(ps []*partition, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	now := time.Now()
	for _, p := range ps {
		p.err = err
		p.loadFailures.failed(now)
		if errors.Is(err, ErrFenced) && p.refusedAt.IsZero() {
			c.refusedLocked(p, now)
		}
	}
	signal(c.group.wake)
	signal(c.group.work)
	c.clientErrorLocked(err)
}

// reload asks again where a partition begins: the application could not store what it was handed.
func (c *Consumer) reload(k key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.mu.partitions[k]
	if p == nil || p.tenure != reading {
		return
	}
	now := time.Now()
	p.seek(p.start)
	p.tenure, p.loadsAt, p.err = loading, p.generation, err
	p.loadFailures.failed(now)
	if errors.Is(err, ErrFenced) {
		c.refusedLocked(p, now)
		signal(c.group.wake)
	}
	signal(c.group.work)
}

// refusedLocked asks the coordinator whether a partition is this member's: the store names another owner.
func (c *Consumer) refusedLocked(p *partition, now time.Time) {
	p.refusedAt = now
	c.group.machine.hurry(now.Add(time.Millisecond)) // later, so that it is certain that the heartbeat was sent after this
}
