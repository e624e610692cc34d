package machine

import (
	"cmp"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// offset is what a group has committed for a partition.
type offset struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	committedAt int64 // milliseconds
	expiresAt   int64 // milliseconds; -1: by the coordinator's retention
	topicID     partition.TopicID
}

func (c *Coordinator) replayOffset(e *entry.Offset) {
	tp := TopicPartition{e.Topic, e.Partition}
	if e.Gone {
		if g := c.groups[e.Group]; g != nil {
			delete(g.offsets, tp)
			c.prune(g)
		}
		return
	}
	g := c.group(e.Group)
	if g.offsets == nil {
		g.offsets = map[TopicPartition]*offset{}
	}
	g.offsets[tp] = &offset{
		offset: e.Offset, leaderEpoch: e.LeaderEpoch, metadata: e.Metadata, committedAt: e.CommittedAt, expiresAt: e.ExpiresAt, topicID: e.TopicID,
	}
}

// commit decides an OffsetCommit (kafka-semantics: offsets).
func (c *Coordinator) commit(now time.Time, id uint64, g *group, r *Commit, fx *Effects) {
	if err := c.checkCommit(now, g, r); err != nil {
		fx.refuse(id, err)
		return
	}
	result := &Committed{Errs: make([]error, len(r.Offsets))}
	entries := make([]entry.Entry, 0, len(r.Offsets))
	expires := int64(-1)
	if r.Retention > 0 {
		expires = c.Wall(now).Add(r.Retention).UnixMilli()
	}
	for i := range r.Offsets {
		o := &r.Offsets[i]
		if len(o.Metadata) > c.c.OffsetMetadataMaxBytes && utf8.RuneCountInString(o.Metadata) > c.c.OffsetMetadataMaxBytes {
			result.Errs[i] = ErrOffsetMetadataTooLarge
			continue
		}
		entries = append(entries, &entry.Offset{
			Group: r.Group, Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
			CommittedAt: c.Wall(now).UnixMilli(), ExpiresAt: expires, TopicID: o.TopicID,
		})
	}
	if len(entries) == 0 {
		fx.reply(id, result)
		return
	}
	c.write(c.group(r.Group), false, entries, func(_ time.Time, err error, fx *Effects) {
		if err != nil {
			fx.refuse(id, err)
			return
		}
		fx.reply(id, result)
	})
}

// checkCommit tells whether a commit may be made by who makes it.
func (c *Coordinator) checkCommit(now time.Time, g *group, r *Commit) error {
	switch {
	case r.Group == "" && r.Epoch >= 0:
		return ErrInvalidGroupID
	case g == nil:
		switch {
		case r.Epoch < 0:
			return nil // a group that only commits begins with that
		case r.ByEpoch:
			return ErrGroupIDNotFound
		}
		return ErrIllegalGeneration
	case g.classic != nil:
		return g.classic.checkCommit(now, r)
	case g.consumer != nil:
		return g.consumer.checkCommit(now, r)
	case r.Epoch >= 0:
		return ErrUnknownMember // the group has no members
	}
	return nil
}

// Offset is a committed offset as a fetch of offsets returns it.
type Offset struct {
	TopicPartition
	TopicID     partition.TopicID
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	CommittedAt time.Time
}

// CheckFetch tells whether a member may fetch offsets: whoever names no member may. It is a read.
func (c *Coordinator) CheckFetch(groupID, memberID string, epoch int32) error {
	if memberID == "" && epoch < 0 {
		return nil
	}
	g := c.groups[groupID]
	switch {
	case g == nil:
		return ErrGroupIDNotFound
	case g.consumer != nil:
		return g.consumer.checkFetch(memberID, epoch)
	}
	return nil // classic members are known by their generation, which the request has no place for
}

// Offset returns what a group has committed for a partition. It is a read.
func (c *Coordinator) Offset(groupID string, tp TopicPartition) (Offset, bool) {
	if g := c.groups[groupID]; g != nil {
		if o := g.offsets[tp]; o != nil {
			return o.export(tp), true
		}
	}
	return Offset{}, false
}

// Offsets returns all that a group has committed, by topic and partition. It is a read.
func (c *Coordinator) Offsets(groupID string) []Offset {
	g := c.groups[groupID]
	if g == nil {
		return nil
	}
	out := make([]Offset, 0, len(g.offsets))
	for _, tp := range g.committed() {
		out = append(out, g.offsets[tp].export(tp))
	}
	return out
}

func (o *offset) export(tp TopicPartition) Offset {
	return Offset{TopicPartition: tp, TopicID: o.topicID, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata, CommittedAt: time.UnixMilli(o.committedAt)}
}

