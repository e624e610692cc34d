package machine

import (
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// expiryInterval is how often committed offsets are looked at for expiry (Kafka: offsets.retention.check.interval.ms).
const expiryInterval = 10 * time.Minute

// Coordinator decides for all groups of one partition.
type Coordinator struct {
	c        Config
	metadata Metadata
	groups   map[string]*group
	timers   timers
	expiry   timer
	live     bool      // loading is over
	alone    time.Time // from then on no other coordinator answers for these groups

	open    []*consumerGroup // with a draft that Flush will make entries of
	changes []change         // decided, to be written by Flush
	writing []change         // between Flush and Written
}

// change is a decision that is written.
type change struct {
	group   *group
	entries []entry.Entry
	// done is called when the write has ended, after the entries were applied if it succeeded.
	done func(now time.Time, err error, fx *Effects)
}

// New returns a coordinator without groups.
func New(c Config) *Coordinator {
	return &Coordinator{c: c, metadata: noTopics{}, groups: map[string]*group{}}
}

// Step decides one request. Its reply is among the effects of this call or of a later one.
func (c *Coordinator) Step(now time.Time, id uint64, r Request, fx *Effects) {
	if err := tooLong(r); err != nil {
		fx.refuse(id, err)
		return
	}
	g := c.groups[r.group()]
	if g != nil && (g.writing || g.drafting(r)) {
		g.later = append(g.later, func(now time.Time, fx *Effects) { c.Step(now, id, r, fx) })
		return
	}
	switch r := r.(type) {
	case *Join:
		c.join(now, id, g, r, fx)
	case *Sync:
		c.sync(now, id, g, r, fx)
	case *Heartbeat:
		c.heartbeat(now, id, g, r, fx)
	case *Leave:
		c.leave(now, id, g, r, fx)
	case *ConsumerHeartbeat:
		c.consumerHeartbeat(now, id, g, r, fx)
	case *Commit:
		c.commit(now, id, g, r, fx)
	case *DeleteOffsets:
		c.deleteOffsets(id, g, r, fx)
	case *DeleteGroup:
		c.deleteGroup(id, g, fx)
	}
}

// Flush ends a round of Step, Tick and the like: it returns the entries to be appended as one batch, in order. Without any there is nothing to wait for; otherwise Written comes next.
func (c *Coordinator) Flush(now time.Time, fx *Effects) []entry.Entry {
	for len(c.open) > 0 {
		open := c.open
		c.open = nil
		for _, g := range open {
			g.finishDraft(now, fx)
		}
	}
	c.writing, c.changes = c.changes, nil
	var entries []entry.Entry
	for _, ch := range c.writing {
		entries = append(entries, ch.entries...)
	}
	if len(entries) == 0 && len(c.writing) > 0 { // decisions without entries are not made
		panic("machine: a change without entries")
	}
	return entries
}

// Written tells how the write of what Flush returned has ended: nil when it is committed. With an error nothing of it is state.
func (c *Coordinator) Written(now time.Time, err error, fx *Effects) {
	changes := c.writing
	c.writing = nil
	if err == nil {
		for _, ch := range changes {
			for _, e := range ch.entries {
				c.Replay(e)
			}
		}
	}
	for _, ch := range changes {
		ch.group.changes--
		ch.done(now, err, fx)
	}
	for _, ch := range changes {
		c.resume(ch.group, now, fx)
	}
}

// resume goes on with what had to wait for a group.
func (c *Coordinator) resume(g *group, now time.Time, fx *Effects) {
	if g.changes > 0 {
		return // something was decided meanwhile
	}
	g.writing = false
	later := g.later
	g.later = nil
	for i, f := range later {
		if g.writing { // because of one of those before
			g.later = append(g.later, later[i:]...)
			break
		}
		f(now, fx)
	}
	c.prune(g)
}

// write has entries of a group written. With exclusive the group decides nothing else until that is done.
func (c *Coordinator) write(g *group, exclusive bool, entries []entry.Entry, done func(now time.Time, err error, fx *Effects)) {
	g.writing = g.writing || exclusive
	g.changes++
	c.changes = append(c.changes, change{group: g, entries: entries, done: done})
}

// Next is when Tick has something to do.
func (c *Coordinator) Next() (time.Time, bool) { return c.timers.next() }

// Tick rings the timers that are due.
func (c *Coordinator) Tick(now time.Time, fx *Effects) {
	for t := c.timers.due(now); t != nil; t = c.timers.due(now) {
		t.ring(now, fx)
	}
}

// start sets a timer of a group: while the group is being written it rings afterwards, unless it is set anew or stopped until then.
func (c *Coordinator) start(g *group, t *timer, at time.Time, ring func(now time.Time, fx *Effects)) {
	c.timers.start(t, at, func(now time.Time, fx *Effects) {
		if g.writing {
			t.late = true
			g.later = append(g.later, func(now time.Time, fx *Effects) {
				if t.late {
					t.late = false
					ring(now, fx)
				}
			})
			return
		}
		ring(now, fx)
	})
}

// group returns a group, a new one if there is none.
func (c *Coordinator) group(id string) *group {
	g := c.groups[id]
	if g == nil {
		g = &group{id: id}
		c.groups[id] = g
	}
	return g
}

// prune forgets a group of which nothing is left.
func (c *Coordinator) prune(g *group) {
	if g.classic == nil && g.consumer == nil && len(g.offsets) == 0 && g.changes == 0 && len(g.later) == 0 && c.groups[g.id] == g {
		delete(c.groups, g.id)
	}
}

// ids lists the groups in order.
func (c *Coordinator) ids() []string { return slices.Sorted(maps.Keys(c.groups)) }

// Replay makes one entry of the log state. While loading it is called for every entry in the order of the log.
func (c *Coordinator) Replay(e entry.Entry) {
	switch e := e.(type) {
	case *entry.Offset:
		c.replayOffset(e)
	case *entry.Classic:
		c.replayClassic(e)
	case *entry.Group:
		c.replayGroup(e)
	case *entry.Member:
		c.replayMember(e)
	case *entry.Target:
		c.replayTarget(e)
	case *entry.TargetMember:
		c.replayTargetMember(e)
	case *entry.Current:
		c.replayCurrent(e)
	case *entry.Regex:
		c.replayRegex(e)
	}
}

// Loaded ends loading: sessions begin, everybody has Config.LoadGrace and a whole session timeout to be heard of.
func (c *Coordinator) Loaded(now time.Time, m Metadata, fx *Effects) {
	c.metadata, c.live = m, true
	c.alone = now.Add(c.c.LoadGrace)
	for _, id := range c.ids() {
		g := c.groups[id]
		if g.classic != nil {
			g.classic.loaded(now, fx)
		}
		if g.consumer != nil {
			g.consumer.loaded(now, fx)
		}
		c.prune(g)
	}
	c.timers.start(&c.expiry, now.Add(expiryInterval), c.expire)
}

// count is when a time begins after which a member is taken for gone: not while another coordinator may answer it that all is well.
func (c *Coordinator) count(now time.Time) time.Time {
	if now.Before(c.alone) {
		return c.alone
	}
	return now
}

// SetMetadata takes newer metadata: the offsets of topics that are gone go, and groups that subscribe to what has changed are assigned anew.
func (c *Coordinator) SetMetadata(now time.Time, m Metadata, deleted []string, fx *Effects) {
	c.metadata = m
	for _, id := range c.ids() {
		g := c.groups[id]
		if len(deleted) > 0 {
			c.dropTopics(g, deleted)
		}
		if g.consumer != nil {
			g.consumer.metadataChanged(now, fx)
		}
	}
}
