package consumer

import (
	"context"
	"errors"
	"time"
)

// admit is the last question before the records of a batch are handed out: is the partition still this member's? With AtMostOnce the end of the batch is committed first. False without an error: the
// batch was dropped.
func (c *Consumer) admit(ctx context.Context, d *delivery) (bool, error) {
	p, end := d.chunk.p, d.batch.NextOffset()
	g := c.group
	c.mu.Lock()
	if d.chunk.generation != p.generation || p.gated() {
		c.mu.Unlock()
		d.chunk.data, d.batch = nil, nil
		return false, nil
	}
	if d.timed = c.config.MaxProcessing > 0; d.timed {
		c.holdsSince()
	}
	g.held = p
	d.fence, d.marks = c.fenceLocked(p), c.config.Commit == AtLeastOnce
	d.expected = p.expected
	if p.floor < 0 {
		p.floor = p.position
	}
	p.lastBatch = p.position
	p.handing.Store(p.position)
	ahead := c.config.Commit == AtMostOnce && p.behind(end)
	epoch := d.batch.LeaderEpoch()
	c.mu.Unlock()
	if d.timed {
		signal(g.wake) // from now on it may take too long
	}
	if !ahead {
		return true, nil
	}
	err := c.commit(ctx, func(q *partition) (int64, int32, bool) {
		return end, epoch, q == p && d.chunk.generation == p.generation && p.behind(end)
	})
	if err != nil && (ctx.Err() != nil || errors.Is(err, ErrClosed)) {
		return false, nil // nextBatch sees it; the batch stays for the next iteration
	}
	if err != nil {
		c.mu.Lock()
		c.letGoLocked()
		c.mu.Unlock()
		return false, err
	}
	if p.stopped.Load() {
		c.cut(d)
		return false, nil
	}
	return true, nil
}

// behind tells whether the group has not committed up to end, or did so only before a Seek.
func (p *partition) behind(end int64) bool { return p.committed < end || p.committedRun != p.run }

// holdsSince notes that the application is given something now.
func (c *Consumer) holdsSince() { c.group.heldAt.Store(int64(time.Since(c.born))) }

// letGoLocked notes that the application is done with what it was given.
func (c *Consumer) letGoLocked() {
	g := c.group
	if g == nil {
		return
	}
	if g.parked {
		g.parked = false
		g.machine.unpark(time.Now())
		signal(g.wake)
	}
	if g.held != nil && g.held.tenure != reading {
		signal(g.released)
	}
	g.held = nil
}

// cut leaves a batch in the middle: its partition was taken away, or the application has said that it goes on elsewhere, or later.
func (c *Consumer) cut(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := d.chunk.p
	if d.chunk.generation == p.generation {
		p.position = max(p.position, d.read)
		p.handedEnd = max(p.handedEnd, d.read)
	}
	if d.chunk.generation != p.generation || p.gated() {
		d.chunk.data = nil
	}
	d.batch = nil
}
