package broker

import (
	"context"
	"time"
)

// Syncs counts what a disk was asked to make durable.
type Syncs struct {
	All  int64
	Slow int64 // took the bound and more
	Half int64 // took half of it and more
}

// DefaultSlowSync is Config.SlowSync where it is not set.
const DefaultSlowSync = 500 * time.Millisecond

// For so many times the bound a disk has to be slow until it counts as slow, and fast until it does not any more: a slow one holds up everybody who waits for acknowledgements, and one that comes and goes moves leaderships.
const (
	slowAfter = 20 // 10 s by default
	fastAfter = 60 // 30 s
)

// diskPace judges a disk by looks at it, a heartbeat interval apart. A look is bad if half of the syncs that ended since the one before took the bound, one that takes as long and goes on included.
type diskPace struct {
	bound time.Duration
	every time.Duration // from one look to the next, about
	last  Syncs

	slow      bool
	badSince  time.Time // of an unbroken row of bad looks; looks at which nothing was synced do not break it
	badLast   time.Time
	fastSince time.Time // of a row of looks with nothing of half the bound, but for a tenth
}

// look takes what was counted up to now, and for how long the oldest operation has gone on. It returns whether the disk is slow.
func (p *diskPace) look(now time.Time, syncs Syncs, stalled time.Duration) bool {
	all, slow, half := syncs.All-p.last.All, syncs.Slow-p.last.Slow, syncs.Half-p.last.Half
	p.last = syncs
	if stalled >= p.bound {
		all, slow, half = all+1, slow+1, half+1
	}
	switch {
	case slow > 0 && 2*slow >= all:
		if p.badSince.IsZero() || now.Sub(p.badLast) > max(slowAfter*p.bound, 3*p.every) {
			p.badSince = now
		}
		p.badLast = now
	case all > 0:
		p.badSince = time.Time{}
	}
	switch {
	case half > 0 && 10*half >= all:
		p.fastSince = time.Time{}
	case p.fastSince.IsZero():
		p.fastSince = now
	}
	switch {
	case !p.slow && !p.badSince.IsZero() && p.badLast.Sub(p.badSince) >= slowAfter*p.bound:
		p.slow = true
	case p.slow && !p.fastSince.IsZero() && now.Sub(p.fastSince) >= fastAfter*p.bound:
		p.slow, p.badSince = false, time.Time{}
	}
	return p.slow
}

// slowDisk tells whether the disk is slow, and says so when that changes. The active controller gives that role to another node, for everything it writes waits for this disk, too.
func (l *lifecycle) slowDisk() bool {
	c := &l.b.c
	if c.Syncs == nil || c.Stalled == nil || c.SlowSync <= 0 {
		return false
	}
	was := l.pace.slow
	slow := l.pace.look(time.Now(), c.Syncs(), c.Stalled())
	if slow {
		l.resign(!was)
	}
	if slow == was {
		return slow
	}
	l.slow.Store(slow)
	if slow {
		l.b.logger.Warn("the disk is slow; the broker leaves the in-sync sets that can spare it", "node", c.NodeID, "bound", c.SlowSync)
	} else {
		l.b.logger.Info("the disk is as fast as before", "node", c.NodeID)
	}
	if f := c.Events.SlowDisk; f != nil {
		f(slow)
	}
	return slow
}

// resign gives up the role of active controller, a few times at most: all disks may be slow.
func (l *lifecycle) resign(first bool) {
	const most = 5
	if first {
		l.resigns = 0
	}
	ctl := l.b.ctl.Load()
	if ctl == nil || l.resigns >= most {
		return
	}
	if leader, _, ok := ctl.Leader(); !ok || leader != l.b.c.NodeID {
		return
	}
	l.resigns++
	l.b.spawn(func() {
		ctx, cancel := context.WithTimeout(l.b.ctx, l.b.c.HeartbeatInterval)
		defer cancel()
		ctl.Resign(ctx)
	})
}

// SlowDisk tells whether the node's disk is so slow that the node asked not to be waited for.
func (b *Broker) SlowDisk() bool { return b.life.slow.Load() }