// committed lists the partitions with an offset, in order.
func (g *group) committed() []TopicPartition {
	return slices.SortedFunc(maps.Keys(g.offsets), func(a, b TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// deleteOffsets decides an OffsetDelete.
func (c *Coordinator) deleteOffsets(id uint64, g *group, r *DeleteOffsets, fx *Effects) {
	switch {
	case g == nil:
		fx.refuse(id, ErrGroupIDNotFound)
		return
	case g.classic != nil && !g.classic.empty() && !g.classic.consumers():
		fx.refuse(id, ErrNonEmptyGroup) // what its members read cannot be known
		return
	}
	result := &DeletedOffsets{Errs: make([]error, len(r.Partitions))}
	var entries []entry.Entry
	for i, tp := range r.Partitions {
		if g.subscribed(tp.Topic) {
			result.Errs[i] = ErrSubscribedToTopic
		} else if g.offsets[tp] != nil {
			entries = append(entries, &entry.Offset{Group: g.id, Topic: tp.Topic, Partition: tp.Partition, Gone: true})
		}
	}
	if len(entries) == 0 {
		fx.reply(id, result)
		return
	}
	c.write(g, false, entries, func(_ time.Time, err error, fx *Effects) {
		if err != nil {
			fx.refuse(id, err)
			return
		}
		fx.reply(id, result)
	})
}

// deleteGroup decides one group of a DeleteGroups.
func (c *Coordinator) deleteGroup(id uint64, g *group, fx *Effects) {
	switch {
	case g == nil:
		fx.refuse(id, ErrGroupIDNotFound)
		return
	case g.hasMembers():
		fx.refuse(id, ErrNonEmptyGroup)
		return
	case g.changes > 0:
		g.writing = true // what is being committed has to go, too
		g.later = append(g.later, func(now time.Time, fx *Effects) { c.Step(now, id, &DeleteGroup{Group: g.id}, fx) })
		return
	}
	entries := g.tombstones()
	if len(entries) == 0 { // nothing of it was ever written
		c.forget(g)
		fx.reply(id, nil)
		return
	}
	c.write(g, true, entries, func(_ time.Time, err error, fx *Effects) {
		if err != nil {
			fx.refuse(id, err)
			return
		}
		fx.reply(id, nil)
	})
}

// tombstones delete an empty group with all its offsets.
func (g *group) tombstones() []entry.Entry {
	var entries []entry.Entry
	for _, tp := range g.committed() {
		entries = append(entries, &entry.Offset{Group: g.id, Topic: tp.Topic, Partition: tp.Partition, Gone: true})
	}
	return append(entries, g.protocolTombstones()...)
}

// protocolTombstones delete what an empty group is besides its offsets.
func (g *group) protocolTombstones() []entry.Entry {
	switch {
	case g.classic != nil:
		return g.classic.tombstones()
	case g.consumer != nil:
		return g.consumer.tombstones()
	}
	return nil
}

// forget drops a group that was never written.
func (c *Coordinator) forget(g *group) {
	if g.classic != nil {
		g.classic.stop()
	}
	if g.consumer != nil {
		g.consumer.stop()
	}
	g.classic, g.consumer = nil, nil
	c.prune(g)
}

// dropTopics deletes the offsets of topics that are gone.
func (c *Coordinator) dropTopics(g *group, topics []string) {
	var entries []entry.Entry
	for _, tp := range g.committed() {
		if slices.Contains(topics, tp.Topic) {
			entries = append(entries, &entry.Offset{Group: g.id, Topic: tp.Topic, Partition: tp.Partition, Gone: true})
		}
	}
	if len(entries) > 0 {
		c.write(g, false, entries, func(time.Time, error, *Effects) {})
	}
}

// expire deletes offsets that nobody has used for the retention time, and groups of which nothing is left.
func (c *Coordinator) expire(now time.Time, fx *Effects) {
	wall, sure := c.wall(now)
	for _, id := range c.ids() {
		g := c.groups[id]
		if !sure || g.changes > 0 || g.writing || g.consumer != nil && g.consumer.draft != nil {
			continue // next time: what is being decided may well be that it goes on
		}
		var entries []entry.Entry
		left := len(g.offsets)
		for _, tp := range g.committed() {
			if g.expired(wall, tp, c.c.OffsetsRetention) {
				entries = append(entries, &entry.Offset{Group: g.id, Topic: tp.Topic, Partition: tp.Partition, Gone: true})
				left--
			}
		}
		if left == 0 && !g.hasMembers() {
			entries = append(entries, g.protocolTombstones()...)
		}
		if len(entries) > 0 {
			fx.note(g.id, "%d entries expire", len(entries))
			c.write(g, true, entries, func(time.Time, error, *Effects) {})
		}
	}
	c.timers.start(&c.expiry, now.Add(expiryInterval), c.expire)
}

// expired tells whether an offset may go (KIP-211): never while a member reads the topic; else the retention after the commit or, in a classic group, after the group became empty.
func (g *group) expired(wall time.Time, tp TopicPartition, retention time.Duration) bool {
	o := g.offsets[tp]
	if g.subscribed(tp.Topic) {
		return false
	}
	since := o.committedAt
	if g.classic != nil {
		if !g.classic.empty() && !g.classic.consumers() {
			return false
		}
		if at, ok := g.classic.emptySince(); ok {
			since = max(since, at)
		}
	}
	if o.expiresAt >= 0 {
		return wall.UnixMilli() >= o.expiresAt
	}
	return wall.UnixMilli()-since >= retention.Milliseconds()
}
